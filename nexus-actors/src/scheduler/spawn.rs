//! Spawning an actor on another runtime: its `pre_start` runs there, and so does all it does later.

use ractor::{ActorCell, SpawnErr};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs `spawning` on `home` and waits for the actor it spawns. Dropped earlier it stops, and an actor that was spawned meanwhile
/// is killed: nobody would know of it.
pub(crate) async fn spawn_on(
    home: Handle,
    spawning: impl Future<Output = Result<ActorCell, SpawnErr>> + Send + 'static,
) -> Result<ActorCell, SpawnErr> {
    let mut task = AbortOnDrop(home.spawn(async move { spawning.await.map(|cell| Unclaimed(Some(cell))) }));
    let unclaimed = match (&mut task.0).await {
        Ok(spawned) => spawned?,
        // The behavior panicked before ractor could catch it (in `Default`), or the runtime is being shut down.
        Err(error) => return Err(SpawnErr::StartupFailed(error.into())),
    };
    Ok(unclaimed.claim())
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An actor on its way to whoever wants it.
struct Unclaimed(Option<ActorCell>);

impl Unclaimed {
    fn claim(mut self) -> ActorCell {
        self.0.take().expect("nobody has claimed it before")
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(cell) = self.0.take() {
            cell.kill();
        }
    }
}
