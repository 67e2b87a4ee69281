//! The helper with the real os-brick of Debian. Whatever needs a device takes a loop device, which only root may.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

const SIZE: u64 = 3 << 20;

fn helper() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/datamover/brick/holdfast-brick")
}

fn settings(command: Vec<String>) -> BrickSettings {
    BrickSettings {
        command,
        host: "compute-1".parse().unwrap(),
        root_helper: None,
        my_ip: Some("192.0.2.7".to_owned()),
        lock_path: Some("/tmp".to_owned()),
        multipath: false,
    }
}

fn make(command: Vec<String>) -> BrickConnector {
    BrickConnector::new(Some(settings(command)))
}

fn connector() -> BrickConnector {
    make(vec![helper().display().to_string()])
}

fn connection(value: &Value) -> Connection {
    Connection::from_json(value.to_string())
}

/// A loop device over a file of its own.
struct Loop {
    path: String,
    _file: tempfile::NamedTempFile,
}

impl Loop {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        let made =
            Command::new("/usr/sbin/losetup").args(["--find", "--show"]).arg(file.path()).output().unwrap();
        assert!(made.status.success(), "only root may have a loop device: {made:?}");
        Self { path: String::from_utf8(made.stdout).unwrap().trim().to_owned(), _file: file }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/losetup").arg("--detach").arg(&self.path).status();
    }
}

/// What one run printed, when it is called as sudo would call it.
fn run_by_sudo(verb: &str, input: &str) -> (String, String) {
    let mut child = Command::new(helper())
        .args([verb, "--host", "compute-1", "--lock-path", "/tmp"])
        .env("SUDO_UID", "1000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_device_of_this_host_is_connected_and_disconnected_by_the_real_os_brick() {
    let device = Loop::new();
    // As Cinder's attachments have it: flat.
    let connection = connection(&json!({"driver_volume_type": "local", "device_path": device.path}));
    let read = |location: &DiskLocation, size| {
        assert_eq!((location, size), (&DiskLocation::Device(device.path.clone().into()), ByteCount(SIZE)));
    };
    cloud::conformance::check_connector(&connector(), &connection, read).await;
}

#[tokio::test]
async fn the_host_presents_itself_by_its_name_and_address() {
    let properties: Value = serde_json::from_str(&connector().properties().await.unwrap()).unwrap();
    assert_eq!((&properties["host"], &properties["ip"]), (&json!("compute-1"), &json!("192.0.2.7")));
    assert_eq!(properties["multipath"], json!(false));
}

#[tokio::test]
async fn a_storage_that_does_not_answer_fails_without_its_password() {
    let connection = connection(&json!({"driver_volume_type": "iscsi", "data": {
        "target_portal": "127.0.0.1:1", "target_iqn": "iqn.2010-10.org.example:hunter2", "target_lun": 1,
        "auth_method": "CHAP", "auth_username": "holdfast", "auth_password": "hunter2",
    }}));
    let failure = connector().connect(&connection).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.class), ("CONNECTION_FAILED", ErrorClass::Transient));
    assert!(!failure.message.contains("hunter2"), "{failure}");
}

#[tokio::test]
async fn what_is_no_block_device_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let connection = connection(&json!({"driver_volume_type": "local", "device_path": file.path()}));
    let failure = connector().connect(&connection).await.unwrap_err();
    assert_eq!(failure.code, "CONNECTION_REFUSED");
    assert!(failure.message.contains("is no block device"), "{failure}");
}

#[test]
fn by_sudo_no_device_is_opened_by_its_mere_name() {
    for kind in ["local", "LOCAL", "Gpfs", "scaleio"] {
        let input = json!({"connection_info": {"driver_volume_type": kind, "device_path": "/dev/loop0"}});
        let (answer, error) = run_by_sudo("connect", &input.to_string());
        let complaint: Complaint = serde_json::from_str(&error).unwrap();
        assert_eq!((answer.as_str(), complaint.reason.as_str()), ("", "REFUSED"), "{kind}");
    }
}

#[tokio::test]
async fn locks_that_root_made_are_the_accounts_of_nova_compute() {
    use std::os::unix::fs::MetadataExt as _;
    const NOVA: u32 = 64_060;
    let locks = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(locks.path(), Some(NOVA), Some(NOVA)).unwrap();
    let device = Loop::new();
    let connection = connection(&json!({"driver_volume_type": "local", "device_path": device.path}));
    let mut settings = settings(vec![helper().display().to_string()]);
    settings.lock_path = Some(locks.path().display().to_string());
    BrickConnector::new(Some(settings)).connect(&connection).await.unwrap();
    let entries: Vec<_> = std::fs::read_dir(locks.path()).unwrap().map(Result::unwrap).collect();
    assert!(!entries.is_empty(), "the lock of each volume is there");
    for entry in entries {
        let metadata = entry.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (NOVA, NOVA), "{entry:?}");
    }
}

#[test]
fn what_sudo_says_before_the_helper_hides_nothing() {
    let said =
        "sudo: unable to resolve host vm\n{\"reason\": \"NOT_INSTALLED\", \"message\": \"install it\"}";
    let refused = Error::ToolRefused { command: "holdfast-brick connect".to_owned(), said: said.to_owned() };
    assert_eq!(describe("connect", &refused).code, "CONNECTOR_OFF");
}

#[test]
fn what_is_no_connection_is_refused_without_being_repeated() {
    for input in
        ["", "hunter2", "[]", "{\"connection_info\": {\"driver_volume_type\": 7, \"auth\": \"hunter2\"}}"]
    {
        let (_, error) = run_by_sudo("connect", input);
        let complaint: Complaint = serde_json::from_str(&error).unwrap();
        assert_eq!(complaint.reason, "INVALID");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn without_its_settings_or_its_program_the_host_says_what_to_install() {
    let off = BrickConnector::new(None).properties().await.unwrap_err();
    assert_eq!(off.code, "CONNECTOR_OFF");
    let missing = make(vec!["/nonexistent/holdfast-brick".to_owned()]).properties().await.unwrap_err();
    assert_eq!(missing.code, "HOST_TOOL_MISSING");
}
