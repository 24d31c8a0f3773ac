//! The mapping: what requests a record becomes.
//!
//! Pure. It is compiled once: templates are parsed, every column gets a slot, names of fields are encoded. A record is then
//! mapped without an allocation per field: text is borrowed, payloads are written into one buffer, and names of agents that
//! come again are shared.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use nexus_actors::agent::{Operation, Payload, check_name};

use super::config::{ColumnType, EmitConfig, FeedConfig, FieldConfig, TimeConfig};
use super::csv::unknown_column;
use super::error::{ConfigProblem, Malformed};
use super::record::{Cell, Record, excerpt};
use super::template::{Rendered, Template};
use super::time::{EventTime, parse_date};

/// The longest key that a template may make, in bytes.
const KEY_BYTES_MAX: usize = 256;
/// Names kept for sharing. When there are more, the store begins anew; that costs memory and time, never correctness.
const NAMES_MAX: usize = 65_536;
/// Bounds `plus_minutes` to about a hundred years, so that a damaged cell cannot throw time off its range.
const PLUS_MINUTES_MAX: f64 = 52_560_000.0;

/// One request for one or several agents.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Emission {
    /// The record it comes from, from 1.
    pub(crate) record: u64,
    /// The time it belongs to, if it has one.
    pub(crate) at: Option<EventTime>,
    pub(crate) operation: Operation,
    pub(crate) key: Arc<str>,
    /// A MessagePack map, shared by all targets.
    pub(crate) payload: Payload,
    /// At least one.
    pub(crate) targets: Vec<Arc<str>>,
}

impl Emission {
    /// What it holds in memory, about.
    pub(crate) fn weight_bytes(&self) -> usize {
        size_of::<Self>() + self.payload.bytes().len() + self.targets.len() * size_of::<Arc<str>>() + 64
    }
}

/// A column the mapping uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: Box<str>,
    /// Where in the configuration it is named first.
    pub(crate) path: String,
}

/// A compiled mapping.
pub(crate) struct Mapping {
    columns: Vec<Column>,
    emits: Vec<Emit>,
    agents: Names,
    keys: Names,
    /// Times of the current record's emits, by position.
    times: Vec<Option<EventTime>>,
    text: String,
    payload: Vec<u8>,
}

struct Emit {
    operation: Operation,
    key: Template,
    to: Vec<Template>,
    require: Vec<usize>,
    absent: Vec<usize>,
    at: Option<At>,
    /// Whether a later emit counts from this one's time, so that it is read even where this one sends nothing.
    is_anchor: bool,
    fields: Vec<Field>,
}

struct At {
    base: Base,
    clock: Option<usize>,
    plus_minutes: Option<usize>,
}

enum Base {
    Date {
        template: Template,
        /// The last date read and what it was: neighbours mostly share theirs.
        last: (String, EventTime),
    },
    Emit(usize),
}

struct Field {
    /// The name as MessagePack.
    name: Box<[u8]>,
    value: Value,
}

enum Value {
    Column { slot: usize, kind: ColumnType, required: bool },
    Template(Template),
}

impl Mapping {
    /// Compiles the mapping of `config`.
    ///
    /// # Errors
    /// Every mistake in it that can be seen without the source.
    pub(crate) fn compile(config: &FeedConfig) -> Result<Self, Vec<ConfigProblem>> {
        let mut compiler = Compiler { columns: IndexMap::new(), problems: Vec::new() };
        let mut emits: Vec<Emit> = config
            .emit
            .iter()
            .enumerate()
            .map(|(index, emit)| compiler.emit(index, emit, &config.emit))
            .collect();
        for anchor in config.emit.iter().filter_map(|emit| emit.at.as_ref()?.after_emit) {
            if let Some(emit) = emits.get_mut(anchor) {
                emit.is_anchor = true;
            }
        }
        if !compiler.problems.is_empty() {
            return Err(compiler.problems);
        }
        Ok(Self {
            columns: compiler.columns.into_iter().map(|(name, path)| Column { name, path }).collect(),
            times: vec![None; emits.len()],
            emits,
            agents: Names::new(|name| check_name(name).map_err(|error| error.to_string())),
            keys: Names::new(check_key),
            text: String::new(),
            payload: Vec::new(),
        })
    }

