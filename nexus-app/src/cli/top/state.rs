//! What `nexus top` knows and how keys change it. Pure: time arrives as an argument, nothing is drawn or asked here.

use std::collections::HashMap;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::column::Column;
use super::sample::{AgentRow, Query, Sample};

/// Agents looked at; the first ones in the order of the chosen column.
pub(super) const ROWS_MAX: u64 = 500;
/// The longest filter.
const FILTER_CHARS_MAX: usize = 100;

/// An agent with its rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) agent: AgentRow,
    /// Messages handled per second between the last two looks; `None` with one look.
    pub(super) per_second: Option<f64>,
}

/// What the lower line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Browse,
    /// A filter is being typed.
    Filter,
    Help,
}

/// What a key asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// The query has changed: look at once.
    Look,
    Quit,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sort: Column,
    pub(super) descending: bool,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) paused: bool,
    pub(super) selected: usize,
    /// Rows that fit; set when drawn, for paging.
    pub(super) page: usize,
    pub(super) sample: Sample,
    pub(super) rows: Vec<Row>,
    /// Messages handled per second by the whole node.
    pub(super) node_per_second: Option<f64>,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
    previous: Option<Previous>,
}

/// The counters of the look before, for rates.
#[derive(Debug)]
struct Previous {
    at: Duration,
    uptime_ms: u64,
    processed: Option<u64>,
    agents: HashMap<String, u64>,
}

impl State {
    pub(super) fn new(sort: Column, filter: String) -> Self {
        Self {
            sort,
            descending: sort.is_number(),
            filter,
            mode: Mode::Browse,
            paused: false,
            selected: 0,
            page: 10,
            sample: Sample::default(),
            rows: Vec::new(),
            node_per_second: None,
            trouble: None,
            previous: None,
        }
    }

    pub(super) fn query(&self) -> Query {
        Query { sort: self.sort, descending: self.descending, filter: self.filter.clone(), limit: ROWS_MAX }
    }

    /// Takes in what a look at time `at` (since any fixed moment) has found.
    pub(super) fn looked(&mut self, at: Duration, found: Result<Sample, String>) {
        if self.paused {
            return;
        }
        let sample = match found {
            Ok(sample) => sample,
            // What was seen last stays; rates across the gap would mislead.
            Err(trouble) => {
                self.trouble = Some(trouble);
                self.previous = None;
                self.node_per_second = None;
                self.rows.iter_mut().for_each(|row| row.per_second = None);
                return;
            }
        };
        self.trouble = None;
        // Another process with the same address: its counters begin anew.
        let previous = self.previous.take().filter(|previous| previous.uptime_ms <= sample.node.uptime_ms);
        let per_second = |before: Option<u64>, now: u64| {
            let seconds = at.checked_sub(previous.as_ref()?.at)?.as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
            let handled = now.checked_sub(before?)? as f64;
            (seconds > 0.0).then_some(handled / seconds)
        };
        self.node_per_second =
            sample.tally.and_then(|tally| per_second(previous.as_ref()?.processed, tally.processed));
        let before = |name: &str| previous.as_ref()?.agents.get(name).copied();
        self.rows = sample
            .agents
            .iter()
            .map(|agent| Row {
                per_second: per_second(before(&agent.name), agent.processed),
                agent: agent.clone(),
            })
            .collect();
        self.previous = Some(Previous {
            at,
            uptime_ms: sample.node.uptime_ms,
            processed: sample.tally.map(|tally| tally.processed),
            agents: sample.agents.iter().map(|agent| (agent.name.clone(), agent.processed)).collect(),
        });
        self.sample = sample;
        self.arrange();
    }

