//! One saga, loaded into a transaction: takes events through the pure machine until nothing follows any more, and writes
//! what follows. Steps that the catalog does are done here and now, so one event may pass several steps.
//!
//! ```text
//!   event ──▶ machine ──▶ commands ──┬─ catalog operation ──▶ event (again)
//!                                    ├─ job + outbox + deadline timer
//!                                    ├─ retry timer
//!                                    └─ end
//!   all of it, the log and the new state: one commit, fenced by the saga row's version
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use catalog::{BranchKey, SagaEventRow, SagaRow, TimerKind, TimerRow, Tx};
use model::{ErrorClass, Failure, WorkloadState};
use saga::{Command, Direction, Ignored, Leftover, Loaded, Phase, Registry, SagaState, Shape, StepKind};

use super::dispatch::{Dispatch, Order};
use super::event::{At, Incoming};
use super::fact::{self, Became};
use super::{
    CANCELLED, Core, Error, SAGA_DEADLINE_PASSED, catalog_ops, event_kind, job_direction, progress, whole,
};
use crate::sagas::remote::Remote;
use crate::sagas::{Output, Request, answer};

/// What the engine's registry holds.
pub(super) type Definitions = Registry<Request, Output>;

/// Between the reason to turn back and the reason for being stuck.
const THEN_STUCK: &str = "; then it got stuck: ";

/// A saga under way in a transaction.
pub(super) struct Run<'a> {
    core: &'a Arc<Core>,
    tx: &'a mut Tx,
    shape: &'a Shape,
    loaded: Box<dyn Loaded<Request, Output> + 'a>,
    row: SagaRow,
    version: u64,
    state: SagaState,
    sequence: u64,
    queue: VecDeque<Incoming>,
}

impl<'a> Run<'a> {
    /// Loads a saga.
    ///
    /// Errors: `NoSuchSaga`, `Unreadable`, the catalog's.
    pub(super) async fn load(core: &'a Arc<Core>, tx: &'a mut Tx, id: model::SagaId) -> Result<Self, Error> {
        let row = tx.get_saga(id).await?.ok_or(Error::NoSuchSaga(id))?;
        let sequence = tx.last_saga_event_sequence(id).await?;
        Self::resume(core, tx, row, sequence)
    }

    /// Takes up a saga whose row is at hand.
    pub(super) fn resume(
        core: &'a Arc<Core>,
        tx: &'a mut Tx,
        row: SagaRow,
        sequence: u64,
    ) -> Result<Self, Error> {
        let saga_id = row.id;
        let unreadable = |reason: String| Error::Unreadable { saga_id, reason };
        let definition = core.definitions.get(&row.kind, row.definition_version).ok_or_else(|| {
            unreadable(format!(
                "this program does not know sagas {} of version {}",
                row.kind, row.definition_version
            ))
        })?;
        let loaded = definition
            .load(saga_id, &row.params, &row.facts)
            .map_err(|error| unreadable(service_kit::telemetry::Chain(&error).to_string()))?;
        let state = serde_json::from_str(&row.state).map_err(|error| unreadable(error.to_string()))?;
        let version = row.version;
        let shape = definition.shape();
        Ok(Self { core, tx, shape, loaded, row, version, state, sequence, queue: VecDeque::new() })
    }

    /// Takes `incoming` and all that follows from it at once, and writes the saga. An event that means nothing any more
    /// writes nothing.
    ///
    /// Errors: `Conflict` of the catalog when another controller was faster.
    pub(super) async fn apply(mut self, incoming: Incoming) -> Result<Result<Phase, Ignored>, Error> {
        let is_deadline = incoming == Incoming::DeadlinePassed;
        if let Err(ignored) = self.take(incoming).await? {
            if is_deadline && ignored == Ignored::TooLate {
                self.report_lateness().await?;
            }
            return Ok(Err(ignored));
        }
        while let Some(next) = self.queue.pop_front() {
            // A saga that turned back meanwhile no longer waits for the answers of its other branches.
            let _ = self.take(next).await?;
        }
        let phase = self.write().await?;
        Ok(Ok(phase))
    }