    /// The columns by slot: what a [`Record`] given to [`Mapping::map`] must hold.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Appends the requests that `record`, the source's `number`th, becomes.
    ///
    /// # Errors
    /// The record is malformed; `out` is as before.
    pub(crate) fn map(
        &mut self,
        record: Record<'_>,
        number: u64,
        out: &mut Vec<Emission>,
    ) -> Result<(), Malformed> {
        let before = out.len();
        let result = self.map_all(record, number, out);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    fn map_all(&mut self, record: Record<'_>, number: u64, out: &mut Vec<Emission>) -> Result<(), Malformed> {
        let Self { columns, emits, agents, keys, times, text, payload } = self;
        for (index, emit) in emits.iter_mut().enumerate() {
            let sends = emit.require.iter().all(|slot| !record.is_na(*slot))
                && emit.absent.iter().all(|slot| record.is_na(*slot));
            times[index] = match &mut emit.at {
                Some(at) if sends || emit.is_anchor => at.read(record, columns, times, text)?,
                _ => None,
            };
            if !sends {
                continue;
            }
            let mut targets = Vec::with_capacity(emit.to.len());
            for template in &emit.to {
                targets.extend(agents.name(template, record, columns, text)?);
            }
            if targets.is_empty() {
                continue;
            }
            let Some(key) = keys.name(&emit.key, record, columns, text)? else {
                continue;
            };
            // A query's payload is its default: without fields there is none.
            let payload = if emit.fields.is_empty() && emit.operation == Operation::Query {
                Payload::EMPTY
            } else {
                encode(&emit.fields, record, columns, text, payload)?;
                Payload::from_msgpack(Bytes::copy_from_slice(payload))
            };
            out.push(Emission {
                record: number,
                at: times[index],
                operation: emit.operation,
                key,
                payload,
                targets,
            });
        }
        Ok(())
    }
}

/// The reason of `fault` with the column it is about.
fn in_column(columns: &[Column], slot: usize) -> impl FnOnce(Malformed) -> Malformed {
    move |Malformed(reason)| Malformed(format!("column `{}`: {reason}", columns[slot].name))
}

impl At {
    /// The time; `None` if a column that it needs is NA.
    fn read(
        &mut self,
        record: Record<'_>,
        columns: &[Column],
        times: &[Option<EventTime>],
        text: &mut String,
    ) -> Result<Option<EventTime>, Malformed> {
        let clock = match self.clock {
            None => None,
            Some(slot) => match record.clock(slot).map_err(in_column(columns, slot))? {
                None => return Ok(None),
                minutes => minutes,
            },
        };
        let time = match &mut self.base {
            Base::Emit(index) => match (times[*index], clock) {
                (None, _) => return Ok(None),
                (Some(time), None) => time,
                (Some(time), Some(minutes)) => time.next_reading(minutes),
            },
            Base::Date { template, last } => {
                if template.render(record, text) == Rendered::Na {
                    return Ok(None);
                }
                if *text != last.0 {
                    let date = parse_date(text)
                        .ok_or_else(|| Malformed(format!("{} is not a date", excerpt(text))))?;
                    last.0.clone_from(text);
                    last.1 = date;
                }
                clock.map_or(last.1, |minutes| last.1.at_reading(minutes))
            }
        };
        let Some(slot) = self.plus_minutes else {
            return Ok(Some(time));
        };
        let Some(minutes) = record.float(slot).map_err(in_column(columns, slot))? else {
            return Ok(None);
        };
        if minutes.abs() > PLUS_MINUTES_MAX {
            let reason = Malformed(format!("{minutes} minutes are more than a hundred years"));
            return Err(in_column(columns, slot)(reason));
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
        let ms = (minutes * 60_000.0).round() as i64;
        Ok(Some(time.plus_ms(ms)))
    }
}

fn encode(
    fields: &[Field],
    record: Record<'_>,
    columns: &[Column],
    text: &mut String,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    const VEC: &str = "writing to a vector does not fail";
    out.clear();
    let count = u32::try_from(fields.len()).expect("a topology has fewer than 4 billion fields");
    rmp::encode::write_map_len(out, count).expect(VEC);
    for field in fields {
        out.extend_from_slice(&field.name);
        let (slot, kind, required) = match &field.value {
            Value::Column { slot, kind, required } => (*slot, *kind, *required),
            Value::Template(template) => {
                match template.render(record, text) {
                    Rendered::Na => rmp::encode::write_nil(out).expect(VEC),
                    Rendered::Whole | Rendered::Empty(_) => rmp::encode::write_str(out, text).expect(VEC),
                }
                continue;
            }
        };
        if record.is_na(slot) {
            if required {
                return Err(in_column(columns, slot)(Malformed("is NA, but required".into())));
            }
            rmp::encode::write_nil(out).expect(VEC);
            continue;
        }
        let written = match kind {
            ColumnType::Text => match record.cell(slot) {
                Cell::Text(span) => {
                    rmp::encode::write_str(out, record.str(span)).expect(VEC);
                    Ok(())
                }
                _ => {
                    text.clear();
                    record.write_text(slot, text);
                    rmp::encode::write_str(out, text).expect(VEC);
                    Ok(())
                }
            },
            ColumnType::Int => record.int(slot).map(|value| {
                rmp::encode::write_sint(out, value.unwrap_or_default()).expect(VEC);
            }),
            ColumnType::Float => record
                .float(slot)
                .map(|value| rmp::encode::write_f64(out, value.unwrap_or_default()).expect(VEC)),
            ColumnType::Bool => record
                .bool(slot)
                .map(|value| rmp::encode::write_bool(out, value.unwrap_or_default()).expect(VEC)),
            ColumnType::Clock => record.clock(slot).map(|value| {
                rmp::encode::write_sint(out, i64::from(value.unwrap_or_default())).expect(VEC);
            }),
        };
        written.map_err(in_column(columns, slot))?;
    }
    Ok(())
}

/// Names that have come up, shared between the requests that use them.
struct Names {
    /// Only looked up, never iterated.
    known: HashSet<Arc<str>>,
    check: fn(&str) -> Result<(), String>,
}

impl Names {
    fn new(check: fn(&str) -> Result<(), String>) -> Self {
        Self { known: HashSet::new(), check }
    }

