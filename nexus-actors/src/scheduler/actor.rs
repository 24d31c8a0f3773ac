//! Looks at the runtimes every second, so that their busy ratio is of the last one whoever asks.
//!
//! Supervised by the root as `permanent`. Owns nothing: the runtimes outlive it, and a restart loses a look.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::Schedulers;

/// The time between looks.
const PERIOD: Duration = Duration::from_secs(1);

/// What the actor is told.
#[derive(Debug)]
pub enum SchedulersMsg {
    /// Look; the actor sends it to itself.
    Look,
}

impl ractor::Message for SchedulersMsg {}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedulersActor;

impl Actor for SchedulersActor {
    type Msg = SchedulersMsg;
    type State = Schedulers;
    type Arguments = Schedulers;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        schedulers: Schedulers,
    ) -> Result<Self::State, ActorProcessingErr> {
        myself.send_after(PERIOD, || SchedulersMsg::Look);
        Ok(schedulers)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        schedulers: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SchedulersMsg::Look => {
                schedulers.look();
                myself.send_after(PERIOD, || SchedulersMsg::Look);
            }
        }
        Ok(())
    }
}
