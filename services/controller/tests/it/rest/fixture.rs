//! The REST API as users meet it: a real server on a free port, over a SQLite catalog and a cloud in a folder. No
//! datamover and no broker: what they would report is written into the catalog by the test. The tests of the command line
//! take this file too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backup_target::{BackupTarget as _, PosixTarget};
use bus::{BusConfig, Session};
use catalog::{Catalog, PartStatus, SnapshotDiskRow, SnapshotInstanceRow};
use controller::app::trusts::TrustBook;
use controller::engine::{Engine, Timing};
use controller::rest::{Authenticator, TokensFile, serve};
use controller::state::{AppState, TargetInfo};
use controller::status::{Board, BoardWriter};
use directory_cloud::{Builder, DirectoryCloud, NewDirectoryDisk, NewDirectoryInstance};
use model::{ByteCount, DiskFormat, InstanceId, Owner, SnapshotEvent, SnapshotId, WorkloadId};
use rest_api::{Client, Endpoint, NewSnapshot, NewWorkload, NewWorkloadInstance, Snapshot, Status, Workload};
use runtime::{Entropy, FaultTable, SystemClock};
use secrecy::SecretString;

pub(crate) const MEMBER: &str = "member-token-0123456789";
pub(crate) const READER: &str = "reader-token-0123456789";
pub(crate) const ADMIN: &str = "admin-token-0123456789";
/// An admin whose token is for another project.
pub(crate) const OPERATOR: &str = "operator-token-0123456789";
pub(crate) const STRANGER: &str = "stranger-token-0123456789";

const TOKENS: &str = r#"
[[token]]
token = "member-token-0123456789"
user = "alice"
project = "acme"
roles = ["member"]
[[token]]
token = "reader-token-0123456789"
user = "rita"
project = "acme"
roles = ["reader"]
[[token]]
token = "admin-token-0123456789"
user = "root"
project = "acme"
roles = ["admin"]
[[token]]
token = "operator-token-0123456789"
user = "olga"
project = "other"
roles = ["admin"]
[[token]]
token = "stranger-token-0123456789"
user = "mallory"
project = "other"
roles = ["member"]
"#;

/// A running API.
pub(crate) struct Service {
    pub(crate) client: Client,
    pub(crate) state: AppState,
    /// `http://127.0.0.1:<port>`
    pub(crate) url: String,
    /// `web-1`, `web-2`, `web-3` of project `acme`.
    pub(crate) instances: Vec<InstanceId>,
    pub(crate) dir: tempfile::TempDir,
    /// Where a status is written as if it had been gathered.
    pub(crate) board: BoardWriter,
}