    /// The name that `template` makes of `record`; `None` if a column is NA.
    fn name(
        &mut self,
        template: &Template,
        record: Record<'_>,
        columns: &[Column],
        text: &mut String,
    ) -> Result<Option<Arc<str>>, Malformed> {
        match template.render(record, text) {
            Rendered::Na => return Ok(None),
            Rendered::Empty(slot) => {
                return Err(in_column(columns, slot)(Malformed("is empty, but part of a name".into())));
            }
            Rendered::Whole => {}
        }
        if let Some(name) = self.known.get(text.as_str()) {
            return Ok(Some(name.clone()));
        }
        (self.check)(text)
            .map_err(|rule| Malformed(format!("makes the name {}, which {rule}", excerpt(text))))?;
        if self.known.len() >= NAMES_MAX {
            self.known.clear();
        }
        let name: Arc<str> = text.as_str().into();
        self.known.insert(name.clone());
        Ok(Some(name))
    }
}

/// Whether `key` may be a request's key: anything that fits and can be shown.
fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("is empty".into());
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(format!("is {} bytes long; at most {KEY_BYTES_MAX} are allowed", key.len()));
    }
    if key.chars().any(char::is_control) {
        return Err("contains control characters".into());
    }
    Ok(())
}

/// Compiles one configuration and gathers its mistakes.
struct Compiler {
    /// Columns in order of their slots, with the place they are named first.
    columns: IndexMap<Box<str>, String>,
    problems: Vec<ConfigProblem>,
}

impl Compiler {
    fn emit(&mut self, index: usize, emit: &EmitConfig, all: &[EmitConfig]) -> Emit {
        let path = format!("emit[{index}]");
        let (operation, key) = self.operation(&path, emit);
        let to: Vec<Template> = emit
            .to
            .iter()
            .enumerate()
            .map(|(place, text)| {
                let check = |name: &str| check_name(name).map_err(|error| error.to_string());
                self.name_template(format!("{path}.to[{place}]"), text, check)
            })
            .collect();
        if to.is_empty() {
            self.problem(format!("{path}.to"), "needs at least one agent");
        }
        let mut slots = |key: &str, names: &[String]| -> Vec<usize> {
            names
                .iter()
                .enumerate()
                .map(|(place, name)| self.slot(format!("{path}.{key}[{place}]"), name))
                .collect()
        };
        let require = slots("require", &emit.require);
        let absent = slots("absent", &emit.absent);
        if let Some(both) = emit.require.iter().find(|name| emit.absent.contains(name)) {
            self.problem(path.clone(), format!("column `{both}` is both in `require` and in `absent`"));
        }
        let at = emit.at.as_ref().and_then(|at| self.time(&format!("{path}.at"), index, at, all));
        let fields = emit.fields.iter().map(|(name, field)| self.field(&path, name, field)).collect();
        Emit { operation, key, to, require, absent, at, is_anchor: false, fields }
    }