    /// Takes one event.
    async fn take(&mut self, incoming: Incoming) -> Result<Result<(), Ignored>, Error> {
        // Branches are counted after learning; whether the event counts at all is asked before.
        if let Err(ignored) = saga::step(self.shape, &self.state, &incoming.event(), &|_| 1) {
            tracing::debug!(saga_id = %self.row.id, event = incoming.kind(), %ignored, "event changes nothing");
            return Ok(Err(ignored));
        }
        let incoming = self.judge(incoming);
        if let Incoming::Succeeded { at: At { step, branch, direction: Direction::Action, .. }, output } =
            &incoming
        {
            self.loaded.learn(*step, *branch, output);
        }
        let phase_before = self.state.phase();
        let step_before = self.state.current_step();
        let branches = |step| self.loaded.branches(step);
        let (state, commands) = match saga::step(self.shape, &self.state, &incoming.event(), &branches) {
            Ok(next) => next,
            Err(ignored) => return Ok(Err(ignored)),
        };
        if let Incoming::Failed { at, failure, .. } = &incoming
            && phase_before == Phase::Forward
            && state.phase() != Phase::Forward
        {
            // The definition may say of what in particular it turned back.
            self.loaded.learn(at.step, at.branch, &Output::Failed(failure.clone()));
        }
        let is_abandoned = state.phase() == Phase::Abandoned;
        let left_behind = if is_abandoned { self.left_behind() } else { Vec::new() };
        self.state = state;
        self.log(&incoming, &left_behind).await?;
        self.explain(phase_before, &incoming);
        if self.state.phase() != phase_before {
            self.announce(Became::Saga(self.row.id, self.state.phase())).await?;
        }
        if self.state.current_step() != step_before || self.state.phase() != phase_before {
            self.show_progress().await?;
        }
        for command in commands {
            self.carry_out(command).await?;
        }
        Ok(Ok(()))
    }

    /// Behind the pivot there is no way back: that the saga is late is said and kept, and it goes on.
    async fn report_lateness(mut self) -> Result<(), Error> {
        let step = self.state.current_step().map_or("?", |step| self.shape.step_name(step));
        tracing::warn!(saga_id = %self.row.id, kind = self.row.kind, step, age = self.age(),
            "a saga is past its deadline, and goes on, since it is past its pivot");
        self.log(&Incoming::DeadlinePassed, &[]).await?;
        self.write().await.map(drop)
    }

    fn age(&self) -> String {
        whole::in_words(self.tx.now().since(self.row.created_at))
    }

