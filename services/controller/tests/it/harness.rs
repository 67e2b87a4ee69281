//! A controller's engine over a real SQLite file, with workers of the test's own: it reads the outbox as the relay does,
//! and gives the answers that a `World` makes, in the order and number that a test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{
    Catalog, OutboxRow, RestoreKind, RestoreRow, SagaRow, SnapshotRow, WorkloadInstanceRow, WorkloadRow,
};
use controller::engine::{
    Accepted, ClearingOrder, Decision, Engine, JobResult, Outcome, RestoreInstance, RestoreNew, RestoreOrder,
    SnapshotCreate, SnapshotOrder, Timing, Verdict, Worker, WorkloadDelete, WorkloadReset,
};
use controller::sagas::remote::Command;
use model::{
    ByteCount, Failure, HostName, InstanceId, JobId, KeepBase, RestoreId, RestoreState, SagaId, SnapshotId,
    SnapshotKind, SnapshotState, TargetId, Timestamp, UserId, WorkloadId, WorkloadState, WorkloadType,
};
use prost::{Message as _, Name as _};
use proto::cmd::v1 as cmd;
use proto::evt::v1::Fact;
use runtime::{Clock, Entropy, ManualClock};
use saga::OperatorVerb;

use crate::world::{World, make_instance, make_uuid};

pub(crate) const LEASE_TTL: Duration = Duration::from_secs(90);

/// An engine with its database and its world.
pub(crate) struct Harness {
    pub(crate) catalog: Catalog,
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) world: World,
    instance_count: u128,
    /// Key and body of every fact that was taken out of the outbox.
    facts: Mutex<Vec<(String, Fact)>>,
    _dir: tempfile::TempDir,
}

/// A command on its way.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) row: OutboxRow,
    pub(crate) job_id: JobId,
    pub(crate) attempt: u32,
    pub(crate) command: Command,
}

pub(crate) fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

pub(crate) fn user() -> UserId {
    "alice".parse().unwrap()
}

pub(crate) fn decide(verb: OperatorVerb) -> Decision {
    Decision { verb, by: "root".parse().unwrap(), reason: "it was looked at".to_owned() }
}

pub(crate) fn workload_id() -> WorkloadId {
    WorkloadId::from_uuid(make_uuid(1))
}

fn target_id() -> TargetId {
    TargetId::from_uuid(make_uuid(3))
}

fn instance_ids(count: u128) -> Vec<InstanceId> {
    (0..count).map(|number| InstanceId::from_uuid(make_uuid(10 + number))).collect()
}

impl Harness {
    /// The same; its snapshots leave out what fails.
    pub(crate) async fn start_partial(world: World) -> Self {
        Self::start_with(2, WorkloadType::Parallel, true, world).await
    }

    /// A workload of two instances with two disks each.
    pub(crate) async fn start() -> Self {
        Self::start_with(2, WorkloadType::Parallel, false, World::with_agents()).await
    }

