//! From a mapping as it is written to one that maps, with every mistake in it.

use std::ops::Range;

use indexmap::IndexSet;
use nexus_actors::agent::{Operation, check_target};

use super::{At, Base, Emit, Field, Value, check_key};
use crate::feed::config::{EmitConfig, FeedConfig, FieldConfig, TimeConfig};
use crate::feed::error::ConfigProblem;
use crate::feed::template::Template;
use crate::feed::time::EventTime;
use crate::path::Path;
use crate::suggest::did_you_mean;

const TEMPLATE_HELP: &str = "write a column as `{column}`, a brace itself as `{{` or `}}`";

/// A mapping in parts. With problems, what stands in the place of a mistaken part is of no use.
pub(super) struct Compiled {
    /// Names by slot.
    pub(super) columns: Vec<Box<str>>,
    pub(super) emits: Vec<Emit>,
    uses: Vec<Use>,
    pub(super) problems: Vec<ConfigProblem>,
}

/// A place that names a column.
struct Use {
    slot: usize,
    path: Path,
    /// Which bytes of the string there, if not all of it.
    part: Option<Range<usize>>,
}

/// Compiles the mapping of `config` and gathers its mistakes.
pub(super) fn compile(config: &FeedConfig) -> Compiled {
    let mut compiler = Compiler { columns: IndexSet::new(), uses: Vec::new(), problems: Vec::new() };
    let mut emits: Vec<Emit> =
        (0..config.emit.len()).map(|index| compiler.emit(index, &config.emit)).collect();
    for anchor in config.emit.iter().filter_map(|emit| emit.at.as_ref()?.after_emit) {
        if let Some(emit) = emits.get_mut(anchor) {
            emit.is_anchor = true;
        }
    }
    let Compiler { columns, uses, problems } = compiler;
    Compiled { columns: columns.into_iter().collect(), emits, uses, problems }
}

/// Every mistake in the mapping of `config`; with the `header` of its source also each place that names a column which is
/// not in it.
pub(crate) fn check_mapping(config: &FeedConfig, header: Option<&[String]>) -> Vec<ConfigProblem> {
    let Compiled { columns, uses, mut problems, .. } = compile(config);
    let Some(header) = header else { return problems };
    for Use { slot, path, part } in uses {
        let column = &*columns[slot];
        // An empty name has been reported.
        if column.is_empty() || header.iter().any(|name| name == column) {
            continue;
        }
        let message = format!("{:?} has no column `{}`", config.source, column.escape_debug());
        let help = did_you_mean(column, "columns", header.iter().map(String::as_str));
        problems.push(ConfigProblem::new("unknown-column", path, message).help(help).part(part));
    }
    problems
}

struct Compiler {
    /// Columns in order of their slots.
    columns: IndexSet<Box<str>>,
    uses: Vec<Use>,
    problems: Vec<ConfigProblem>,
}

impl Compiler {
    fn emit(&mut self, index: usize, all: &[EmitConfig]) -> Emit {
        let emit = &all[index];
        let path = emit_path(index);
        let (operation, key) = self.operation(&path, emit);
        let to_path = path.key("to");
        let to: Vec<Template> = emit
            .to
            .iter()
            .enumerate()
            .map(|(place, text)| {
                let check = |name: &str| check_target(name).map_err(|error| error.to_string());
                self.name_template("malformed-name", to_path.index(place), text, check)
            })
            .collect();
        if to.is_empty() {
            self.problem(ConfigProblem::new("out-of-range", to_path, "at least one agent is needed"));
        }
        let mut slots = |key: &str, names: &[String]| -> Vec<usize> {
            let path = path.key(key);
            names.iter().enumerate().map(|(place, name)| self.slot(path.index(place), name)).collect()
        };
        let require = slots("require", &emit.require);
        let absent = slots("absent", &emit.absent);
        self.conditions(&path, emit);
        let at = emit.at.as_ref().and_then(|at| self.time(&path.key("at"), index, at, all));
        let fields_path = path.key("fields");
        let fields =
            emit.fields.iter().map(|(name, field)| self.field(&fields_path.key(name), name, field)).collect();
        Emit { operation, key, to, require, absent, at, is_anchor: false, fields }
    }

    fn operation(&mut self, path: &Path, emit: &EmitConfig) -> (Operation, Template) {
        let kinds = [
            (Operation::Query, "query", &emit.query),
            (Operation::Update, "update", &emit.update),
            (Operation::Action, "action", &emit.action),
        ];
        let mut given = kinds
            .into_iter()
            .filter_map(|(kind, name, key)| Some((kind, path.key(name), name, key.as_ref()?)));
        let Some((operation, key_path, first, key)) = given.next() else {
            let problem = ConfigProblem::new("one-of", path.clone(), "no kind of request is given")
                .help("give one of `query`, `update` and `action`");
            self.problem(problem.unless(kinds.map(|(_, name, _)| path.key(name))));
            return (Operation::Query, Template::EMPTY);
        };
        if let Some((_, second_path, second, _)) = given.next() {
            let message = format!("both `{first}` and `{second}` are given; a request has one kind");
            let problem = ConfigProblem::new("one-of", second_path, message)
                .at_key()
                .related(key_path.clone(), "also given")
                .help("keep one, and write another `[[feed.emit]]` for the other");
            self.problem(problem);
        }
        (operation, self.name_template("malformed-key", key_path, key, check_key))
    }

