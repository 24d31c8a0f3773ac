//! What becomes of an agent whose actor has ended. Pure.

/// Where an agent is between its first message and its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Its actor is up, or is being started without a snapshot.
    Live,
    /// Its state is written and its inbox sealed; its actor is being ended.
    Settling,
    /// Its actor is being started from a snapshot.
    Waking,
}

impl Phase {
    pub(crate) const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Settling,
            2 => Self::Waking,
            _ => Self::Live,
        }
    }
}

/// What to do with an agent that its supervisor has let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has ended for good: its letters become dead letters.
    Retire,
    /// It sleeps from now on: its route becomes dormant.
    LayDown,
    /// Letters have come while it was being laid down: it is started again, and handles them in order.
    WakeAgain,
    /// It did not wake: its letters become dead letters, and it sleeps on.
    GiveUp,
}

/// The end of an agent in `phase` with `waiting` letters in its inbox.
pub(crate) const fn end(phase: Phase, waiting: u64) -> End {
    match (phase, waiting) {
        (Phase::Live, _) => End::Retire,
        (Phase::Settling, 0) => End::LayDown,
        (Phase::Settling, _) => End::WakeAgain,
        (Phase::Waking, _) => End::GiveUp,
    }
}
