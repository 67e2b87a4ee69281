//! Turns a step's remote request into rows: the job, its command in the outbox, its deadline. And takes jobs back.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::header;
use bus_config::{exchange, key};
use catalog::{BranchKey, JobRow, JobState, OutboxRow, ServiceKind, ServiceRow, TimerKind, TimerRow, Tx};
use model::{HostName, MessageId, SagaId, Timestamp};
use prost::{Message, Name};
use proto::cmd::v1 as cmd;
use proto::common::v1::{JobHeader, Placement};
use proto::convert::PlacedAt;
use runtime::Entropy;

use super::{Error, direction_of};
use crate::sagas::job_id;
use crate::sagas::remote::{Remote, Route};

/// Commands that every datamover knows, also one that announces nothing. The others go only to hosts that announce them.
const KNOWN_TO_ALL: [&str; 9] = [
    "freeze_guest",
    "thaw_guest",
    "cut_disks",
    "end_cut",
    "transfer_disk",
    "purge_transfer",
    "verify_manifest",
    "write_disk",
    "abort_write",
];

/// Writes what goes out.
pub(super) struct Dispatch<'a> {
    pub(super) tx: &'a mut Tx,
    pub(super) entropy: Entropy,
    pub(super) lease_ttl: Duration,
}

/// An attempt of a piece of work.
pub(super) struct Order<'a> {
    pub(super) branch: BranchKey,
    pub(super) attempt: u32,
    /// Of the action, also for its compensation.
    pub(super) step_name: &'a str,
    pub(super) remote: &'a Remote,
    pub(super) deadline_at: Timestamp,
}

/// A control message to the datamover of a host.
pub(super) struct Control<'a, M> {
    pub(super) host: &'a HostName,
    pub(super) verb: &'a str,
    pub(super) saga_id: Option<SagaId>,
    pub(super) message: M,
}

