//! What an agent does while it waits in its turn, as its [pace](super::pace) decides.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::Sleep;

use super::inbox::Inbox;

/// Goes to the back of the run queue, where another worker may take it. tokio's `yield_now` would wait for this worker's whole
/// queue and its driver, out of the others' reach.
pub(super) async fn requeue() {
    let mut requeued = false;
    poll_fn(|context| {
        if std::mem::replace(&mut requeued, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

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
