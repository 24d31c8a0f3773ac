//! The mapping: what requests a record becomes.
//!
//! Pure. It is compiled once: templates are parsed, every column gets a slot, names of fields are encoded. A record is then
//! mapped without an allocation per field: text is borrowed, payloads are written into one buffer, and names of agents that
//! come again are shared.

mod compile;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use nexus_actors::agent::{Operation, Payload, check_target};

use self::compile::{Compiled, compile};
use super::config::{ColumnType, FeedConfig};
use super::error::{ConfigProblem, Malformed};
use super::record::{Cell, Record, excerpt};
use super::template::{Rendered, Template};
use super::time::{EventTime, parse_date};

pub(crate) use self::compile::check_mapping;

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

/// A compiled mapping.
pub(crate) struct Mapping {
    /// Names by slot.
    columns: Vec<Box<str>>,
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
        let Compiled { columns, emits, problems, .. } = compile(config);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            columns,
            times: vec![None; emits.len()],
            emits,
            agents: Names::new(|name| check_target(name).map_err(|error| error.to_string())),
            keys: Names::new(check_key),
            text: String::new(),
            payload: Vec::new(),
        })
    }

    /// The columns' names by slot: what a [`Record`] given to [`Mapping::map`] must hold.
    pub(crate) fn columns(&self) -> &[Box<str>] {
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
fn in_column(columns: &[Box<str>], slot: usize) -> impl FnOnce(Malformed) -> Malformed {
    move |Malformed(reason)| Malformed(format!("column `{}`: {reason}", columns[slot]))
}

impl At {
    /// The time; `None` if a column that it needs is NA.
    fn read(
        &mut self,
        record: Record<'_>,
        columns: &[Box<str>],
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
    columns: &[Box<str>],
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
        columns: &[Box<str>],
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

#[cfg(test)]
#[path = "mapping_test.rs"]
mod tests;
