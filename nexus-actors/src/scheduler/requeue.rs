//! Going to the back of the run queue.

use std::future::poll_fn;
use std::task::Poll;

/// Lets the other runnable tasks of this thread have their turn. tokio's `yield_now` waits for this worker's whole queue and its driver, out of
/// the others' reach, and a task that was just woken it may run right after the one that woke it: this one goes to the back of the
/// queue at once, where another worker may take it.
pub async fn requeue() {
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