    fn conditions(&mut self, path: &Path, emit: &EmitConfig) {
        for (place, column) in emit.absent.iter().enumerate() {
            if let Some(required) = emit.require.iter().position(|required| required == column) {
                let column = column.escape_debug();
                let message = format!("`{column}` must be both present and absent, so nothing is ever sent");
                let problem =
                    ConfigProblem::new("impossible-condition", path.key("absent").index(place), message)
                        .related(path.key("require").index(required), "required here");
                self.problem(problem);
            }
        }
    }

    fn time(&mut self, path: &Path, index: usize, at: &TimeConfig, all: &[EmitConfig]) -> Option<At> {
        let base = match at.after_emit {
            None if at.date.is_empty() => {
                let problem = ConfigProblem::new("missing-key", path.clone(), "the time has no date")
                    .help("give `date`, or `after_emit` with `clock`");
                self.problem(problem.unless(["date", "after_emit"].map(|key| path.key(key))));
                return None;
            }
            None => Base::Date {
                template: self.template(path.key("date"), &at.date),
                last: (String::new(), EventTime::new(0)),
            },
            Some(anchor) => {
                self.anchor(path, index, anchor, at, all);
                Base::Emit(anchor)
            }
        };
        let mut slot =
            |key: &str, name: &Option<String>| name.as_ref().map(|name| self.slot(path.key(key), name));
        let (clock, plus_minutes) = (slot("clock", &at.clock), slot("plus_minutes", &at.plus_minutes));
        Some(At { base, clock, plus_minutes })
    }

    /// Looks at the time `at` of the emit `index`, which counts from that of the emit `anchor`.
    fn anchor(&mut self, path: &Path, index: usize, anchor: usize, at: &TimeConfig, all: &[EmitConfig]) {
        let place = path.key("after_emit");
        let reason = if anchor == index {
            "is this emit itself".to_owned()
        } else if anchor >= all.len() {
            format!("does not exist; the feed has {} emits, counted from 0", all.len())
        } else if anchor > index {
            format!("comes after this one, which is {index}")
        } else if all[anchor].at.is_none() {
            "has no time (`at`)".to_owned()
        } else if at.clock.is_none() {
            let message =
                "`after_emit` needs a `clock`: the time is its first reading after the other emit's";
            let problem = ConfigProblem::new("bad-reference", place, message)
                .help("name the column with the wall clock reading: `clock = \"…\"`");
            return self.problem(problem.unless([path.key("clock")]));
        } else {
            return;
        };
        let message = format!("`after_emit` is {anchor}: that emit {reason}");
        let problem = ConfigProblem::new("bad-reference", place, message)
            .help("give the position, from 0, of an earlier emit with `at`");
        self.problem(problem.unless([emit_path(anchor).key("at")]));
    }

    fn field(&mut self, path: &Path, name: &str, field: &FieldConfig) -> Field {
        let value = match field {
            FieldConfig::Column(column) => Value::Column {
                slot: self.slot(path.key("column"), &column.column),
                kind: column.kind,
                required: column.required,
            },
            FieldConfig::Template(text) => Value::Template(self.template(path.clone(), text)),
        };
        let mut encoded = Vec::new();
        rmp::encode::write_str(&mut encoded, name).expect("writing to a vector does not fail");
        Field { name: encoded.into(), value }
    }

    /// A template whose text is a name: without columns in it, it can be checked now.
    fn name_template(
        &mut self,
        code: &'static str,
        path: Path,
        text: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Template {
        let problems = self.problems.len();
        let template = self.template(path.clone(), text);
        if let Some(name) = template.literal()
            && self.problems.len() == problems
            && let Err(rule) = check(name)
        {
            self.problem(ConfigProblem::new(code, path, format!("the name {name:?} {rule}")));
        }
        template
    }

    fn template(&mut self, path: Path, text: &str) -> Template {
        let parsed = Template::parse(text, |column, part| self.use_of(column, &path, Some(part)));
        parsed.unwrap_or_else(|error| {
            let message = format!("{text:?} {}", error.reason);
            let problem = ConfigProblem::new("malformed-template", path, message);
            self.problem(problem.part(Some(error.place)).help(TEMPLATE_HELP));
            Template::EMPTY
        })
    }

    fn slot(&mut self, path: Path, name: &str) -> usize {
        if name.is_empty() {
            let message = "the column's name is empty";
            self.problem(ConfigProblem::new("unknown-column", path.clone(), message));
        }
        self.use_of(name, &path, None)
    }

    fn use_of(&mut self, column: &str, path: &Path, part: Option<Range<usize>>) -> usize {
        let (slot, _) = self.columns.insert_full(column.into());
        self.uses.push(Use { slot, path: path.clone(), part });
        slot
    }

    fn problem(&mut self, problem: ConfigProblem) {
        self.problems.push(problem);
    }
}

fn emit_path(index: usize) -> Path {
    Path::root().key("emit").index(index)
}
