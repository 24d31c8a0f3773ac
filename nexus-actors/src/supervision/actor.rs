//! The supervisor actor: the shell around the core.
//!
//! Supervised by another supervisor, or as the root by nobody. A restart starts from the specification: children added at
//! run time are lost. The shell makes no decisions; it knows ractor's peculiarities:
//!
//! - ractor stops a supervisor by default when a child exits: `handle_supervisor_evt` is overridden.
//! - A supervisor that ends kills its children without their `post_stop`: they are stopped in order before. A nested
//!   supervisor is therefore asked to shut down by message, while it can still see its children's exits; a bare `stop` is
//!   answered in `post_stop`, where exits can only be waited for.
//! - A child's exit can be reported before its start has returned: such exits are kept until the start does.
//! - Nothing is awaited in `handle`: starts, timers and waits are tasks that report back by message, and end with the actor.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use futures::future::AbortHandle;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};

use super::core::{AttemptId, ChildKey, Input, Process, Ticket, TimerId};
use super::launch::{self, Attempt, BATCH_MAX, Batch};
use super::message::{Answer, Completion, Msg, SupervisorMsg};
use super::reason::ExitReason;
use super::spec::{StartChild, Started};
use super::start::StartContext;
use super::view::{ActorEffect, ActorInput, SupervisorView};

/// Where tasks report to: the supervisor's mailbox, or, from `post_stop` on, where that is not read any more, a channel.
#[derive(Clone)]
pub(super) struct Reports {
    mailbox: ActorRef<SupervisorMsg>,
    channel: Arc<OnceLock<mpsc::UnboundedSender<Completion>>>,
}

impl Reports {
    /// A report to a supervisor that has ended concerns nobody.
    pub(super) fn send(&self, completion: Completion) {
        match self.channel.get() {
            None => drop(self.mailbox.cast(SupervisorMsg(Msg::Completion(completion)))),
            Some(channel) => drop(channel.send(completion)),
        }
    }

    fn without_mailbox(&self) -> bool {
        self.channel.get().is_some()
    }
}

pub(super) struct SupervisorActor;

pub(super) struct SupervisorState {
    view: Arc<SupervisorView>,
    myself: ActorRef<SupervisorMsg>,
    reports: Reports,
    /// Everything under way; dropped with the state.
    tasks: JoinSet<()>,
    timers: HashMap<TimerId, task::AbortHandle>,
    starts: BTreeMap<AttemptId, AbortHandle>,
    /// Whether starts are begun together: a static supervisor has one at a time.
    gathers: bool,
    /// Those that have not begun yet: few, and only while the mailbox is being read.
    gathered: Vec<Attempt>,
    /// Exits of unknown processes: perhaps of children whose start has not returned yet. With the last attempt begun before
    /// the exit: when that and all before it have returned, nobody will ask for it.
    early: HashMap<u64, (AttemptId, ExitReason)>,
    last_attempt: Option<AttemptId>,
    /// Processes that have ended, while what they supervised has not yet.
    settling: HashSet<u64>,
    replies: HashMap<Ticket, RpcReplyPort<Answer>>,
    last_ticket: u64,
    boot: Boot,
}

enum Boot {
    New,
    Pending(Vec<RpcReplyPort<Result<(), ExitReason>>>),
    Answered,
}

