//! Sagas. Their state is shown with the names of the definition they were started under.

use ::saga::{SagaState, SagaView, Shape};
use catalog::{JobRow, SagaEventRow, SagaRow, TimerKind};
use rest_api::{Saga, SagaDecision, SagaEvent, SagaJob, SagaStep, SagaSummary};
use serde::Deserialize;
use serde_json::Value;

use crate::app::sagas::Parts;
use crate::engine::event_kind;

/// `shape` is `None` for a definition that this program no longer has.
pub(in crate::rest) fn show_saga_summary(row: &SagaRow, shape: Option<&Shape>) -> SagaSummary {
    let state = read_state(row);
    let step = state.as_ref().and_then(SagaState::current_step).map(|index| step_name(shape, index));
    SagaSummary {
        id: row.id,
        kind: row.kind.clone(),
        object_id: row.object_id.to_string(),
        workload_id: row.workload_id,
        project_id: row.project_id.clone(),
        phase: row.phase.clone(),
        step,
        error_code: row.error_code.clone(),
        error_msg: row.error_message.clone(),
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        finished_at: row.finished_at.map(Into::into),
    }
}

pub(in crate::rest) fn show_saga(parts: &Parts, shape: Option<&Shape>) -> Saga {
    let view = read_state(&parts.row).zip(shape).map(|(state, shape)| state.view(shape));
    Saga {
        summary: show_saga_summary(&parts.row, shape),
        deadline_at: parts.due_at(TimerKind::SagaDeadline).map(Into::into),
        next_try_at: parts.due_at(TimerKind::StuckRetry).map(Into::into),
        decisions: parts.events.iter().filter_map(show_decision).collect(),
        steps: view.iter().flat_map(show_steps).collect(),
        events: parts.events.iter().map(show_event).collect(),
        jobs: parts.jobs.iter().map(|job| show_job(job, shape)).collect(),
    }
}

fn read_state(row: &SagaRow) -> Option<SagaState> {
    serde_json::from_str(&row.state).ok()
}

fn step_name(shape: Option<&Shape>, index: u16) -> String {
    let step = shape.and_then(|shape| shape.steps.get(usize::from(index)));
    step.map_or_else(|| format!("step {index}"), |step| step.name.to_owned())
}

fn show_steps(view: &SagaView) -> Vec<SagaStep> {
    let step = |step: &::saga::StepView| SagaStep {
        name: step.name.to_owned(),
        kind: format!("{:?}", step.kind).to_ascii_lowercase(),
        status: step.status.to_owned(),
        branch_count: step.branches.len() as u64,
    };
    view.steps.iter().map(step).collect()
}

fn show_event(row: &SagaEventRow) -> SagaEvent {
    let body = serde_json::from_str(&row.body).unwrap_or_else(|_| Value::from(row.body.clone()));
    SagaEvent { sequence: row.sequence, kind: row.kind.clone(), at: row.at.into(), body }
}

/// What people decided, out of the log.
fn show_decision(row: &SagaEventRow) -> Option<SagaDecision> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        verb: Option<String>,
        by: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        left_behind: Vec<String>,
    }
    if ![event_kind::CANCEL_REQUESTED, event_kind::OPERATOR].contains(&row.kind.as_str()) {
        return None;
    }
    let Entry { verb, by, reason, left_behind } = serde_json::from_str(&row.body).ok()?;
    let verb = verb.unwrap_or_else(|| "cancel".to_owned());
    Some(SagaDecision { at: row.at.into(), verb, by, reason, left_behind })
}

fn show_job(row: &JobRow, shape: Option<&Shape>) -> SagaJob {
    SagaJob {
        id: row.id.to_string(),
        step: step_name(shape, row.step),
        branch: row.branch.into(),
        direction: row.direction.to_string(),
        attempt: row.attempt.into(),
        state: row.state.to_string(),
        worker: row.worker.as_ref().map(ToString::to_string),
        bytes_done: row.progress.bytes_done.0,
        bytes_total: row.progress.bytes_total.0,
    }
}
