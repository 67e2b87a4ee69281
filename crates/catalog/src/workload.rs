//! Workloads and the instances they protect. A workload's lock is its status and the saga that holds it.

use model::{
    InstanceId, KeepBase, Owner, ProjectId, SagaId, TargetId, Timestamp, UserId, WorkloadEvent, WorkloadId,
    WorkloadState, WorkloadType,
};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};

/// One row of `workload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadRow {
    pub id: WorkloadId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    pub description: String,
    pub status: WorkloadState,
    /// Who holds the lock (or got stuck holding it).
    pub saga_id: Option<SagaId>,
    pub target_id: TargetId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub error_message: Option<String>,
    pub keep_base: KeepBase,
    /// A snapshot leaves out instances that fail, and goes on with the others.
    pub allow_partial: bool,
    pub workload_type: WorkloadType,
}

impl WorkloadRow {
    /// On whose behalf its jobs ask the cloud.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { project_id: self.project_id.clone(), user_id: self.user_id.clone() }
    }
}

/// One row of `workload_instance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadInstanceRow {
    pub instance_id: InstanceId,
    pub workload_id: WorkloadId,
    pub name: String,
    /// Its place in the order of the workload.
    pub position: u32,
}

/// What `list_workloads` gives; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct WorkloadFilter {
    pub project_id: Option<ProjectId>,
    /// `None`: all but the deleted.
    pub status: Option<WorkloadState>,
    pub limit: Option<u32>,
}

statements! {
    INSERT_WORKLOAD = "INSERT INTO workload (id, project_id, user_id, name, description, status, saga_id, target_id, created_at, updated_at, error_message, keep_base, allow_partial, workload_type) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GET_WORKLOAD = "SELECT id, project_id, user_id, name, description, status, saga_id, target_id, created_at, updated_at, error_message, keep_base, allow_partial, workload_type FROM workload WHERE id = ?";
    LIST_WORKLOADS = "SELECT id, project_id, user_id, name, description, status, saga_id, target_id, created_at, updated_at, error_message, keep_base, allow_partial, workload_type FROM workload WHERE (? IS NULL OR project_id = ?) AND ((? IS NULL AND status <> 'deleted') OR status = ?) ORDER BY created_at DESC, id DESC LIMIT ?";
    LIST_OWNERS = "SELECT DISTINCT project_id, user_id FROM workload ORDER BY project_id, user_id";
    COUNT_WORKLOADS_OF_OWNER = "SELECT COUNT(*) AS count FROM workload WHERE project_id = ? AND user_id = ? AND status <> 'deleted'";
    UPDATE_WORKLOAD = "UPDATE workload SET name = ?, description = ?, keep_base = ?, allow_partial = ?, workload_type = ?, updated_at = ? WHERE id = ?";
    UPDATE_WORKLOAD_STATUS = "UPDATE workload SET status = ?, saga_id = ?, error_message = ?, updated_at = ? WHERE id = ? AND status = ? AND ((? IS NULL AND saga_id IS NULL) OR saga_id = ?)";
    INSERT_WORKLOAD_INSTANCE = "INSERT INTO workload_instance (instance_id, workload_id, name, position) VALUES (?, ?, ?, ?)";
    GET_WORKLOAD_INSTANCE = "SELECT instance_id, workload_id, name, position FROM workload_instance WHERE instance_id = ?";
    LIST_WORKLOAD_INSTANCES = "SELECT instance_id, workload_id, name, position FROM workload_instance WHERE workload_id = ? ORDER BY position, instance_id";
    DELETE_WORKLOAD_INSTANCE = "DELETE FROM workload_instance WHERE instance_id = ? AND workload_id = ?";
    DELETE_WORKLOAD_INSTANCES = "DELETE FROM workload_instance WHERE workload_id = ?";
}