    /// Looks at what the machine does not: an answer must fit its command, and some failures are taken as an answer.
    fn judge(&self, incoming: Incoming) -> Incoming {
        match incoming {
            Incoming::Succeeded { at, output: Output::Remote(given) } => {
                let fits = self.remote(at).is_some_and(|remote| answer::fits(&remote.command, &given));
                if fits {
                    return Incoming::Succeeded { at, output: Output::Remote(given) };
                }
                let message = "the worker's answer is not one to this command";
                let failure = Failure::new(ErrorClass::Bug, "ANSWER_INVALID", message);
                Incoming::Failed { at, failure, effect_free: false }
            }
            Incoming::Failed { at, failure, effect_free } => {
                match self.remote(at).and_then(|remote| remote.tolerate(&failure, at.attempt)) {
                    Some(instead) => {
                        tracing::info!(saga_id = %self.row.id, step = self.name(at), code = failure.code, "failure is tolerated");
                        Incoming::Succeeded { at, output: instead }
                    }
                    None => Incoming::Failed { at, failure, effect_free },
                }
            }
            other => other,
        }
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::RunAction { step, branch, attempt } => {
                self.request(At { step, branch, direction: Direction::Action, attempt }).await
            }
            Command::RunUndo { step, branch, attempt } => {
                self.request(At { step, branch, direction: Direction::Undo, attempt }).await
            }
            Command::AbortAction { step, branch, .. } => {
                let key = self.key(At { step, branch, direction: Direction::Action, attempt: 0 });
                self.dispatch().abort(key).await
            }
            Command::ScheduleRetry { step, branch, attempt, direction } => {
                self.schedule_retry(At { step, branch, direction, attempt }).await
            }
            Command::Finish(phase) => self.finish(phase).await,
        }
    }

    async fn request(&mut self, at: At) -> Result<(), Error> {
        let request = match at.direction {
            Direction::Action => self.loaded.action(at.step, at.branch),
            Direction::Undo => self.loaded.undo(at.step, at.branch),
        };
        match request {
            Request::Remote(remote) => self.send(at, &remote).await,
            Request::Catalog(op) => {
                let mut ctx = catalog_ops::OpCtx { tx: self.tx, saga: &self.row, entropy: self.core.entropy };
                let incoming = match catalog_ops::run(&mut ctx, &op).await? {
                    Ok(given) => Incoming::Succeeded { at, output: Output::Catalog(given) },
                    // What the first step's compensation ends (rows, locks) was there before the saga.
                    Err(failure) => Incoming::Failed { at, failure, effect_free: at.step > 0 },
                };
                self.queue.push_back(incoming);
                Ok(())
            }
        }
    }

    async fn send(&mut self, at: At, remote: &Remote) -> Result<(), Error> {
        let deadline = self.core.definitions.get(self.shape.kind, self.shape.version);
        let deadline = deadline.and_then(|definition| definition.step_deadline(at.step));
        let deadline = deadline.unwrap_or(super::DEADLINE_DEFAULT).min(self.core.timing.step_deadline_max);
        let (name, key) = (self.shape.step_name(at.step), self.key(at));
        let deadline_at = self.tx.now().after(deadline);
        self.dispatch()
            .send(Order { branch: key, attempt: at.attempt, step_name: name, remote, deadline_at })
            .await
    }

    async fn schedule_retry(&mut self, at: At) -> Result<(), Error> {
        let pause = self.core.retry.delay(at.attempt, self.core.entropy.fraction());
        let key = self.key(at);
        let row = TimerRow {
            saga_id: key.saga_id,
            step: key.step,
            branch: key.branch,
            direction: key.direction,
            attempt: at.attempt,
            kind: TimerKind::Retry,
            due_at: self.tx.now().after(pause),
        };
        self.tx.delete_timers_of_branch(key).await?;
        self.tx.upsert_timer(&row).await?;
        Ok(())
    }

    async fn finish(&mut self, phase: Phase) -> Result<(), Error> {
        let message = self.row.error_message.clone().unwrap_or_default();
        if phase == Phase::Stuck {
            tracing::error!(saga_id = %self.row.id, kind = self.row.kind, message, "a saga is stuck, an operator must decide");
            self.schedule_new_try().await?;
            return self.break_workload(&message).await;
        }
        if phase == Phase::Succeeded {
            // What was stuck behind the pivot is done; the log keeps how it came.
            self.row.error_code = None;
            self.row.error_message = None;
        }
        tracing::info!(saga_id = %self.row.id, kind = self.row.kind, %phase, code = self.row.error_code, "a saga ended");
        self.row.finished_at = Some(self.tx.now());
        self.tx.delete_timers_of_saga(self.row.id).await?;
        if phase == Phase::Abandoned {
            // An operator saw to it: the rows are settled as the first compensation would have.
            let Request::Catalog(op) = self.loaded.undo(0, 0) else { return Ok(()) };
            let mut ctx = catalog_ops::OpCtx { tx: self.tx, saga: &self.row, entropy: self.core.entropy };
            if let Err(failure) = catalog_ops::run(&mut ctx, &op).await? {
                tracing::warn!(saga_id = %self.row.id, code = failure.code, "an abandoned saga left its rows as they were");
            }
        }
        Ok(())
    }

    /// A stuck saga is tried again, ever more slowly: what was in the way may have gone.
    async fn schedule_new_try(&mut self) -> Result<(), Error> {
        let events = self.tx.list_saga_events(self.row.id).await?;
        let tries = events.iter().filter(|event| event.kind == event_kind::STUCK_RETRY_DUE).count();
        let timing = &self.core.timing;
        let rest = whole::rest(timing.stuck_retry_base, timing.stuck_retry_cap, tries);
        let due_at = self.tx.now().after(rest);
        self.tx.upsert_timer(&whole::timer(self.row.id, TimerKind::StuckRetry, due_at)).await?;
        Ok(())
    }

    /// What remains when the saga ends as it lies, in words. Rows and locks do not: they are settled with the end.
    fn left_behind(&self) -> Vec<String> {
        let branches = |step| self.loaded.branches(step);
        let step_at_work = self.state.current_step().and_then(|step| self.shape.steps.get(usize::from(step)));
        let in_doubt = step_at_work.is_some_and(|step| step.kind == StepKind::Pivot);
        let leftovers = self.state.leftovers(self.shape, &branches).into_iter();
        let describe = |left: Leftover| {
            let Leftover { step, branch, direction } = left;
            let at = At { step, branch, direction, attempt: 0 };
            if in_doubt && direction == Direction::Action {
                // What it works on is known once the pivot told.
                return Some(format!("{} was not done", self.name(at)));
            }
            let subject = self.remote(at)?.subject;
            let (step, name) = (self.shape.step_name(step), self.name(at));
            Some(match direction {
                Direction::Action => format!("{name} was not done for {subject}"),
                Direction::Undo => format!("what {step} made of {subject} may be there: {name} did not run"),
            })
        };
        leftovers.filter_map(describe).collect()
    }

    /// A restore does not hold its workload, and some sagas are of none: then there is nothing to mark.
    async fn break_workload(&mut self, message: &str) -> Result<(), Error> {
        match self.tx.break_workload(self.row.workload_id, self.row.id, message).await {
            Ok(()) => self.announce(Became::Workload(self.row.workload_id, WorkloadState::Error)).await,
            Err(
                catalog::Error::Fenced { .. }
                | catalog::Error::IllegalTransition(_)
                | catalog::Error::NotFound { .. },
            ) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells subscribers, with the reason that the saga has, if any.
    async fn announce(&mut self, became: Became) -> Result<(), Error> {
        let news = fact::news_of(&self.row, became);
        Ok(fact::insert(self.tx, self.core.entropy, &news).await?)
    }

    /// Keeps the first reason to turn back, and the reason for being stuck, in words that name step and thing.
    fn explain(&mut self, before: Phase, incoming: &Incoming) {
        let after = self.state.phase();
        if after == before {
            return;
        }
        let (code, message) = match incoming {
            Incoming::CancelRequested { .. } => (CANCELLED.to_owned(), "a user cancelled it".to_owned()),
            Incoming::DeadlinePassed => {
                (SAGA_DEADLINE_PASSED.to_owned(), format!("it was not done after {}", self.age()))
            }
            Incoming::Failed { at, failure, .. } => (failure.code.clone(), self.describe(*at, failure)),
            _ => return,
        };
        match (&self.row.error_code, after) {
            // Stuck on the way forward, there is no reason to turn back that is to be kept.
            (Some(_), Phase::Stuck) if self.state.cause().is_none() => {
                self.row.error_code = Some(code);
                self.row.error_message = Some(message);
            }
            (None, _) => {
                self.row.error_code = Some(code);
                self.row.error_message = Some(message);
            }
            (Some(_), Phase::Stuck) => {
                let told = self.row.error_message.take().unwrap_or_default();
                let first = told.split(THEN_STUCK).next().unwrap_or_default();
                self.row.error_message = Some(format!("{first}{THEN_STUCK}{message} [{code}]"));
            }
            (Some(_), _) => {}
        }
    }

    fn describe(&self, at: At, failure: &Failure) -> String {
        let name = self.name(at);
        match self.remote(at) {
            Some(remote) => format!("{name} failed for {}: {}", remote.subject, failure.message),
            None => format!("{name} failed: {}", failure.message),
        }
    }

    /// The remote work that `at` is about, if it is remote.
    fn remote(&self, at: At) -> Option<Remote> {
        let request = match at.direction {
            Direction::Action => self.loaded.action(at.step, at.branch),
            Direction::Undo => self.loaded.undo(at.step, at.branch),
        };
        match request {
            Request::Remote(remote) => Some(*remote),
            Request::Catalog(_) => None,
        }
    }

    /// The name of the step, or of its compensation.
    fn name(&self, at: At) -> &'static str {
        let undo = self.shape.steps.get(usize::from(at.step)).and_then(|step| step.undo);
        match (at.direction, undo) {
            (Direction::Undo, Some(undo)) => undo,
            _ => self.shape.step_name(at.step),
        }
    }

    async fn show_progress(&mut self) -> Result<(), Error> {
        let Some(step) = self.state.current_step() else { return Ok(()) };
        let direction = match self.state.phase() {
            Phase::Backward => Direction::Undo,
            _ => Direction::Action,
        };
        let name = self.name(At { step, branch: 0, direction, attempt: 0 });
        progress::show_step(self.tx, &self.row, name).await?;
        Ok(())
    }

    async fn log(&mut self, incoming: &Incoming, left_behind: &[String]) -> Result<(), Error> {
        self.sequence += 1;
        let at = self.tx.now();
        let row = SagaEventRow {
            saga_id: self.row.id,
            sequence: self.sequence,
            kind: incoming.kind().to_owned(),
            body: incoming.log_json(left_behind),
            at,
        };
        match self.tx.insert_saga_event(&row).await {
            // Another controller wrote the saga since we read it.
            Err(catalog::Error::Duplicate { .. }) => Err(self.conflict()),
            other => other.map_err(Error::from),
        }
    }

    async fn write(mut self) -> Result<Phase, Error> {
        let saga_id = self.row.id;
        let unreadable = |reason: String| Error::Unreadable { saga_id, reason };
        let facts = self.loaded.facts_json().map_err(|error| unreadable(error.to_string()))?;
        let learned = self.row.facts != facts;
        self.row.facts = facts;
        self.row.state = serde_json::to_string(&self.state).map_err(|error| unreadable(error.to_string()))?;
        let phase = self.state.phase();
        self.row.phase = phase.as_str().to_owned();
        if learned {
            self.tx.update_saga(&self.row, self.version).await?;
        } else {
            self.tx.update_saga_but_facts(&self.row, self.version).await?;
        }
        Ok(phase)
    }

    fn conflict(&self) -> Error {
        Error::Catalog(catalog::Error::Conflict { what: format!("saga {}", self.row.id), retryable: false })
    }

    fn key(&self, at: At) -> BranchKey {
        BranchKey {
            saga_id: self.row.id,
            step: at.step,
            branch: at.branch,
            direction: job_direction(at.direction),
        }
    }

    fn dispatch(&mut self) -> Dispatch<'_> {
        Dispatch { tx: self.tx, entropy: self.core.entropy, lease_ttl: self.core.timing.lease_ttl }
    }
}
