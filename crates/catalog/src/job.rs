//! Jobs: pieces of remote work, with the lease of who does them. All changes compare attempt and epoch.

use model::{ByteCount, HostName, JobId, JobKey, SagaId, Timestamp};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::{BranchKey, JobDirection, JobState};
use crate::workload::limit;

/// One row of `job`. The id stays over all attempts of its branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    pub id: JobId,
    pub saga_id: SagaId,
    pub step: u16,
    pub branch: u16,
    pub direction: JobDirection,
    pub attempt: u32,
    pub epoch: u64,
    pub state: JobState,
    pub worker: Option<HostName>,
    pub needs_lease: bool,
    /// Where its command went: `cloud.create_volume`, `dmapi.transfer_disk`.
    pub routing_key: String,
    pub command_type: String,
    pub command_body: Vec<u8>,
    pub lease_until: Option<Timestamp>,
    pub deadline_at: Timestamp,
    pub progress: JobProgress,
    pub updated_at: Timestamp,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobProgress {
    pub bytes_total: ByteCount,
    pub bytes_done: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
}

/// A lease about to be granted.
#[derive(Debug, Clone)]
pub struct JobGrant {
    /// With the epoch as it was read: the grant writes the next one.
    pub key: JobKey,
    pub worker: HostName,
    pub lease_until: Timestamp,
}

/// What `list_jobs` gives; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub saga_id: Option<SagaId>,
    pub worker: Option<HostName>,
    pub state: Option<JobState>,
    pub limit: Option<u32>,
}

statements! {
    INSERT_JOB = "INSERT INTO job (attempt, epoch, state, worker, needs_lease, routing_key, command_type, command_body, lease_until, deadline_at, bytes_total, bytes_done, bytes_read, bytes_stored, updated_at, saga_id, step, branch, direction, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    UPDATE_JOB = "UPDATE job SET attempt = ?, epoch = ?, state = ?, worker = ?, needs_lease = ?, routing_key = ?, command_type = ?, command_body = ?, lease_until = ?, deadline_at = ?, bytes_total = ?, bytes_done = ?, bytes_read = ?, bytes_stored = ?, updated_at = ? WHERE saga_id = ? AND step = ? AND branch = ? AND direction = ? AND id = ?";
    GET_JOB = "SELECT id, saga_id, step, branch, direction, attempt, epoch, state, worker, needs_lease, routing_key, command_type, command_body, lease_until, deadline_at, bytes_total, bytes_done, bytes_read, bytes_stored, updated_at FROM job WHERE id = ?";
    GET_JOB_OF_BRANCH = "SELECT id, saga_id, step, branch, direction, attempt, epoch, state, worker, needs_lease, routing_key, command_type, command_body, lease_until, deadline_at, bytes_total, bytes_done, bytes_read, bytes_stored, updated_at FROM job WHERE saga_id = ? AND step = ? AND branch = ? AND direction = ?";
    LIST_JOBS = "SELECT id, saga_id, step, branch, direction, attempt, epoch, state, worker, needs_lease, routing_key, command_type, command_body, lease_until, deadline_at, bytes_total, bytes_done, bytes_read, bytes_stored, updated_at FROM job WHERE (? IS NULL OR saga_id = ?) AND (? IS NULL OR worker = ?) AND (? IS NULL OR state = ?) ORDER BY saga_id, step, branch, direction LIMIT ?";
    LIST_ACCEPTED_CLOUD_JOBS = "SELECT id, saga_id, step, branch, direction, attempt, epoch, state, worker, needs_lease, routing_key, command_type, command_body, lease_until, deadline_at, bytes_total, bytes_done, bytes_read, bytes_stored, updated_at FROM job WHERE state IN ('accepted', 'running') AND routing_key LIKE 'cloud.%' ORDER BY updated_at, id";
    LIST_EXPIRED_JOB_LEASES = "SELECT id, saga_id, step, branch, direction, attempt, epoch, state, worker, needs_lease, routing_key, command_type, command_body, lease_until, deadline_at, bytes_total, bytes_done, bytes_read, bytes_stored, updated_at FROM job WHERE state = 'running' AND lease_until < ? ORDER BY lease_until, id";
    ACCEPT_JOB = "UPDATE job SET state = 'accepted', worker = ?, needs_lease = ?, updated_at = ? WHERE id = ? AND attempt = ? AND state = 'queued'";
    GRANT_JOB_LEASE = "UPDATE job SET state = 'running', worker = ?, needs_lease = 1, epoch = ?, lease_until = ?, updated_at = ? WHERE id = ? AND attempt = ? AND epoch = ? AND state <> 'done'";
    EXTEND_JOB_LEASE = "UPDATE job SET lease_until = ?, updated_at = ? WHERE id = ? AND attempt = ? AND epoch = ? AND worker = ? AND state = 'running'";
    UPDATE_JOB_PROGRESS = "UPDATE job SET bytes_total = ?, bytes_done = ?, bytes_read = ?, bytes_stored = ?, updated_at = ? WHERE id = ? AND attempt = ? AND epoch = ? AND state <> 'done'";
    FINISH_JOB = "UPDATE job SET state = 'done', lease_until = NULL, updated_at = ? WHERE id = ? AND attempt = ? AND state <> 'done'";
}

