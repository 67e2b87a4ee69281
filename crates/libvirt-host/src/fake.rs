//! A host with one instance, whose libvirt is a script: for what a real one does not do when it is asked to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloud::{Base, CutRequest, Moment, SourceQuery};
use model::{ByteCount, InstanceId, SnapshotId};

use crate::cuts::Cuts;
use crate::record::Records;
use crate::scratch::Scratch;
use crate::virsh::Virsh;

const INSTANCE: &str = "89437e38-133b-4bcb-a223-9be6bbe797a2";
const DEADLINE: Duration = Duration::from_secs(30);

/// The host.
#[derive(Debug)]
pub(crate) struct FakeHost {
    dir: tempfile::TempDir,
    pub(crate) instance: InstanceId,
}

/// Another one for each number.
pub(crate) fn snapshot(number: u8) -> SnapshotId {
    format!("00000000-0000-4000-8000-0000000000{number:02x}").parse().unwrap()
}

impl FakeHost {
    /// Its instance runs.
    pub(crate) fn new() -> Self {
        let host = Self { dir: tempfile::tempdir().unwrap(), instance: INSTANCE.parse().unwrap() };
        for folder in ["virsh/checkpoints", "virsh/bitmaps", "scratch", &format!("instances/{INSTANCE}")] {
            std::fs::create_dir_all(host.path(folder)).unwrap();
        }
        host.set("state", "running (booted)\n");
        host.boot(1);
        host
    }

    /// The datamover's view of it: another one as after a restart.
    pub(crate) fn open(&self) -> Cuts {
        let scratch = Scratch {
            dir: self.path("scratch"),
            used_max: Some(ByteCount::mib(8)),
            room_min: Some(ByteCount::mib(4)),
        };
        let records = Records::open(&self.path("state")).unwrap();
        Cuts::new(self.virsh(), records, scratch, self.path("instances"))
    }

    /// The script.
    pub(crate) fn virsh(&self) -> Virsh {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fake/virsh.sh");
        Virsh::fake("sh", vec![script, self.path("virsh")])
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that the script reads.
    pub(crate) fn set(&self, name: &str, text: &str) {
        std::fs::write(self.path("virsh").join(name), text).unwrap();
    }

    pub(crate) fn unset(&self, name: &str) {
        std::fs::remove_file(self.path("virsh").join(name)).unwrap();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path("virsh").join(name).try_exists().unwrap()
    }

    /// libvirt knows its domain, in this run.
    pub(crate) fn boot(&self, run_id: u32) {
        self.boot_with(run_id, "disconnected");
    }

    /// The guest's agent is in this state.
    pub(crate) fn boot_with(&self, run_id: u32, agent: &str) {
        self.describe(&format!(" id='{run_id}'"), agent);
    }

    /// Its user stops it; a backup job dies with it.
    pub(crate) fn stop(&self) {
        self.set("state", "shut off (shutdown)\n");
        self.describe("", "disconnected");
        let _ = std::fs::remove_file(self.path("virsh/job"));
    }

    /// A real file, in which these bitmaps are.
    pub(crate) fn make_disk(&self, bitmaps: &[String]) {
        let (path, run) = (self.path("disk"), |arguments: &[&str]| {
            assert!(std::process::Command::new("qemu-img").args(arguments).status().unwrap().success());
        });
        let path = path.to_str().unwrap();
        run(&["create", "-q", "-f", "qcow2", path, "64M"]);
        bitmaps.iter().for_each(|name| run(&["bitmap", "-f", "qcow2", "--add", path, name]));
    }

    fn describe(&self, run: &str, agent: &str) {
        let mut xml = format!("<domain{run}><uuid>{INSTANCE}</uuid>");
        xml += "<metadata><nova:instance xmlns:nova='n'><nova:owner><nova:user uuid='alice'>a</nova:user>\
                <nova:project uuid='acme'>p</nova:project></nova:owner></nova:instance></metadata><devices>";
        write!(
            xml,
            "<disk type='file' device='disk'><driver type='qcow2'/><source file='{}'/><target dev='vda'/></disk>",
            self.path("disk").display()
        )
        .unwrap();
        write!(xml, "<channel><target name='org.qemu.guest_agent.0' state='{agent}'/></channel>").unwrap();
        self.set("domain.xml", &(xml + "</devices></domain>"));
    }

    pub(crate) fn request(&self, number: u8, base: Option<u8>) -> CutRequest {
        CutRequest {
            instance_id: self.instance,
            snapshot_id: snapshot(number),
            disks: vec!["vda".parse().unwrap()],
            base: base.map(snapshot),
        }
    }

    pub(crate) fn query(&self, number: u8, base: Option<u8>) -> SourceQuery {
        SourceQuery {
            instance_id: self.instance,
            disk_id: "vda".parse().unwrap(),
            snapshot_id: snapshot(number),
            moment: Moment::Cut,
            base: base.map(|base| Base { snapshot_id: snapshot(base), volume_snapshot_id: None }),
        }
    }

    /// The bitmaps in the disk's file, by the numbers of their snapshots.
    pub(crate) fn bitmaps(&self) -> Vec<u8> {
        let entries = std::fs::read_dir(self.path("virsh/bitmaps")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut numbers: Vec<_> =
            names.map(|name| u8::from_str_radix(&name[name.len() - 2..], 16).unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Leaves no room for old blocks of this cut.
    pub(crate) fn fill_scratch(&self, number: u8) {
        let blocks = self.path("scratch").join(snapshot(number).to_string()).join("vda");
        std::fs::write(blocks, vec![1; 7 << 20]).unwrap();
    }

    /// Makes a snapshot that is committed.
    pub(crate) async fn commit(&self, cuts: &Cuts, number: u8, base: Option<u8>) {
        assert_eq!(cuts.cut(&self.request(number, base)).await.unwrap(), Moment::Cut);
        cuts.end_cut(self.instance, snapshot(number), true).await.unwrap();
    }
}

/// Waits for a state.
pub(crate) async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
