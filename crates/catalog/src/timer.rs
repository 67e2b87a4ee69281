//! Timers of sagas: when a retry is due, when a deadline passes. The broker keeps none.

use model::{SagaId, Timestamp};

use crate::error::Result;
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, Value, values};
use crate::words::{BranchKey, JobDirection, TimerKind};

/// One row of `timer`; all but `due_at` is its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerRow {
    pub saga_id: SagaId,
    pub step: u16,
    pub branch: u16,
    pub direction: JobDirection,
    pub attempt: u32,
    pub kind: TimerKind,
    pub due_at: Timestamp,
}

statements! {
    INSERT_TIMER = "INSERT INTO timer (due_at, saga_id, step, branch, direction, attempt, kind) VALUES (?, ?, ?, ?, ?, ?, ?)";
    UPDATE_TIMER = "UPDATE timer SET due_at = ? WHERE saga_id = ? AND step = ? AND branch = ? AND direction = ? AND attempt = ? AND kind = ?";
    DUE_TIMERS = "SELECT saga_id, step, branch, direction, attempt, kind, due_at FROM timer WHERE due_at <= ? ORDER BY due_at, saga_id, step, branch LIMIT ?";
    LIST_TIMERS = "SELECT saga_id, step, branch, direction, attempt, kind, due_at FROM timer WHERE saga_id = ? ORDER BY due_at, step, branch";
    DELETE_TIMER = "DELETE FROM timer WHERE saga_id = ? AND step = ? AND branch = ? AND direction = ? AND attempt = ? AND kind = ?";
    DELETE_TIMERS_OF_BRANCH = "DELETE FROM timer WHERE saga_id = ? AND step = ? AND branch = ? AND direction = ?";
    DELETE_TIMERS_OF_SAGA = "DELETE FROM timer WHERE saga_id = ?";
}

impl Tx {
    /// Sets a timer; one of the same key gets the new time.
    pub async fn upsert_timer(&mut self, row: &TimerRow) -> Result<()> {
        let mut values = values![row.due_at];
        values.extend(row.key());
        if self.swap(&UPDATE_TIMER, values.clone()).await? {
            return Ok(());
        }
        self.execute(&INSERT_TIMER, values).await.map(drop)
    }

    /// Shape: the longest due first.
    pub async fn due_timers(&mut self, now: Timestamp, limit: u32) -> Result<Vec<TimerRow>> {
        self.fetch_all(&DUE_TIMERS, values![now, limit]).await?.iter().map(TimerRow::read).collect()
    }

    /// Shape: the next due first.
    pub async fn list_timers(&mut self, saga_id: SagaId) -> Result<Vec<TimerRow>> {
        self.fetch_all(&LIST_TIMERS, values![saga_id]).await?.iter().map(TimerRow::read).collect()
    }

    /// Removes the timer with this key, whatever its time; whether there was one.
    pub async fn delete_timer(&mut self, row: &TimerRow) -> Result<bool> {
        self.swap(&DELETE_TIMER, row.key()).await
    }

    /// Removes the timers of all attempts of a branch.
    pub async fn delete_timers_of_branch(&mut self, key: BranchKey) -> Result<()> {
        let values = values![key.saga_id, key.step, key.branch, key.direction];
        self.execute(&DELETE_TIMERS_OF_BRANCH, values).await.map(drop)
    }

    pub async fn delete_timers_of_saga(&mut self, saga_id: SagaId) -> Result<()> {
        self.execute(&DELETE_TIMERS_OF_SAGA, values![saga_id]).await.map(drop)
    }
}

impl TimerRow {
    /// Which branch it is of.
    #[must_use]
    pub const fn branch_key(&self) -> BranchKey {
        BranchKey { saga_id: self.saga_id, step: self.step, branch: self.branch, direction: self.direction }
    }

    fn key(&self) -> Vec<Value> {
        values![self.saga_id, self.step, self.branch, self.direction, self.attempt, self.kind]
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            saga_id: row.parse("saga_id")?,
            step: row.number("step")?,
            branch: row.number("branch")?,
            direction: row.parse("direction")?,
            attempt: row.number("attempt")?,
            kind: row.parse("kind")?,
            due_at: row.time("due_at")?,
        })
    }
}