impl Tx {
    /// Writes the row of a branch: the first attempt inserts it, later ones replace it. `updated_at` becomes now.
    ///
    /// Errors: `Duplicate` when the branch has a job of another id.
    pub async fn upsert_job(&mut self, row: &JobRow) -> Result<()> {
        let now = self.now();
        let values = values![
            row.attempt,
            row.epoch,
            row.state,
            row.worker.as_ref(),
            row.needs_lease,
            &row.routing_key,
            &row.command_type,
            row.command_body.as_slice(),
            row.lease_until,
            row.deadline_at,
            row.progress.bytes_total,
            row.progress.bytes_done,
            row.progress.bytes_read,
            row.progress.bytes_stored,
            now,
            row.saga_id,
            row.step,
            row.branch,
            row.direction,
            row.id,
        ];
        if self.swap(&UPDATE_JOB, values.clone()).await? {
            return Ok(());
        }
        self.execute(&INSERT_JOB, values).await.map(drop)
    }

    pub async fn get_job(&mut self, id: JobId) -> Result<Option<JobRow>> {
        self.fetch_optional(&GET_JOB, values![id]).await?.map(|row| JobRow::read(&row)).transpose()
    }

    pub async fn get_job_of_branch(&mut self, key: BranchKey) -> Result<Option<JobRow>> {
        let values = values![key.saga_id, key.step, key.branch, key.direction];
        self.fetch_optional(&GET_JOB_OF_BRANCH, values).await?.map(|row| JobRow::read(&row)).transpose()
    }

    /// Shape: by saga, step, branch, direction.
    pub async fn list_jobs(&mut self, filter: &JobFilter) -> Result<Vec<JobRow>> {
        let (saga, worker, state) = (filter.saga_id, filter.worker.as_ref(), filter.state);
        let values = values![saga, saga, worker, worker, state, state, limit(filter.limit)];
        self.fetch_all(&LIST_JOBS, values).await?.iter().map(JobRow::read).collect()
    }

    pub async fn jobs_of_saga(&mut self, saga_id: SagaId) -> Result<Vec<JobRow>> {
        self.list_jobs(&JobFilter { saga_id: Some(saga_id), ..JobFilter::default() }).await
    }

    /// Cloud jobs that a cloud worker took and did not finish: what a starting controller runs again.
    pub async fn accepted_cloud_jobs(&mut self) -> Result<Vec<JobRow>> {
        self.fetch_all(&LIST_ACCEPTED_CLOUD_JOBS, values![]).await?.iter().map(JobRow::read).collect()
    }

    /// Running jobs whose lease ended before `now`. Shape: the longest ended first.
    pub async fn expired_job_leases(&mut self, now: Timestamp) -> Result<Vec<JobRow>> {
        self.fetch_all(&LIST_EXPIRED_JOB_LEASES, values![now]).await?.iter().map(JobRow::read).collect()
    }