impl Tx {
    pub async fn insert_workload(&mut self, row: &WorkloadRow) -> Result<()> {
        let values = values![
            row.id,
            &row.project_id,
            &row.user_id,
            &row.name,
            &row.description,
            row.status,
            row.saga_id,
            row.target_id,
            row.created_at,
            row.updated_at,
            row.error_message.as_deref(),
            row.keep_base,
            row.allow_partial,
            row.workload_type,
        ];
        self.execute(&INSERT_WORKLOAD, values).await.map(drop)
    }

    pub async fn get_workload(&mut self, id: WorkloadId) -> Result<Option<WorkloadRow>> {
        self.fetch_optional(&GET_WORKLOAD, values![id]).await?.map(|row| WorkloadRow::read(&row)).transpose()
    }

    /// Shape: newest first.
    pub async fn list_workloads(&mut self, filter: &WorkloadFilter) -> Result<Vec<WorkloadRow>> {
        let (project, status) = (filter.project_id.as_ref(), filter.status);
        let values = values![project, project, status, status, limit(filter.limit)];
        self.fetch_all(&LIST_WORKLOADS, values).await?.iter().map(WorkloadRow::read).collect()
    }

    /// Whoever had a workload ever.
    pub async fn list_owners(&mut self) -> Result<Vec<Owner>> {
        let rows = self.fetch_all(&LIST_OWNERS, values![]).await?;
        let owner =
            |row: &Row| Ok(Owner { project_id: row.parse("project_id")?, user_id: row.parse("user_id")? });
        rows.iter().map(owner).collect()
    }

    /// How many workloads an owner has.
    pub async fn count_workloads_of(&mut self, owner: &Owner) -> Result<u64> {
        let values = values![&owner.project_id, &owner.user_id];
        let row = self.fetch_optional(&COUNT_WORKLOADS_OF_OWNER, values).await?;
        row.map_or(Ok(0), |row| row.number("count"))
    }

    /// Changes what a user may change.
    pub async fn update_workload(&mut self, row: &WorkloadRow) -> Result<()> {
        let now = self.now();
        let values = values![
            &row.name,
            &row.description,
            row.keep_base,
            row.allow_partial,
            row.workload_type,
            now,
            row.id,
        ];
        match self.swap(&UPDATE_WORKLOAD, values).await? {
            true => Ok(()),
            false => Err(Error::NotFound { noun: "workload", id: row.id.to_string() }),
        }
    }

    /// Takes the workload for `saga_id`; taking it again changes nothing.
    ///
    /// Errors: `Held` when another saga has it, `IllegalTransition`, `Conflict` when somebody else was faster.
    pub async fn lock_workload(&mut self, id: WorkloadId, saga_id: SagaId) -> Result<()> {
        let row = self.require_workload(id).await?;
        match row.saga_id {
            Some(holder) if holder == saga_id && row.status == WorkloadState::Locked => Ok(()),
            Some(holder) if row.status == WorkloadState::Locked => {
                Err(Error::Held { noun: "workload", id: id.to_string(), holder })
            }
            _ => self.swap_workload(&row, WorkloadEvent::Lock, Some(saga_id), None).await,
        }
    }

    /// Gives back what [`Self::lock_workload`] took; giving back what is not held (any more) changes nothing.
    pub async fn unlock_workload(&mut self, id: WorkloadId, saga_id: SagaId) -> Result<()> {
        let row = self.require_workload(id).await?;
        if row.saga_id == Some(saga_id) && row.status == WorkloadState::Locked {
            self.swap_workload(&row, WorkloadEvent::Unlock, None, None).await
        } else {
            Ok(())
        }
    }

    /// Marks the workload as broken: `saga_id`, which holds it, got stuck.
    pub async fn break_workload(&mut self, id: WorkloadId, saga_id: SagaId, message: &str) -> Result<()> {
        let row = self.require_workload(id).await?;
        if row.saga_id != Some(saga_id) {
            return Err(Error::Fenced { noun: "workload", id: id.to_string(), holder: saga_id });
        }
        self.swap_workload(&row, WorkloadEvent::Break, Some(saga_id), Some(message)).await
    }

    /// Frees a broken workload: an operator settled the stuck saga.
    pub async fn repair_workload(&mut self, id: WorkloadId) -> Result<()> {
        let row = self.require_workload(id).await?;
        self.swap_workload(&row, WorkloadEvent::Repair, None, None).await
    }