impl Service {
    /// Starts everything; it ends with the test's runtime.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instances = make_cloud(&dir.path().join("cloud"));
        let tokens_path = dir.path().join("tokens.toml");
        write_secret(&tokens_path, TOKENS);
        let tokens = TokensFile::open(&tokens_path).unwrap();
        Self::open(dir, instances, |_| (Arc::new(tokens), None)).await
    }

    /// Starts everything behind another door.
    pub(crate) async fn start_behind(
        door: impl FnOnce(&Catalog) -> (Arc<dyn Authenticator>, Option<Arc<dyn TrustBook>>),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instances = make_cloud(&dir.path().join("cloud"));
        Self::open(dir, instances, door).await
    }

    async fn open(
        dir: tempfile::TempDir,
        instances: Vec<InstanceId>,
        door: impl FnOnce(&Catalog) -> (Arc<dyn Authenticator>, Option<Arc<dyn TrustBook>>),
    ) -> Self {
        let (board, status) = Board::new();
        let mut state = make_state(dir.path(), status).await;
        let (authenticator, trusts) = door(&state.catalog);
        state.trusts = trusts;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (server, address) = serve(state.clone(), authenticator, listen).unwrap();
        tokio::spawn(server);
        let url = format!("http://{address}");
        let client = make_client(&url, "acme", MEMBER);
        Self { client, state, url, instances, dir, board }
    }

    /// A client with another token.
    pub(crate) fn client_of(&self, project: &str, token: &str) -> Client {
        make_client(&self.url, project, token)
    }

    /// A workload of the first `count` instances.
    pub(crate) async fn make_workload(&self, name: &str, count: usize) -> Workload {
        self.client.create_workload(self.make_new(name, 0..count)).await.unwrap()
    }

    /// The request for a workload of some of the instances.
    pub(crate) fn make_new(&self, name: &str, range: std::ops::Range<usize>) -> NewWorkload {
        let instances = self.instances[range].iter().map(|id| NewWorkloadInstance(id.to_string())).collect();
        NewWorkload { name: Some(name.to_owned()), instances, ..NewWorkload::default() }
    }

    /// A snapshot that was taken: what datamovers would have reported is written down.
    pub(crate) async fn make_snapshot(&self, workload: WorkloadId, name: &str) -> Snapshot {
        let names = NewSnapshot { name: Some(name.to_owned()), description: None };
        let snapshot = self.client.create_snapshot(workload, true, names).await.unwrap();
        self.commit(snapshot.summary.id).await;
        self.client.show_snapshot(snapshot.summary.id).await.unwrap()
    }

    /// Ends a running snapshot well.
    pub(crate) async fn commit(&self, id: SnapshotId) {
        let acme = Owner { project_id: "acme".parse().unwrap(), user_id: "alice".parse().unwrap() };
        let mut tx = self.state.catalog.begin().await.unwrap();
        let mut row = tx.get_snapshot(id).await.unwrap().unwrap();
        for instance in tx.list_workload_instances(row.workload_id).await.unwrap() {
            let description = self.state.cloud.describe_instance(&acme, instance.instance_id).await.unwrap();
            let part = SnapshotInstanceRow {
                snapshot_id: id,
                instance_id: instance.instance_id,
                name: instance.name,
                status: PartStatus::Available,
                consistency: None,
                description_json: serde_json::to_string(&description).unwrap(),
                error_code: None,
                error_message: None,
            };
            tx.insert_snapshot_instance(&part).await.unwrap();
            for disk in description.disks {
                row.size_bytes = row.size_bytes + disk.size;
                let disk = SnapshotDiskRow {
                    snapshot_id: id,
                    instance_id: instance.instance_id,
                    disk_id: disk.id,
                    lineage_id: model::LineageId::from_uuid(Entropy.uuid()),
                    volume_id: disk.volume_id,
                    device: disk.device,
                    size_bytes: disk.size,
                    format: disk.format,
                    status: PartStatus::Available,
                    bytes_total: disk.size,
                    bytes_done: disk.size,
                    bytes_read: disk.size,
                    bytes_stored: ByteCount(4096),
                    duration: Duration::from_millis(10),
                    manifest_digest: None,
                    parent_snapshot_id: None,
                };
                tx.insert_snapshot_disk(&disk).await.unwrap();
            }
        }
        row.finished_at = Some(tx.now());
        tx.update_snapshot(&row).await.unwrap();
        for event in [SnapshotEvent::Upload, SnapshotEvent::Commit] {
            tx.apply_snapshot_event(id, event).await.unwrap();
        }
        tx.unlock_workload(row.workload_id, row.saga_id).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Ends a running snapshot badly.
    pub(crate) async fn fail(&self, id: SnapshotId, code: &str, message: &str) {
        let mut tx = self.state.catalog.begin().await.unwrap();
        let mut row = tx.get_snapshot(id).await.unwrap().unwrap();
        row.error_code = Some(code.to_owned());
        row.error_message = Some(message.to_owned());
        row.finished_at = Some(tx.now());
        tx.update_snapshot(&row).await.unwrap();
        tx.apply_snapshot_event(id, SnapshotEvent::Fail).await.unwrap();
        tx.unlock_workload(row.workload_id, row.saga_id).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Takes an instance out of the cloud, as its owner would.
    pub(crate) fn delete_instance(&self, name: &str) {
        std::fs::remove_dir_all(self.dir.path().join("cloud/instances").join(name)).unwrap();
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A status as a controller would have gathered it.
pub(crate) fn make_status() -> Status {
    let text = r#"{
        "gathered_at": "2026-01-31T23:59:59.500000", "controller": "node-1", "version": "1.2.3",
        "problems": ["the datamover on host-a has given no sign of life for 95 s"],
        "catalog": {"state": "ok", "reason": null}, "broker": {"state": "ok", "reason": null},
        "broker_management": {"state": "not_configured", "reason": "the controller's config has no [broker]"},
        "services": [{"service": "datamover", "host": "host-a", "state": "silent", "version": "1.2.2",
            "started_at": "2026-01-31T20:00:00.000000", "seen_at": "2026-01-31T23:58:24.000000", "silent_seconds": 95}],
        "hosts": [], "sagas": {"unfinished": [{"kind": "snapshot_create", "phase": "forward", "count": 3}],
            "ended_last_day": [], "stuck": []},
        "outbox": {"depth": 0, "oldest_seconds": null}, "queues": null, "dead_letters": null
    }"#;
    serde_json::from_str(text).unwrap()
}

fn make_client(url: &str, project: &str, token: &str) -> Client {
    let endpoint = Endpoint::parse(&format!("{url}/v1/{project}"), None).unwrap();
    Client::new(endpoint, &SecretString::from(token.to_owned())).unwrap()
}

fn make_cloud(path: &Path) -> Vec<InstanceId> {
    std::fs::create_dir(path).unwrap();
    let image = path.join("image.raw");
    std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let mut builder = Builder::new(path).hosts(["host-a"]).project("acme");
    let mut ids = Vec::new();
    for name in ["web-1", "web-2", "web-3"] {
        let disk = NewDirectoryDisk::new("vda", DiskFormat::Raw, &image);
        let instance = NewDirectoryInstance::new(name, "host-a").disk(disk);
        ids.push(instance.id);
        builder = builder.instance(instance);
    }
    builder.build().unwrap();
    ids
}

async fn make_state(dir: &Path, status: Board) -> AppState {
    let clock = SystemClock::shared();
    let url = format!("sqlite:{}", dir.join("catalog.sqlite").display());
    let catalog = Catalog::open(&url, Arc::clone(&clock)).await.unwrap();
    let timing = Timing {
        retry_base: Duration::from_secs(1),
        retry_cap: Duration::from_secs(60),
        lease_ttl: Duration::from_secs(90),
        step_deadline_max: Duration::from_secs(3600),
        saga_deadline_max: Duration::from_secs(72 * 3600),
        stuck_retry_base: Duration::from_secs(300),
        stuck_retry_cap: Duration::from_secs(86_400),
    };
    let path = dir.join("target");
    std::fs::create_dir(&path).unwrap();
    PosixTarget::init(&path, &Entropy).unwrap();
    let id = PosixTarget::open(&path).unwrap().id();
    let target = TargetInfo { id, name: "main".to_owned(), path };
    AppState {
        engine: Engine::new(catalog.clone(), timing),
        catalog,
        clock,
        entropy: Entropy,
        targets: [target].into(),
        cloud: Arc::new(DirectoryCloud::open(&dir.join("cloud"), FaultTable::none()).unwrap()),
        trusts: None,
        dead_letters: session_to_nobody().dead_letters(),
        status,
    }
}

/// A bus without a broker: port 1 answers nobody.
fn session_to_nobody() -> Session {
    let config = BusConfig {
        brokers: vec!["amqp://127.0.0.1:1".to_owned()],
        vhost: bus_config::VHOST.to_owned(),
        user: bus_config::user::CONTROLLER.to_owned(),
        password: SecretString::from("none"),
        connection_name: "test".to_owned(),
    };
    Session::start(config).unwrap()
}