    /// Marks a queued job as taken by `worker`; false when the attempt is old or the job was taken before.
    pub async fn accept_job(
        &mut self,
        id: JobId,
        attempt: u32,
        worker: Option<&HostName>,
        needs_lease: bool,
    ) -> Result<bool> {
        let now = self.now();
        self.swap(&ACCEPT_JOB, values![worker, needs_lease, now, id, attempt]).await
    }

    /// Grants the lease of an unfinished job to a worker; gives the new epoch, which makes all earlier leases void.
    ///
    /// Errors: `Conflict` when attempt or epoch are no longer those of `grant.key`, or the job is done.
    pub async fn grant_job_lease(&mut self, grant: &JobGrant) -> Result<u64> {
        let JobKey { job_id, attempt, epoch } = grant.key;
        let now = self.now();
        let values = values![&grant.worker, epoch + 1, grant.lease_until, now, job_id, attempt, epoch];
        match self.swap(&GRANT_JOB_LEASE, values).await? {
            true => Ok(epoch + 1),
            false => Err(Error::Conflict { what: format!("job {job_id}"), retryable: false }),
        }
    }

    /// Extends the leases of one worker's beat; gives those that are still its.
    pub async fn extend_job_leases(
        &mut self,
        worker: &HostName,
        keys: &[JobKey],
        lease_until: Timestamp,
    ) -> Result<Vec<JobKey>> {
        let now = self.now();
        let mut extended = Vec::with_capacity(keys.len());
        for key in keys {
            let values = values![lease_until, now, key.job_id, key.attempt, key.epoch, worker];
            if self.swap(&EXTEND_JOB_LEASE, values).await? {
                extended.push(*key);
            }
        }
        Ok(extended)
    }

    /// Writes how far it is; false when attempt or epoch are old or the job is done.
    pub async fn update_job_progress(&mut self, key: JobKey, progress: JobProgress) -> Result<bool> {
        let JobProgress { bytes_total, bytes_done, bytes_read, bytes_stored } = progress;
        let now = self.now();
        let values = values![
            bytes_total,
            bytes_done,
            bytes_read,
            bytes_stored,
            now,
            key.job_id,
            key.attempt,
            key.epoch
        ];
        self.swap(&UPDATE_JOB_PROGRESS, values).await
    }

    /// Marks the attempt as done; false when it is old or was done before, so its result is not to be taken.
    pub async fn finish_job(&mut self, id: JobId, attempt: u32) -> Result<bool> {
        let now = self.now();
        self.swap(&FINISH_JOB, values![now, id, attempt]).await
    }
}

impl JobProgress {
    /// The columns are the same in rows of jobs and in their sums.
    pub(crate) fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            bytes_total: row.bytes("bytes_total")?,
            bytes_done: row.bytes("bytes_done")?,
            bytes_read: row.bytes("bytes_read")?,
            bytes_stored: row.bytes("bytes_stored")?,
        })
    }
}

impl JobRow {
    /// Which branch it is of.
    #[must_use]
    pub const fn branch_key(&self) -> BranchKey {
        BranchKey { saga_id: self.saga_id, step: self.step, branch: self.branch, direction: self.direction }
    }

    /// Which attempt under which lease.
    #[must_use]
    pub const fn key(&self) -> JobKey {
        JobKey { job_id: self.id, attempt: self.attempt, epoch: self.epoch }
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            saga_id: row.parse("saga_id")?,
            step: row.number("step")?,
            branch: row.number("branch")?,
            direction: row.parse("direction")?,
            attempt: row.number("attempt")?,
            epoch: row.number("epoch")?,
            state: row.parse("state")?,
            worker: row.parse_opt("worker")?,
            needs_lease: row.flag("needs_lease")?,
            routing_key: row.text("routing_key")?,
            command_type: row.text("command_type")?,
            command_body: row.blob("command_body")?,
            lease_until: row.time_opt("lease_until")?,
            deadline_at: row.time("deadline_at")?,
            progress: JobProgress::read(row)?,
            updated_at: row.time("updated_at")?,
        })
    }
}
