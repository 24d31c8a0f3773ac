//! Every message is accounted for: `sent = processed + rejected + dead_lettered + queued`.
//!
//! Source: design decision D5. The node's own counters are compared with each other and with counts made elsewhere: by those
//! who sent, by the behaviors, and by the dead-letter store.

use nexus_actors::agent::Tally;

/// What is compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Books {
    /// The node's counters, read at rest.
    pub node: Tally,
    /// Sends counted by the senders, failed ones included.
    pub sent: u64,
    /// Refusals the senders saw.
    pub rejected: u64,
    /// Letters the dead-letter store has counted, over all reasons.
    pub dead_letters: u64,
    /// Requests the behaviors say they have handled to the end, where they can.
    pub processed: Option<u64>,
}

/// Checks the books of a node at rest: nothing is queued, and nothing is sent while they are read.
///
/// # Errors
/// Each account that does not balance.
pub fn accounting(books: &Books) -> Result<(), String> {
    let Books { node, sent, rejected, dead_letters, processed } = *books;
    let ends = node.processed + node.rejected + node.dead_lettered + node.queued;
    let accounts = [
        ("sent = processed + rejected + dead-lettered + queued", node.sent, ends),
        ("queued at rest", node.queued, 0),
        ("sent, by the senders", node.sent, sent),
        ("rejected, by the senders", node.rejected, rejected),
        ("dead-lettered, by the store", node.dead_lettered, dead_letters),
        ("processed, by the behaviors", node.processed, processed.unwrap_or(node.processed)),
    ];
    let wrong: Vec<String> = accounts
        .into_iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(account, found, expected)| format!("{account}: {found}, not {expected}"))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{books:?}", wrong.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Doctor = fn(&mut Books);

    fn balanced() -> Books {
        let node = Tally { sent: 100, processed: 90, rejected: 7, dead_lettered: 3, queued: 0 };
        Books { node, sent: 100, rejected: 7, dead_letters: 3, processed: Some(90) }
    }

    /// Goal: one message more or less on any account is found. Method: change each number of balanced books by one.
    #[test]
    fn fires_on_any_single_message() {
        assert_eq!(accounting(&balanced()), Ok(()));
        assert_eq!(accounting(&Books { processed: None, ..balanced() }), Ok(()));
        let doctored: [(&str, Doctor); 9] = [
            ("sent =", |books| books.node.sent += 1),
            ("sent =", |books| books.node.processed -= 1),
            ("rejected, by", |books| books.node.rejected += 1),
            ("dead-lettered, by", |books| books.node.dead_lettered -= 1),
            ("queued at rest", |books| books.node.queued += 1),
            ("sent, by", |books| books.sent += 1),
            ("rejected, by", |books| books.rejected -= 1),
            ("dead-lettered, by", |books| books.dead_letters += 1),
            ("processed, by", |books| books.processed = Some(91)),
        ];
        for (account, doctor) in doctored {
            let mut books = balanced();
            doctor(&mut books);
            let error = accounting(&books).unwrap_err();
            assert!(error.contains(account), "{account}: {error}");
        }
    }

    /// Goal: a message that is still queued does not pass for one that was handled, though the sum is right.
    #[test]
    fn fires_on_a_message_left_behind() {
        let mut books = balanced();
        books.node.processed -= 1;
        books.node.queued += 1;
        assert!(accounting(&books).unwrap_err().contains("queued at rest: 1"));
    }
}