impl Dispatch<'_> {
    /// Sends an attempt of a piece of work.
    pub(super) async fn send(&mut self, order: Order<'_>) -> Result<(), Error> {
        let Order { branch, attempt, step_name, remote, deadline_at } = order;
        let before = self.tx.get_job_of_branch(branch).await?;
        let id = job_id(branch.saga_id, step_name, branch.branch, direction_of(branch.direction));
        let epoch = before.as_ref().map_or(0, |job| job.epoch);
        let placement = self.place(attempt, &remote.route).await?;
        let job_header = JobHeader {
            job_id: id.to_string(),
            saga_id: branch.saga_id.to_string(),
            attempt,
            epoch,
            deadline_at: deadline_at.0,
        };
        let mut told = placement.as_ref().map(Placement::from);
        if let Some(told) = &mut told {
            told.hosts_too_old = self.hosts_without(remote.command.verb()).await?;
        }
        let encoded = remote.command.encode(job_header, told);
        let routing_key = match placement {
            Some(_) => key::dmapi(encoded.verb),
            None => key::cloud(encoded.verb),
        };
        self.tx
            .upsert_job(&JobRow {
                id,
                saga_id: branch.saga_id,
                step: branch.step,
                branch: branch.branch,
                direction: branch.direction,
                attempt,
                epoch,
                state: JobState::Queued,
                worker: None,
                needs_lease: remote.command.needs_lease(),
                routing_key: routing_key.clone(),
                command_type: encoded.type_name.clone(),
                command_body: encoded.body.clone(),
                lease_until: None,
                deadline_at,
                // A worker resumes: until it tells, what was done counts.
                progress: before.map(|job| job.progress).unwrap_or_default(),
                updated_at: self.tx.now(),
            })
            .await?;
        self.put(OutboxRow {
            routing_key,
            type_name: encoded.type_name,
            headers: BTreeMap::from([
                (header::JOB.to_owned(), id.to_string()),
                (header::ATTEMPT.to_owned(), attempt.to_string()),
                (header::EPOCH.to_owned(), epoch.to_string()),
                (header::DEADLINE.to_owned(), deadline_at.0.to_string()),
            ]),
            body: encoded.body,
            ..self.message(Some(branch.saga_id))
        })
        .await?;
        self.set_deadline(branch, attempt, deadline_at).await
    }

    /// Gives up whatever runs for a branch: its results count no more, and its worker is told.
    pub(super) async fn abort(&mut self, branch: BranchKey) -> Result<(), Error> {
        self.tx.delete_timers_of_branch(branch).await?;
        let Some(job) = self.tx.get_job_of_branch(branch).await? else { return Ok(()) };
        self.tx.finish_job(job.id, job.attempt).await?;
        if let Some(host) = &job.worker {
            let message = cmd::AbortJob { job_id: job.id.to_string(), attempt: job.attempt };
            let saga_id = Some(job.saga_id);
            self.control(Control { host, verb: "abort_job", saga_id, message }).await?;
        }
        Ok(())
    }

    /// Sends a control message through the outbox.
    pub(super) async fn control<M: Message + Name>(&mut self, control: Control<'_, M>) -> Result<(), Error> {
        self.put(OutboxRow {
            routing_key: key::mover_host_ctl(control.host, control.verb),
            type_name: M::full_name(),
            body: control.message.encode_to_vec(),
            ..self.message(control.saga_id)
        })
        .await
    }

    /// Where a command goes; `None`: to a cloud worker.
    async fn place(&mut self, attempt: u32, route: &Route) -> Result<Option<PlacedAt>, Error> {
        match route {
            Route::Cloud => Ok(None),
            Route::Placed(at) => Ok(Some(at.clone())),
            Route::WhereItRan { job, otherwise } => {
                let job = self.tx.get_job(*job).await?;
                let Some(JobRow { worker: Some(host), updated_at: ended_at, .. }) = job else {
                    return Ok(Some(otherwise.clone()));
                };
                // The host may be gone for good. Once a whole lease passed since the action was given up, nobody writes
                // there any more, and others may clean up; both are tried in turn, since the host may come back.
                let is_fenced = self.tx.now().since(ended_at) > self.lease_ttl;
                let try_others = is_fenced && attempt.is_multiple_of(2);
                Ok(Some(if try_others { otherwise.clone() } else { PlacedAt::Host(host) }))
            }
        }
    }

    /// The hosts whose datamovers said what they can do, and not this.
    async fn hosts_without(&mut self, verb: &str) -> Result<Vec<String>, Error> {
        if KNOWN_TO_ALL.contains(&verb) {
            return Ok(Vec::new());
        }
        let services = self.tx.list_services().await?.into_iter();
        let lacks = |service: &ServiceRow| service.kind == ServiceKind::Datamover && !service.can(verb);
        Ok(services.filter(lacks).map(|service| service.host.to_string()).collect())
    }

    async fn set_deadline(
        &mut self,
        branch: BranchKey,
        attempt: u32,
        due_at: Timestamp,
    ) -> Result<(), Error> {
        let BranchKey { saga_id, step, branch: index, direction } = branch;
        let kind = TimerKind::Deadline;
        self.tx.delete_timers_of_branch(branch).await?;
        self.tx
            .upsert_timer(&TimerRow { saga_id, step, branch: index, direction, attempt, kind, due_at })
            .await?;
        Ok(())
    }

    /// A command without its content.
    fn message(&self, saga_id: Option<SagaId>) -> OutboxRow {
        OutboxRow {
            id: self.entropy.uuid(),
            saga_id,
            message_id: MessageId::from_uuid(self.entropy.uuid()),
            exchange: exchange::CMD.to_owned(),
            routing_key: String::new(),
            type_name: String::new(),
            headers: BTreeMap::new(),
            body: Vec::new(),
            created_at: self.tx.now(),
            attempts: 0,
        }
    }

    async fn put(&mut self, row: OutboxRow) -> Result<(), Error> {
        Ok(self.tx.insert_outbox(&row).await?)
    }
}