    /// A workload of so many.
    pub(crate) async fn start_with(
        instance_count: u128,
        workload_type: WorkloadType,
        allow_partial: bool,
        world: World,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::starting_at(Timestamp(1_000_000_000));
        let url = format!("sqlite:{}", dir.path().join("catalog.sqlite").display());
        let catalog = Catalog::open(&url, Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
        let timing = Timing {
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(60),
            lease_ttl: LEASE_TTL,
            step_deadline_max: Duration::from_secs(3600),
            saga_deadline_max: Duration::from_secs(72 * 3600),
            stuck_retry_base: Duration::from_secs(300),
            stuck_retry_cap: Duration::from_secs(86_400),
        };
        let engine = Engine::new(catalog.clone(), timing);
        let facts = Mutex::default();
        let harness = Self { catalog, engine, clock, world, instance_count, facts, _dir: dir };
        harness.insert_workload(workload_type, allow_partial).await;
        harness
    }

    async fn insert_workload(&self, workload_type: WorkloadType, allow_partial: bool) {
        let mut tx = self.catalog.begin().await.unwrap();
        tx.insert_workload(&WorkloadRow {
            id: workload_id(),
            project_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            name: "web".to_owned(),
            description: String::new(),
            status: WorkloadState::Available,
            saga_id: None,
            target_id: target_id(),
            created_at: tx.now(),
            updated_at: tx.now(),
            error_message: None,
            keep_base: KeepBase::Auto,
            allow_partial,
            workload_type,
        })
        .await
        .unwrap();
        for (position, id) in (0..).zip(instance_ids(self.instance_count)) {
            let name = make_instance(id, 2).name;
            let row = WorkloadInstanceRow { instance_id: id, workload_id: workload_id(), name, position };
            tx.insert_workload_instance(&row).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Starts a snapshot as the app does.
    pub(crate) async fn start_snapshot(&self) -> (SagaId, SnapshotId) {
        let (saga_id, id) = (self.engine.new_saga_id(), SnapshotId::from_uuid(Entropy.uuid()));
        let mut tx = self.catalog.begin().await.unwrap();
        tx.insert_snapshot(&SnapshotRow {
            id,
            workload_id: workload_id(),
            project_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            name: "first".to_owned(),
            description: String::new(),
            kind: SnapshotKind::Incremental,
            status: SnapshotState::Creating,
            saga_id,
            parent_snapshot_id: None,
            consistency: None,
            pins: 0,
            size_bytes: ByteCount(0),
            bytes_read: ByteCount(0),
            bytes_stored: ByteCount(0),
            progress_message: String::new(),
            error_code: None,
            error_message: None,
            warning_message: None,
            created_at: tx.now(),
            updated_at: tx.now(),
            finished_at: None,
        })
        .await
        .unwrap();
        tx.lock_workload(workload_id(), saga_id).await.unwrap();
        let order = SnapshotOrder {
            project_id: "acme".parse().unwrap(),
            workload_id: workload_id(),
            snapshot_id: id,
            target_id: target_id(),
            kind: SnapshotKind::Incremental,
            instance_ids: instance_ids(self.instance_count),
        };
        self.engine.start::<SnapshotCreate>(&mut tx, saga_id, &order).await.unwrap();
        tx.commit().await.unwrap();
        (saga_id, id)
    }

    /// Starts a reset or a deletion of the workload, as the app does.
    pub(crate) async fn start_clearing(&self, is_deletion: bool) -> SagaId {
        let saga_id = self.engine.new_saga_id();
        let project_id = "acme".parse().unwrap();
        let order = ClearingOrder { project_id, workload_id: workload_id(), database_only: false };
        let mut tx = self.catalog.begin().await.unwrap();
        tx.lock_workload(workload_id(), saga_id).await.unwrap();
        if is_deletion {
            self.engine.start::<WorkloadDelete>(&mut tx, saga_id, &order).await.unwrap();
        } else {
            self.engine.start::<WorkloadReset>(&mut tx, saga_id, &order).await.unwrap();
        }
        tx.commit().await.unwrap();
        saga_id
    }

    /// Starts a restore of a whole snapshot under new names.
    pub(crate) async fn start_restore(&self, snapshot_id: SnapshotId) -> (SagaId, RestoreId) {
        let (saga_id, id) = (self.engine.new_saga_id(), RestoreId::from_uuid(Entropy.uuid()));
        let mut tx = self.catalog.begin().await.unwrap();
        tx.insert_restore(&RestoreRow {
            id,
            snapshot_id,
            workload_id: workload_id(),
            project_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            name: "back".to_owned(),
            description: String::new(),
            kind: RestoreKind::Selective,
            status: RestoreState::Restoring,
            saga_id,
            options_json: "{}".to_owned(),
            size_bytes: ByteCount(0),
            progress_message: String::new(),
            error_code: None,
            error_message: None,
            created_at: tx.now(),
            updated_at: tx.now(),
            finished_at: None,
        })
        .await
        .unwrap();
        let named = |instance_id| RestoreInstance { instance_id, new_name: format!("new-{instance_id}") };
        let order = RestoreOrder {
            project_id: "acme".parse().unwrap(),
            workload_id: workload_id(),
            snapshot_id,
            restore_id: id,
            target_id: target_id(),
            one_click: false,
            instances: instance_ids(self.instance_count).into_iter().map(named).collect(),
        };
        self.engine.start::<RestoreNew>(&mut tx, saga_id, &order).await.unwrap();
        tx.commit().await.unwrap();
        (saga_id, id)
    }

    /// Takes all messages out of the outbox, as the relay does after their confirms; gives all but the facts.
    pub(crate) async fn drain_outbox(&self) -> Vec<OutboxRow> {
        let mut tx = self.catalog.begin().await.unwrap();
        let rows = tx.oldest_outbox(500).await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        tx.delete_outbox(&ids).await.unwrap();
        tx.commit().await.unwrap();
        let (facts, others): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.exchange == bus_config::exchange::EVT);
        let told =
            facts.iter().map(|row| (row.routing_key.clone(), Fact::decode(row.body.as_slice()).unwrap()));
        self.facts.lock().unwrap().extend(told);
        others
    }

    /// Key and body of every fact so far.
    pub(crate) fn facts(&self) -> Vec<(String, Fact)> {
        self.facts.lock().unwrap().clone()
    }

    /// Takes all messages out of the outbox; gives the commands among them.
    pub(crate) async fn sent(&self) -> Vec<Sent> {
        self.drain_outbox().await.into_iter().filter_map(Sent::read).collect()
    }

    /// Accepts a command as a worker would, and ends it with `outcome`.
    pub(crate) async fn end(&self, sent: &Sent, outcome: Outcome) -> Verdict {
        let worker = if sent.is_cloud() { Worker::Cloud } else { Worker::Mover(host("host-a")) };
        self.accept(sent).await;
        self.end_as(sent, worker, outcome).await
    }

    pub(crate) async fn end_as(&self, sent: &Sent, worker: Worker, outcome: Outcome) -> Verdict {
        let changes_false = matches!(
            &outcome,
            Outcome::Succeeded(controller::sagas::answer::Answer::DiskTransferred(transferred)) if transferred.changes_false
        );
        let (job_id, attempt) = (sent.job_id, sent.attempt);
        let result = JobResult { worker, job_id, attempt, outcome, changes_false };
        self.engine.job_ended(&result).await.unwrap()
    }

    pub(crate) async fn accept(&self, sent: &Sent) -> Verdict {
        self.accept_at(sent, "host-a").await
    }

    pub(crate) async fn accept_at(&self, sent: &Sent, name: &str) -> Verdict {
        if sent.is_cloud() {
            let job = self.engine.cloud_job_accepted(sent.job_id, sent.attempt).await.unwrap();
            return if job.is_some() { Verdict::Taken } else { Verdict::Stale };
        }
        let needs_lease = sent.command.needs_lease();
        let accepted = Accepted { host: host(name), job_id: sent.job_id, attempt: sent.attempt, needs_lease };
        self.engine.job_accepted(&accepted).await.unwrap()
    }

    /// Does a command in the world and tells so.
    pub(crate) async fn succeed(&mut self, sent: &Sent) -> Verdict {
        if let Some(failure) = self.world.loss(&sent.command) {
            return self.fail(sent, failure).await;
        }
        let answer = self.world.carry_out(&sent.command);
        if let Some(failure) = self.world.breakage(&sent.command) {
            return self.fail(sent, failure).await;
        }
        self.end(sent, Outcome::Succeeded(answer)).await
    }

    pub(crate) async fn fail(&self, sent: &Sent, failure: Failure) -> Verdict {
        self.end(sent, Outcome::Failed { failure, effect_free: false }).await
    }

    /// Plays all that comes, with retries, until nothing comes any more. `judge` may fail a command.
    pub(crate) async fn play(&mut self, mut judge: impl FnMut(&Sent) -> Option<Failure>) {
        for _ in 0..500 {
            let sent = self.sent().await;
            for sent in &sent {
                match judge(sent) {
                    Some(failure) => self.fail(sent, failure).await,
                    None => self.succeed(sent).await,
                };
            }
            if sent.is_empty() && !self.let_retries_come().await {
                return;
            }
        }
        panic!("the saga does not come to an end");
    }

    /// Lets a minute pass; whether a timer was due.
    pub(crate) async fn let_retries_come(&self) -> bool {
        self.clock.advance(Duration::from_secs(61));
        let due = self.catalog.read().await.unwrap().due_timers(self.clock.now(), 500).await.unwrap();
        for timer in &due {
            self.engine.timer_due(*timer).await.unwrap();
        }
        !due.is_empty()
    }

    pub(crate) async fn saga(&self, id: SagaId) -> SagaRow {
        self.catalog.read().await.unwrap().get_saga(id).await.unwrap().unwrap()
    }

    pub(crate) async fn snapshot(&self, id: SnapshotId) -> SnapshotRow {
        self.catalog.read().await.unwrap().get_snapshot(id).await.unwrap().unwrap()
    }

    /// Nothing is held any more: no lock, lease, pin or job.
    pub(crate) async fn assert_nothing_held(&self) {
        let held = self.catalog.read().await.unwrap().ledger_of_held().await.unwrap();
        assert!(held.values().all(|count| *count == 0), "{held:?}");
    }
}

impl Sent {
    fn read(row: OutboxRow) -> Option<Self> {
        let header = |name: &str| row.headers.get(name).cloned();
        let job_id = header(bus::header::JOB)?.parse().unwrap();
        let attempt = header(bus::header::ATTEMPT)?.parse().unwrap();
        let command = decode(&row.type_name, &row.body);
        Some(Self { row, job_id, attempt, command })
    }

    pub(crate) fn is_cloud(&self) -> bool {
        self.row.routing_key.starts_with("cloud.")
    }

    pub(crate) fn verb(&self) -> &str {
        bus_config::key::verb_of(&self.row.routing_key)
    }
}

/// Plays until commands of `verb` are on their way; gives them, unanswered.
pub(crate) async fn play_until(harness: &mut Harness, verb: &str) -> Vec<Sent> {
    for _ in 0..100 {
        let sent = harness.sent().await;
        assert!(!sent.is_empty(), "no {verb} came");
        if sent[0].verb() == verb {
            return sent;
        }
        for sent in &sent {
            harness.succeed(sent).await;
        }
    }
    panic!("no {verb} came");
}

macro_rules! decode {
    ($type_name:expr, $body:expr, $($name:ident)*) => {
        match $type_name {
            $(name if name == cmd::$name::full_name() => cmd::$name::decode($body).unwrap().into(),)*
            other => panic!("{other} is no command"),
        }
    };
}

pub(crate) fn decode(type_name: &str, body: &[u8]) -> Command {
    decode!(type_name, body, DescribeInstance CreateVolumeSnapshot DeleteVolumeSnapshots CreateVolume DeleteVolume
        AttachVolume DetachVolumes DescribeConnector CreateInstance DeleteInstance CheckRestorePlan CheckQuotas RevokeTrust ListTagged WriteRecords RemoveRecords
        DropChanges FreezeGuest ThawGuest CutDisks EndCut TransferDisk
        PurgeTransfer VerifyManifest WriteDisk AbortWrite ListLeftovers RemoveLeftover)
}
