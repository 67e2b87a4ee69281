//! Workloads that were reset since their newest snapshot: the next one is full.

use model::WorkloadId;

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::values;

statements! {
    INSERT_WORKLOAD_RESET = "INSERT INTO workload_reset (workload_id, reset_at) VALUES (?, ?)";
    GET_WORKLOAD_RESET = "SELECT reset_at FROM workload_reset WHERE workload_id = ?";
    DELETE_WORKLOAD_RESET = "DELETE FROM workload_reset WHERE workload_id = ?";
}

impl Tx {
    /// Notes that a workload was reset; a second time changes nothing.
    pub async fn insert_workload_reset(&mut self, id: WorkloadId) -> Result<()> {
        let now = self.now();
        match self.execute(&INSERT_WORKLOAD_RESET, values![id, now]).await {
            Ok(_) | Err(Error::Duplicate { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the next snapshot is to be full.
    pub async fn is_workload_reset(&mut self, id: WorkloadId) -> Result<bool> {
        Ok(self.fetch_optional(&GET_WORKLOAD_RESET, values![id]).await?.is_some())
    }

    /// Forgets the reset: there was a snapshot since, or the workload is gone.
    pub async fn delete_workload_reset(&mut self, id: WorkloadId) -> Result<()> {
        self.execute(&DELETE_WORKLOAD_RESET, values![id]).await.map(drop)
    }
}
