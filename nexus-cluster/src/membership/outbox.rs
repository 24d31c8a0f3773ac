//! What foca is given: where its effects go, and its randomness.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use foca::{Notification, OwnedNotification};
use nexus_actors::rng::Rng;

use super::member::Member;
use super::message::{Due, Effect, MembershipEvent, Timer};

/// What foca does while it takes one input.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) effects: Vec<Effect>,
    pub(super) notes: VecDeque<Note>,
}

pub(super) enum Note {
    Foca(OwnedNotification<Member>),
    Suspect(Member),
}

impl Outbox {
    pub(super) fn arm(&mut self, due: Due, after: Duration) {
        self.effects.push(Effect::Arm { timer: Timer(due), after });
    }

    pub(super) fn event(&mut self, event: MembershipEvent) {
        self.effects.push(Effect::Event(event));
    }

    pub(super) fn connect(&mut self, member: &Member) {
        let address = member.metadata().address.clone();
        if !address.is_empty() {
            self.effects.push(Effect::Connect { address });
        }
    }

    pub(super) fn disconnect(&mut self, member: &Member) {
        let address = member.metadata().address.clone();
        if !address.is_empty() {
            self.effects.push(Effect::Disconnect { address });
        }
    }
}

impl foca::Runtime<Member> for Outbox {
    fn notify(&mut self, notification: Notification<'_, Member>) {
        self.notes.push_back(Note::Foca(notification.to_owned()));
    }

    fn send_to(&mut self, to: Member, data: &[u8]) {
        let (to, bytes) = (to.name().clone(), Bytes::copy_from_slice(data));
        self.effects.push(Effect::Send { to, bytes });
    }

    fn submit_after(&mut self, event: foca::Timer<Member>, after: Duration) {
        if let foca::Timer::ChangeSuspectToDown { member_id, .. } = &event {
            self.notes.push_back(Note::Suspect(member_id.clone()));
        }
        self.arm(Due::Foca(event), after);
    }
}

/// Our generator behind the traits that foca asks for.
pub(super) struct FocaRng(pub(super) Rng);

impl rand_core::TryRng for FocaRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(rand::RngCore::next_u32(&mut self.0))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(rand::RngCore::next_u64(&mut self.0))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        rand::RngCore::fill_bytes(&mut self.0, dst);
        Ok(())
    }
}
