//! What an agent does while it waits in its turn, as its [pace](super::pace) decides.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::Sleep;

use super::inbox::Inbox;

/// Waits until there is a letter, which is `false`, or the turn is over.
pub(super) async fn lingered(inbox: &Inbox, mut over: Pin<&mut Option<Sleep>>) -> bool {
    poll_fn(|task| {
        if inbox.poll_letter(task).is_ready() {
            return Poll::Ready(false);
        }
        match over.as_mut().as_pin_mut() {
            Some(over) => over.poll(task).map(|()| true),
            None => Poll::Ready(true),
        }
    })
    .await
}