    /// Sorts, and keeps the selection on the screen.
    fn arrange(&mut self) {
        let (sort, descending) = (self.sort, self.descending);
        self.rows.sort_by(|a, b| {
            let order = sort.compare(a, b);
            if descending { order.reverse() } else { order }
        });
        self.selected = self.selected.min(self.rows.len().saturating_sub(1));
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Wish::Quit;
        }
        match self.mode {
            Mode::Browse => self.browse(key.code),
            Mode::Filter => self.type_filter(key.code),
            Mode::Help => {
                self.mode = Mode::Browse;
                Wish::Nothing
            }
        }
    }

    fn browse(&mut self, code: KeyCode) -> Wish {
        let last = self.rows.len().saturating_sub(1);
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('s') | KeyCode::Right => return self.sort_by(self.sort.next(1)),
            KeyCode::Char('S') | KeyCode::Left => return self.sort_by(self.sort.next(-1)),
            KeyCode::Char('r') => {
                self.descending = !self.descending;
                self.arrange();
                return Wish::Look;
            }
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected + 1).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(self.page),
            KeyCode::PageDown => self.selected = (self.selected + self.page).min(last),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => {}
        }
        Wish::Nothing
    }

    fn sort_by(&mut self, column: Column) -> Wish {
        self.sort = column;
        self.descending = column.is_number();
        self.selected = 0;
        self.arrange();
        Wish::Look
    }

    fn type_filter(&mut self, code: KeyCode) -> Wish {
        match code {
            KeyCode::Enter => {
                self.mode = Mode::Browse;
                return Wish::Nothing;
            }
            KeyCode::Esc => {
                self.mode = Mode::Browse;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(typed) if self.filter.chars().count() < FILTER_CHARS_MAX => self.filter.push(typed),
            _ => return Wish::Nothing,
        }
        self.selected = 0;
        Wish::Look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(uptime_ms: u64, agents: &[(&str, u64)]) -> Sample {
        let mut sample = Sample { matching: agents.len() as u64, ..Sample::default() };
        sample.node.uptime_ms = uptime_ms;
        for (name, processed) in agents {
            sample.tally.get_or_insert_default().processed += processed;
            let name = (*name).to_owned();
            sample.agents.push(AgentRow { name, processed: *processed, ..AgentRow::default() });
        }
        sample
    }

    fn names(state: &State) -> Vec<&str> {
        state.rows.iter().map(|row| row.agent.name.as_str()).collect()
    }

    fn press(state: &mut State, code: KeyCode) -> Wish {
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Goal: rates are differences over time; there are none with one look, for a newcomer, or across a restart or a gap.
    #[test]
    fn rates_are_honest() {
        let mut state = State::new(Column::Name, String::new());
        state.looked(SECOND, Ok(sample(1000, &[("a", 10)])));
        assert_eq!((state.rows[0].per_second, state.node_per_second), (None, None));
        state.looked(SECOND * 3, Ok(sample(3000, &[("a", 30), ("b", 5)])));
        assert_eq!(state.rows.iter().map(|row| row.per_second).collect::<Vec<_>>(), [Some(10.0), None]);
        assert_eq!(state.node_per_second, Some(12.5));
        state.looked(SECOND * 4, Ok(sample(10, &[("a", 40)])));
        assert_eq!(state.rows[0].per_second, None, "another process");
        state.looked(SECOND * 5, Err("no node answers".to_owned()));
        assert_eq!(
            (state.rows.len(), state.trouble.as_deref()),
            (1, Some("no node answers")),
            "the last look stays"
        );
        state.looked(SECOND * 6, Ok(sample(2000, &[("a", 90)])));
        assert_eq!((state.rows[0].per_second, &state.trouble), (None, &None));
    }

    /// Goal: each column sorts at once and asks for a new look; numbers start with the largest.
    #[test]
    fn sorting() {
        let mut state = State::new(Column::Name, String::new());
        state.looked(SECOND, Ok(sample(1000, &[("a", 10), ("b", 30), ("c", 20)])));
        assert_eq!(names(&state), ["a", "b", "c"]);
        while state.sort != Column::Processed {
            assert_eq!(press(&mut state, KeyCode::Char('s')), Wish::Look);
        }
        assert_eq!(names(&state), ["b", "c", "a"]);
        press(&mut state, KeyCode::Char('r'));
        assert_eq!(names(&state), ["a", "c", "b"]);
        assert_eq!((state.query().sort, state.query().descending), (Column::Processed, false));
        assert_eq!(Column::Name.next(-1), Column::Uptime);
    }

    /// Goal: the selection stays within the rows, whatever comes and goes.
    #[test]
    fn selection_stays_in_range() {
        let mut state = State::new(Column::Name, String::new());
        for key in [KeyCode::Down, KeyCode::End, KeyCode::PageDown, KeyCode::Up] {
            press(&mut state, key);
            assert_eq!(state.selected, 0);
        }
        state.looked(SECOND, Ok(sample(1, &[("a", 1), ("b", 1), ("c", 1)])));
        press(&mut state, KeyCode::End);
        assert_eq!(state.selected, 2);
        state.looked(SECOND * 2, Ok(sample(2, &[("a", 1)])));
        assert_eq!(state.selected, 0);
    }

    /// Goal: letters go to the filter while it is typed, Esc takes it back, Ctrl-C always quits, pause keeps the picture.
    #[test]
    fn modes() {
        let mut state = State::new(Column::Name, String::new());
        press(&mut state, KeyCode::Char('/'));
        for typed in "q/s".chars() {
            assert_eq!(press(&mut state, KeyCode::Char(typed)), Wish::Look);
        }
        assert_eq!(state.query().filter, "q/s");
        press(&mut state, KeyCode::Enter);
        assert_eq!((state.mode, state.filter.as_str()), (Mode::Browse, "q/s"));
        press(&mut state, KeyCode::Char('/'));
        press(&mut state, KeyCode::Esc);
        assert_eq!((state.mode, state.filter.as_str()), (Mode::Browse, ""));
        press(&mut state, KeyCode::Char('?'));
        assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Nothing, "any key leaves the help");
        press(&mut state, KeyCode::Char('p'));
        state.looked(SECOND, Ok(sample(1, &[("a", 1)])));
        assert!(state.rows.is_empty() && state.paused);
        assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Quit);
        assert_eq!(state.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
    }
}
