//! What nodes ask each other about their agents: MessagePack, with limits.

use bytes::Bytes;
use nexus_actors::agent::AgentId;
use nexus_actors::route::FeedLoss;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Agents in a question or an answer at most; there is another for more.
pub(super) const PAGE: usize = 1024;
/// Bytes of a message at most: a page of the longest names.
pub const MESSAGE_BYTES_MAX: usize = PAGE * 300;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A question; its answer has its number.
    Ask(u64, Question),
    /// The answer.
    Answer(u64, Answer),
    /// To all: part of a feed did not reach an agent. Whoever runs the feed delivers it again.
    Lost(Loss),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// The next names that match the pattern, after this one.
    Names {
        /// A name pattern.
        pattern: String,
        /// Empty for the first.
        after: String,
    },
    /// How far these agents have come in a feed.
    Marks {
        /// The feed's number.
        feed: u16,
        /// The agents' keys, one after the other.
        agents: Keys,
    },
    /// How much is under way.
    Queued,
    /// No question: what the cluster was started for is done, and whoever waits for that may end.
    Finished,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Names, in order.
    Names {
        /// At most a page.
        names: Vec<String>,
        /// Whether there are no more.
        is_all: bool,
    },
    /// For each agent the place of the last request that it has handled; none if it is not on the node.
    Marks(Vec<Option<u64>>),
    /// Messages that wait or are being handled, or are on their way to other nodes.
    Queued(u64),
    /// It was heard.
    Heard,
}

/// Keys of agents, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keys(Bytes);

const KEY_BYTES: usize = size_of::<u128>();

impl Keys {
    pub(super) fn of(agents: &[AgentId]) -> Self {
        Self(agents.iter().flat_map(|agent| agent.get().to_le_bytes()).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = AgentId> {
        let (keys, _) = self.0.as_chunks::<KEY_BYTES>();
        keys.iter().map(|key| AgentId::from_key(u128::from_le_bytes(*key)))
    }
}

/// A [`FeedLoss`] as it travels: feed, pass, place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss(u16, u8, u64);

impl From<FeedLoss> for Loss {
    fn from(FeedLoss { feed, pass, after }: FeedLoss) -> Self {
        Self(feed, pass, after)
    }
}

impl From<Loss> for FeedLoss {
    fn from(Loss(feed, pass, after): Loss) -> Self {
        Self { feed, pass, after }
    }
}

/// The bytes are no message. Drop them and count it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Longer than any message.
    #[error("{bytes} bytes, {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not of this form.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl Message {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        rmp_serde::to_vec(self).expect("plain data has a form in MessagePack").into()
    }

    /// From bytes of a peer.
    ///
    /// # Errors
    /// They are too long or no message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong { bytes: bytes.len() });
        }
        let message: Self =
            rmp_serde::from_slice(bytes).map_err(|error| MessageError::Malformed(error.to_string()))?;
        let too_many = match &message {
            Self::Ask(_, Question::Marks { agents, .. }) => {
                agents.0.len() > PAGE * KEY_BYTES || !agents.0.len().is_multiple_of(KEY_BYTES)
            }
            Self::Answer(_, Answer::Names { names, .. }) => names.len() > PAGE,
            Self::Answer(_, Answer::Marks(marks)) => marks.len() > PAGE,
            _ => false,
        };
        if too_many { Err(MessageError::Malformed("not one page".into())) } else { Ok(message) }
    }
}

#[cfg(test)]
mod tests {
    use nexus_actors::rng::Seed;
    use rand::{Rng as _, RngCore as _};

    use super::*;

    fn messages() -> Vec<Message> {
        let agents = Keys::of(&[AgentId::of("a/1"), AgentId::of("a/2")]);
        vec![
            Message::Ask(1, Question::Names { pattern: "a/*".into(), after: String::new() }),
            Message::Ask(2, Question::Marks { feed: 0x8001, agents }),
            Message::Ask(3, Question::Queued),
            Message::Ask(u64::MAX, Question::Finished),
            Message::Answer(1, Answer::Names { names: vec!["a/1".into()], is_all: true }),
            Message::Answer(2, Answer::Marks(vec![Some(7), None])),
            Message::Answer(3, Answer::Queued(9)),
            Message::Answer(u64::MAX, Answer::Heard),
            Message::Lost(FeedLoss { feed: 1, pass: 2, after: 3 }.into()),
        ]
    }

    /// Goal: what is encoded is decoded, a page is a page, and no bytes of a peer do harm. Method: all cut and changed forms.
    #[test]
    fn seeded_hostile_bytes_are_errors() {
        let seed = std::env::var("NEXUS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
        println!("NEXUS_TEST_SEED={seed}");
        let mut rng = Seed::new(seed).stream("message");
        for message in messages() {
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                assert!(Message::decode(&bytes[..cut]).is_err());
            }
            for _ in 0..500 {
                let mut changed = bytes.to_vec();
                let at = rng.random_range(0..changed.len());
                changed[at] = rng.next_u32() as u8;
                let _ = Message::decode(&changed);
            }
        }
        let agents: Vec<_> = (0..=PAGE as u128).map(AgentId::from_key).collect();
        let page = |count: usize| {
            let agents = Keys::of(&agents[..count]);
            Message::decode(&Message::Ask(1, Question::Marks { feed: 0, agents }).encode())
        };
        assert!(page(PAGE).is_ok() && page(PAGE + 1).is_err());
        assert!(Message::decode(&vec![0; MESSAGE_BYTES_MAX + 1]).is_err());
    }
}