    /// Marks the workload deleted and frees its instances for others; the row stays.
    pub async fn delete_workload(&mut self, id: WorkloadId) -> Result<()> {
        let row = self.require_workload(id).await?;
        self.swap_workload(&row, WorkloadEvent::Delete, None, None).await?;
        self.execute(&DELETE_WORKLOAD_INSTANCES, values![id]).await.map(drop)
    }

    /// Errors: `InstanceTaken` when a workload has it (also this one).
    pub async fn insert_workload_instance(&mut self, row: &WorkloadInstanceRow) -> Result<()> {
        let values = values![row.instance_id, row.workload_id, &row.name, row.position];
        match self.execute(&INSERT_WORKLOAD_INSTANCE, values).await {
            Err(error @ Error::Duplicate { .. }) => {
                match self.get_workload_instance(row.instance_id).await? {
                    Some(held) => Err(Error::InstanceTaken {
                        instance_id: row.instance_id,
                        held_by: held.workload_id,
                        wanted_by: row.workload_id,
                    }),
                    None => Err(error),
                }
            }
            outcome => outcome.map(drop),
        }
    }

    /// Which workload protects the instance.
    pub async fn get_workload_instance(&mut self, id: InstanceId) -> Result<Option<WorkloadInstanceRow>> {
        let row = self.fetch_optional(&GET_WORKLOAD_INSTANCE, values![id]).await?;
        row.map(|row| WorkloadInstanceRow::read(&row)).transpose()
    }

    /// Shape: in the order of the workload.
    pub async fn list_workload_instances(&mut self, id: WorkloadId) -> Result<Vec<WorkloadInstanceRow>> {
        let rows = self.fetch_all(&LIST_WORKLOAD_INSTANCES, values![id]).await?;
        rows.iter().map(WorkloadInstanceRow::read).collect()
    }

    /// Takes the instance out of the workload; one that is not in it changes nothing.
    pub async fn delete_workload_instance(&mut self, workload_id: WorkloadId, id: InstanceId) -> Result<()> {
        self.execute(&DELETE_WORKLOAD_INSTANCE, values![id, workload_id]).await.map(drop)
    }

    async fn require_workload(&mut self, id: WorkloadId) -> Result<WorkloadRow> {
        self.get_workload(id).await?.ok_or_else(|| Error::NotFound { noun: "workload", id: id.to_string() })
    }

    async fn swap_workload(
        &mut self,
        row: &WorkloadRow,
        event: WorkloadEvent,
        holder: Option<SagaId>,
        message: Option<&str>,
    ) -> Result<()> {
        let status = row.status.next(event)?;
        let now = self.now();
        let values = values![status, holder, message, now, row.id, row.status, row.saga_id, row.saga_id];
        match self.swap(&UPDATE_WORKLOAD_STATUS, values).await? {
            true => Ok(()),
            false => Err(Error::Conflict { what: format!("workload {}", row.id), retryable: true }),
        }
    }
}

impl WorkloadRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            project_id: row.parse("project_id")?,
            user_id: row.parse("user_id")?,
            name: row.text("name")?,
            description: row.text("description")?,
            status: row.parse("status")?,
            saga_id: row.parse_opt("saga_id")?,
            target_id: row.parse("target_id")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            error_message: row.text_opt("error_message")?,
            keep_base: row.parse("keep_base")?,
            allow_partial: row.flag("allow_partial")?,
            workload_type: row.parse("workload_type")?,
        })
    }
}

impl WorkloadInstanceRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            instance_id: row.parse("instance_id")?,
            workload_id: row.parse("workload_id")?,
            name: row.text("name")?,
            position: row.number("position")?,
        })
    }
}

/// The parameter of `LIMIT`: without a limit all, which is what -1 means to SQLite but not to MariaDB.
pub(crate) fn limit(limit: Option<u32>) -> i64 {
    limit.map_or(i64::MAX, i64::from)
}