impl Actor for SupervisorActor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = Arc<SupervisorView>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        view: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        view.bind(myself.clone());
        Ok(SupervisorState {
            gathers: view.is_dynamic(),
            view,
            reports: Reports { mailbox: myself.clone(), channel: Arc::new(OnceLock::new()) },
            myself,
            tasks: JoinSet::new(),
            timers: HashMap::new(),
            starts: BTreeMap::new(),
            gathered: Vec::new(),
            early: HashMap::new(),
            last_attempt: None,
            settling: HashSet::new(),
            replies: HashMap::new(),
            last_ticket: 0,
            boot: Boot::New,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message.0 {
            Msg::Boot(reply) => state.on_boot(reply).await,
            Msg::Call(request, reply) => {
                let ticket = state.ticket();
                state.replies.insert(ticket, reply);
                state.feed([Input::Call { ticket, request }]).await;
            }
            Msg::Post(request) => {
                let ticket = state.ticket();
                state.feed([Input::Call { ticket, request }]).await;
            }
            Msg::Launch => {
                let inputs = state.launch();
                state.feed(inputs).await;
            }
            Msg::Shutdown => state.feed([Input::Shutdown]).await,
            Msg::Completion(completion) => state.on_completion(completion).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let (Some(reason), Some(cell)) = (ExitReason::of_event(&event), event.actor_cell()) {
            state.on_exit(cell.get_id().pid(), reason).await;
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if !state.view.is_closed() {
            state.close_without_mailbox().await;
        }
        Ok(())
    }
}

impl SupervisorState {
    const fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    async fn on_boot(&mut self, reply: RpcReplyPort<Result<(), ExitReason>>) {
        match &mut self.boot {
            Boot::New => {
                self.boot = Boot::Pending(vec![reply]);
                self.feed([Input::Boot]).await;
            }
            Boot::Pending(replies) => replies.push(reply),
            Boot::Answered => {
                let _ = reply.send(self.view.exit_reason().map_or(Ok(()), |reason| Err(reason.clone())));
            }
        }
    }

    async fn on_exit(&mut self, pid: u64, reason: ExitReason) {
        let Some(process) = self.view.process(pid) else {
            if let Some(last) = self.last_attempt.filter(|_| !self.starts.is_empty()) {
                self.early.insert(pid, (last, reason));
            }
            return;
        };
        match process.nested {
            Some(nested) => {
                let exited = self.settle(pid, reason, &nested);
                self.feed(exited).await;
            }
            None => self.feed([Input::ChildExited { pid, reason }]).await,
        }
    }

    /// A nested supervisor ended: its exit counts when nothing below it lives any more. If it ended in order, nothing does.
    fn settle(&mut self, pid: u64, reason: ExitReason, nested: &Arc<SupervisorView>) -> Option<ActorInput> {
        let reason = nested.exit_reason().cloned().unwrap_or(reason);
        if nested.living().is_empty() {
            return Some(Input::ChildExited { pid, reason });
        }
        self.settling.insert(pid);
        let (nested, reports) = (nested.clone(), self.reports.clone());
        self.tasks.spawn(async move {
            nested.settled().await;
            reports.send(Completion::Settled { pid, reason });
        });
        None
    }

    async fn on_completion(&mut self, completion: Completion) {
        while self.tasks.try_join_next().is_some() {}
        match completion {
            Completion::Spawned { key, attempt, process } => {
                self.feed([Input::Spawned { key, attempt, process }]).await;
            }
            Completion::Started { .. } | Completion::StartFailed { .. } => {
                let inputs = self.begun(completion);
                self.feed(inputs).await;
            }
            Completion::Many(completions) => {
                for completion in completions {
                    let inputs = self.begun(completion);
                    self.feed(inputs).await;
                }
            }
            Completion::Timer(timer) => {
                self.timers.remove(&timer);
                self.feed([Input::TimerFired(timer)]).await;
            }
            Completion::TryAgain { key, wait } => self.feed([Input::TryAgain { key, wait }]).await,
            Completion::Gone { pid } => {
                if !self.settling.contains(&pid) {
                    self.feed([Input::ChildGone { pid }]).await;
                }
            }
            Completion::Settled { pid, reason } => {
                self.settling.remove(&pid);
                self.feed([Input::ChildExited { pid, reason }]).await;
            }
        }
    }

    /// Gives the core what happened, carries out what it orders, and so on until it has to wait.
    async fn feed(&mut self, inputs: impl IntoIterator<Item = ActorInput>) {
        let mut inputs: VecDeque<_> = inputs.into_iter().collect();
        while let Some(input) = inputs.pop_front() {
            for (count, effect) in self.view.step(input).into_iter().enumerate() {
                // A supervisor with very many children has very many effects.
                if count % 256 == 255 {
                    tokio::task::yield_now().await;
                }
                inputs.extend(self.run(effect));
            }
        }
    }

    /// Carries out one effect. What is already known about its outcome is returned.
    fn run(&mut self, effect: ActorEffect) -> Vec<ActorInput> {
        match effect {
            ActorEffect::Start { key, attempt, id, start, timeout } => {
                return self.start(key, attempt, id, start, timeout);
            }
            ActorEffect::AbortStart { attempt } => {
                if let Some(start) = self.end_attempt(attempt) {
                    start.abort();
                }
            }
            ActorEffect::Stop { process, mass } => {
                // Without a mailbox nobody reports exits. A million children get no watcher each: they are all linked.
                if !mass || self.reports.without_mailbox() {
                    self.watch(&process);
                }
                stop(&process);
            }
            ActorEffect::Kill { process } => {
                if self.reports.without_mailbox() {
                    self.watch(&process);
                }
                process.cell.kill();
            }
            ActorEffect::Discard { process } => stop(&process),
            ActorEffect::Arm { timer, after } => self.arm(timer, after),
            ActorEffect::Disarm { timer } => {
                if let Some(task) = self.timers.remove(&timer) {
                    task.abort();
                }
            }
            ActorEffect::TryAgain { key, wait } => self.reports.send(Completion::TryAgain { key, wait }),
            ActorEffect::Emit(event) => self.view.env().events.emit(event),
            ActorEffect::Exited { start, reason } => start.exited(&reason),
            ActorEffect::Ended { start } => start.ended(),
            ActorEffect::Reply { ticket, result } => {
                if let Some(reply) = self.replies.remove(&ticket) {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(result.map(|process| process.map(|process| process.cell)));
                }
            }
            ActorEffect::Booted => self.answer_boot(Ok(())),
            ActorEffect::Exit { reason } => {
                self.view.set_exit(reason.clone());
                self.myself.stop(Some(reason.stop_text()));
                self.answer_boot(Err(reason));
            }
        }
        Vec::new()
    }

    fn answer_boot(&mut self, result: Result<(), ExitReason>) {
        if let Boot::Pending(replies) = std::mem::replace(&mut self.boot, Boot::Answered) {
            for reply in replies {
                let _ = reply.send(result.clone());
            }
        }
    }

    /// Orders a start: begun at once, or with those that the mailbox holds behind it.
    fn start(
        &mut self,
        key: ChildKey,
        attempt: AttemptId,
        id: Arc<str>,
        start: Arc<dyn StartChild>,
        timeout: Option<Duration>,
    ) -> Vec<ActorInput> {
        self.last_attempt = Some(attempt);
        let (handle, abort) = AbortHandle::new_pair();
        self.starts.insert(attempt, handle);
        let context = StartContext {
            supervisor: self.myself.get_cell(),
            view: self.view.clone(),
            id,
            env: self.view.env().clone(),
            key,
            attempt,
            reports: self.reports.clone(),
        };
        self.gathered.push(Attempt { key, attempt, start, context, timeout, abort });
        // From `post_stop` on there is no mailbox to be read first.
        if !self.gathers || self.reports.without_mailbox() || self.gathered.len() == BATCH_MAX {
            return self.launch();
        }
        if self.gathered.len() == 1 {
            // Fails only when the supervisor is about to end.
            let _ = self.myself.cast(SupervisorMsg(Msg::Launch));
        }
        Vec::new()
    }

    /// Begins the starts that were gathered. What is already known about their outcome is returned.
    fn launch(&mut self) -> Vec<ActorInput> {
        let gathered = std::mem::take(&mut self.gathered);
        let alone = gathered.len() == 1;
        let mut inputs = Vec::new();
        for Batch { home, mut attempts } in launch::by_home(gathered) {
            match home {
                Some(home) => drop(self.tasks.spawn_on(launch::run(attempts, self.reports.clone()), &home)),
                None if alone => inputs.extend(self.launch_here(attempts.remove(0))),
                None => drop(self.tasks.spawn(launch::run(attempts, self.reports.clone()))),
            }
        }
        inputs
    }

    /// Begins a start here. Most actors are ready at once: only those that are not get a task.
    fn launch_here(&mut self, attempt: Attempt) -> Vec<ActorInput> {
        let mut starting = attempt.begin();
        match launch::poll_once(&mut starting) {
            Poll::Ready(completion) => completion.map_or_else(Vec::new, |completion| self.begun(completion)),
            Poll::Pending => {
                let reports = self.reports.clone();
                self.tasks.spawn(async move {
                    if let Some(completion) = starting.await {
                        reports.send(completion);
                    }
                });
                Vec::new()
            }
        }
    }

    /// What the outcome of a start means.
    fn begun(&mut self, completion: Completion) -> Vec<ActorInput> {
        match completion {
            Completion::Started { key, attempt, process } => self.started(key, attempt, process),
            Completion::StartFailed { key, attempt, failure } => {
                self.end_attempt(attempt);
                vec![Input::StartFailed { key, attempt, failure }]
            }
            _ => unreachable!("a start has no other outcomes"),
        }
    }

    /// A start returned. If the actor has ended already, that follows at once.
    fn started(&mut self, key: ChildKey, attempt: AttemptId, process: Started) -> Vec<ActorInput> {
        let pid = process.pid();
        let early = self.early.remove(&pid);
        self.end_attempt(attempt);
        let mut inputs = vec![Input::Started { key, attempt, process: process.clone() }];
        match early {
            Some((_, reason)) => match &process.nested {
                Some(nested) => inputs.extend(self.settle(pid, reason, nested)),
                None => inputs.push(Input::ChildExited { pid, reason }),
            },
            None => self.ensure_linked(&process),
        }
        inputs
    }

    /// Actors are spawned linked, so an actor that is not has ended, and its exit is about to be reported, unless its start
    /// broke the rule.
    fn ensure_linked(&mut self, process: &Started) {
        let linked = process.cell.try_get_supervisor().is_some_and(|cell| cell == self.myself.get_cell());
        if !linked {
            process.cell.link(self.myself.get_cell());
            self.watch(process);
        }
    }

    fn end_attempt(&mut self, attempt: AttemptId) -> Option<AbortHandle> {
        let start = self.starts.remove(&attempt);
        match self.starts.first_key_value() {
            None => self.early.clear(),
            Some((oldest, _)) if !self.early.is_empty() => self.early.retain(|_, (last, _)| *last >= *oldest),
            Some(_) => {}
        }
        start
    }

    /// Reports the end of a process, however it comes about.
    fn watch(&mut self, process: &Started) {
        let (cell, reports) = (process.cell.clone(), self.reports.clone());
        self.tasks.spawn(async move {
            wait_for_end(&cell).await;
            reports.send(Completion::Gone { pid: cell.get_id().pid() });
        });
    }

    fn arm(&mut self, timer: TimerId, after: Duration) {
        let reports = self.reports.clone();
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            reports.send(Completion::Timer(timer));
        });
        self.timers.insert(timer, task);
    }

    /// Somebody stopped the actor itself instead of asking it to shut down: end in order all the same. Exits are waited for,
    /// as they are not reported here.
    async fn close_without_mailbox(&mut self) {
        let (channel, mut completions) = mpsc::unbounded_channel();
        // Reports that are in the mailbox are lost, so: fired timers fire again, and every end is waited for anew.
        for (timer, _) in self.timers.iter().filter(|(_, task)| task.is_finished()) {
            let _ = channel.send(Completion::Timer(*timer));
        }
        self.reports.channel.set(channel).expect("`post_stop` runs once");
        self.settling.clear();
        for process in self.view.stopping() {
            self.watch(&process);
        }
        self.feed([Input::Shutdown]).await;
        while !self.view.is_closed() {
            let completion = completions.recv().await.expect("the state holds a sender");
            self.on_completion(completion).await;
        }
    }
}

/// Asks a process to end in order.
fn stop(process: &Started) {
    match process.nested.as_ref().and_then(SupervisorView::supervisor) {
        Some(supervisor) => supervisor.shutdown(),
        None => process.cell.stop(Some(ExitReason::Shutdown(None).stop_text())),
    }
}

pub(super) async fn wait_for_end(cell: &ActorCell) {
    cell.wait(None).await.expect("a wait without time-out cannot time out");
}