    fn operation(&mut self, path: &str, emit: &EmitConfig) -> (Operation, Template) {
        let given: Vec<(Operation, &str, &String)> = [
            (Operation::Query, "query", &emit.query),
            (Operation::Update, "update", &emit.update),
            (Operation::Action, "action", &emit.action),
        ]
        .into_iter()
        .filter_map(|(operation, name, key)| Some((operation, name, key.as_ref()?)))
        .collect();
        let [(operation, name, key)] = given.as_slice() else {
            let names: Vec<&str> = given.iter().map(|(_, name, _)| *name).collect();
            let found = if names.is_empty() { "none".to_owned() } else { names.join(" and ") };
            self.problem(
                path,
                format!("needs exactly one of `query`, `update` and `action`, but has {found}"),
            );
            return (Operation::Query, self.template(path, ""));
        };
        (*operation, self.name_template(format!("{path}.{name}"), key, check_key))
    }

    fn time(&mut self, path: &str, index: usize, at: &TimeConfig, all: &[EmitConfig]) -> Option<At> {
        let base = match at.after_emit {
            None if at.date.is_empty() => {
                self.problem(path, "needs `date` or `after_emit`");
                return None;
            }
            None => Base::Date {
                template: self.template(&format!("{path}.date"), &at.date),
                last: (String::new(), EventTime::new(0)),
            },
            Some(anchor) => {
                if anchor >= index || all[anchor].at.is_none() {
                    let message = format!("{anchor} is not the position of an earlier emit with `at`");
                    self.problem(format!("{path}.after_emit"), message);
                }
                Base::Emit(anchor)
            }
        };
        let mut slot = |key: &str, name: &Option<String>| {
            name.as_ref().map(|name| self.slot(format!("{path}.{key}"), name))
        };
        Some(At {
            base,
            clock: slot("clock", &at.clock),
            plus_minutes: slot("plus_minutes", &at.plus_minutes),
        })
    }

    fn field(&mut self, path: &str, name: &str, field: &FieldConfig) -> Field {
        let path = format!("{path}.fields.{name}");
        let value = match field {
            FieldConfig::Column(column) => Value::Column {
                slot: self.slot(path, &column.column),
                kind: column.kind,
                required: column.required,
            },
            FieldConfig::Template(text) => Value::Template(self.template(&path, text)),
        };
        let mut encoded = Vec::new();
        rmp::encode::write_str(&mut encoded, name).expect("writing to a vector does not fail");
        Field { name: encoded.into(), value }
    }

    /// A template whose text is a name: without columns in it, it can be checked now.
    fn name_template(
        &mut self,
        path: String,
        text: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Template {
        let problems = self.problems.len();
        let template = self.template(&path, text);
        if let Some(name) = template.literal()
            && self.problems.len() == problems
            && let Err(rule) = check(name)
        {
            self.problem(path, format!("the name `{name}` {rule}"));
        }
        template
    }

    fn template(&mut self, path: &str, text: &str) -> Template {
        let columns = &mut self.columns;
        let parsed = Template::parse(text, |column| {
            let entry = columns.entry(column.into());
            let slot = entry.index();
            entry.or_insert_with(|| path.to_owned());
            slot
        });
        parsed.unwrap_or_else(|message| {
            self.problem(path, message);
            Template::parse("", |_| 0).expect("an empty template has no braces")
        })
    }

    fn slot(&mut self, path: String, name: &str) -> usize {
        if name.is_empty() {
            self.problem(path.clone(), "the column's name is empty");
        }
        let entry = self.columns.entry(name.into());
        let slot = entry.index();
        entry.or_insert(path);
        slot
    }

    fn problem(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(ConfigProblem::new(path, message));
    }
}

/// The columns that `header` lacks, each with the place that names it first.
pub(crate) fn missing_columns(mapping: &Mapping, header: &[String]) -> Vec<ConfigProblem> {
    let missing = mapping.columns.iter().filter(|column| !header.iter().any(|name| **name == *column.name));
    missing
        .map(|column| ConfigProblem::new(column.path.clone(), unknown_column(&column.name, header)))
        .collect()
}

#[cfg(test)]
#[path = "mapping_test.rs"]
mod tests;
