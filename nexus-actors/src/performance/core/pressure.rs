//! Hysteresis and cool-downs.

use std::time::Duration;

use super::{Measure, MeasureOverview};
use crate::clock::Millis;
use crate::performance::config::Levels;

/// Whether a measure is pressed.
#[derive(Debug)]
pub(super) struct Pressure {
    levels: Levels,
    pressed: bool,
    since: Millis,
    reading: Option<f64>,
    /// Since when the reading has been beyond the level that would change it.
    beyond: Option<Millis>,
}

impl Pressure {
    pub(super) const fn new(levels: Levels, now: Millis) -> Self {
        Self { levels, pressed: false, since: now, reading: None, beyond: None }
    }

    /// Takes a reading; says whether the measure is pressed if that has changed.
    pub(super) fn read(&mut self, now: Millis, reading: Option<f64>) -> Option<bool> {
        self.reading = reading;
        let beyond = if self.pressed { self.is_low() } else { self.is_high() };
        if !beyond {
            self.beyond = None;
            return None;
        }
        let began = *self.beyond.get_or_insert(now);
        if now.since(began) < self.levels.dwell {
            return None;
        }
        (self.pressed, self.since, self.beyond) = (!self.pressed, now, None);
        Some(self.pressed)
    }

    pub(super) const fn is_pressed(&self) -> bool {
        self.pressed
    }

    pub(super) fn is_high(&self) -> bool {
        self.reading.is_some_and(|reading| reading >= self.levels.high)
    }

    /// What cannot be read must not keep anything from being taken back.
    pub(super) fn is_low(&self) -> bool {
        self.reading.is_none_or(|reading| reading <= self.levels.low)
    }

    /// The reading and the level it is judged by, in words.
    pub(super) fn why(&self) -> String {
        let Levels { high, low, .. } = self.levels;
        match self.reading {
            None => "there is no reading".to_owned(),
            Some(reading) if self.is_high() => format!("{reading:.3} is at or above {high}"),
            Some(reading) if self.is_low() => format!("{reading:.3} is at or below {low}"),
            Some(reading) => format!("{reading:.3} is not yet at or below {low}"),
        }
    }

    pub(super) const fn overview(&self, measure: Measure) -> MeasureOverview {
        MeasureOverview { measure, reading: self.reading, pressed: self.pressed, since: self.since }
    }
}

/// The shortest time between two actions of a kind.
#[derive(Debug)]
pub(super) struct CoolDown {
    time: Duration,
    last: Option<Millis>,
}

impl CoolDown {
    pub(super) const fn new(time: Duration) -> Self {
        Self { time, last: None }
    }

    /// Whether it is time again; if so, the action is taken to be done now.
    pub(super) fn is_over(&mut self, now: Millis) -> bool {
        let over = self.last.is_none_or(|last| now.since(last) >= self.time);
        if over {
            self.last = Some(now);
        }
        over
    }
}
