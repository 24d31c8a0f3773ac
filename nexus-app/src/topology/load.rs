//! Reading a topology: from file or text to [`Topology`] or [`Report`].

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use nexus_actors::agent::Behaviors;
use toml::de::DeTable;

use super::checks;
use super::read::{self, Findings, Node, Override, Source};
use super::report::Report;
use super::schema::schema;
use super::{Secret, Topology};

/// The largest topology file in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The names of the behaviors that a binary knows, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BehaviorNames {
    names: BTreeSet<String>,
    /// Those whose agents can hibernate.
    durable: BTreeSet<String>,
}

impl BehaviorNames {
    /// What `behaviors` has.
    #[must_use]
    pub fn of(behaviors: &Behaviors) -> Self {
        let names: BTreeSet<String> = behaviors.names().map(|name| name.to_string()).collect();
        let durable = names.iter().filter(|name| behaviors.is_durable(name)).cloned().collect();
        Self { names, durable }
    }

    /// Whether `name` is known.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether agents of this behavior can hibernate.
    #[must_use]
    pub fn is_durable(&self, name: &str) -> bool {
        self.durable.contains(name)
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }
}

/// Looks an environment variable up. [`process_env`] is the real one; tests bring their own.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The process's own environment. A variable that is not valid Unicode counts as not set.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Topology {
    /// Reads and checks the topology file at `path`. `${VARIABLE}` in its strings is replaced through `env`.
    ///
    /// Blocks: it reads the file, and looks at the files that its feeds name.
    ///
    /// # Errors
    ///
    /// All mistakes of the file at once; or that it cannot be read.
    pub fn load(path: &Path, behaviors: &BehaviorNames, env: &Env<'_>) -> Result<Self, Report> {
        Self::load_with(path, &[], behaviors, env)
    }

    /// The same with values that count instead of the file's. Those that are given last count.
    ///
    /// # Errors
    /// As [`Topology::load`]; a mistake in such a value says that it is one.
    pub fn load_with(
        path: &Path,
        overrides: &[Override],
        behaviors: &BehaviorNames,
        env: &Env<'_>,
    ) -> Result<Self, Report> {
        let name = path.display().to_string();
        let text = read_text(path).map_err(|problem| {
            let help = "give the path of a topology file".to_owned();
            Report::of_file(name.clone(), "unreadable-file", problem, Some(help))
        })?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        Self::parse_with(&text, &name, base_dir, overrides, behaviors, env)
    }

    /// Reads and checks a topology from its text. `file_name` is for reports and gives the node its default name; relative
    /// paths start from `base_dir`.
    ///
    /// # Errors
    ///
    /// All mistakes of the text at once.
    pub fn parse(
        text: &str,
        file_name: &str,
        base_dir: &Path,
        behaviors: &BehaviorNames,
        env: &Env<'_>,
    ) -> Result<Self, Report> {
        Self::parse_with(text, file_name, base_dir, &[], behaviors, env)
    }

    fn parse_with(
        text: &str,
        file_name: &str,
        base_dir: &Path,
        overrides: &[Override],
        behaviors: &BehaviorNames,
        env: &Env<'_>,
    ) -> Result<Self, Report> {
        let source = Source::new(file_name.to_owned(), text.to_owned());
        let (table, syntax_errors) = DeTable::parse_recoverable(text);
        let mut root = Node::of_table(table.get_ref(), 0..0);
        let mut overridden = Vec::new();
        for given in overrides {
            overridden.extend(given.apply(&mut root).into_iter().map(|place| (place, given.label())));
        }
        let failures = read::expand(&mut root, env);
        let mut findings = Findings::new(&source, &root);
        findings.set_overridden(overridden);
        for error in &syntax_errors {
            report_syntax(error, &source, &mut findings);
        }
        read::report_env(failures, &mut findings);
        let value = read::shape(&root, &schema(), &mut findings);
        let mut topology = read::decode(value, &root, &mut findings);
        if let Some(topology) = &mut topology {
            topology.base_dir = base_dir.to_owned();
            if topology.node.name.is_none() {
                topology.node.name = default_name(file_name);
            }
            if let Some(cluster) = &mut topology.cluster {
                cluster.cookie = env(&cluster.cookie_env).map(Secret::new);
            }
            checks::run(&checks::Context { topology, behaviors }, &mut findings);
        }
        match (findings.into_report(), topology) {
            (Some(report), _) => Err(report),
            (None, Some(topology)) => Ok(topology),
            (None, None) => {
                let problem = "the topology cannot be decoded".to_owned();
                Err(Report::of_file(file_name.to_owned(), "undecodable", problem, None))
            }
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot open {shown}: {error}"))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{shown} is larger than {FILE_BYTES_MAX} bytes, the most a topology may have"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{shown} is not UTF-8: line {line} has a byte that does not belong (offset {})", valid.len())
    })
}

/// The file's name without its ending, with what a name may not have replaced.
fn default_name(file_name: &str) -> Option<String> {
    let stem = Path::new(file_name).file_stem()?.to_str()?;
    let name: String = stem
        .chars()
        .take(100)
        .map(|c| if c.is_alphanumeric() || "_-.".contains(c) { c } else { '-' })
        .collect();
    (!name.is_empty()).then_some(name)
}

fn report_syntax(error: &toml::de::Error, source: &Source, findings: &mut Findings<'_>) {
    let span = error.span().unwrap_or(0..0);
    let at_end = span.start >= source.text.len();
    if let Some(secret) = secret_near(&source.text, source.clamp(span.clone()).start) {
        findings.add_secret(secret);
    }
    let message = error.message().trim().replace('\n', "; ");
    let label = at_end.then(|| "the file ends here".to_owned());
    findings.push_at("syntax", span.clone(), message, label, None, Vec::new());
    findings.taint_touched(&span);
    // Whatever the broken text was meant to declare is missing now, so nothing is reported as unknown to the file.
    findings.taint_agents();
}

/// What must be masked in the line at `offset`: with its syntax broken, a secret in it is not recognized as a value. So in the
/// tables that hold secrets, and in lines that name them, everything after the first `=` is taken for one.
fn secret_near(text: &str, offset: usize) -> Option<Range<usize>> {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |length| offset + length);
    let line = &text[start..end];
    let header =
        text[..end].lines().rev().find(|line| line.trim_start().starts_with('[')).unwrap_or_default();
    let holds_secrets = ["debug", "telemetry"].iter().any(|name| header.contains(name))
        || ["token", "headers", "cookie", "debug", "telemetry"].iter().any(|name| line.contains(name));
    let value = line.find('=')? + 1;
    let blanks = line[value..].len() - line[value..].trim_start().len();
    holds_secrets.then_some(start + value + blanks..end)
}
