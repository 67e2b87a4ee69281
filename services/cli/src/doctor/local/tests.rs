use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::*;

fn make_file(dir: &tempfile::TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[track_caller]
fn check_code(check: &Check, code: &str) {
    assert_eq!(check.code, code, "{check:?}");
}

#[test]
fn a_secret_that_is_missing_or_exposed_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    check_code(&check_secret_file("tokens file", TOKENS_FILE, &make_file(&dir, "good", "x", 0o600)), "");
    let exposed = make_file(&dir, "exposed", "x", 0o644);
    check_code(&check_secret_file("tokens file", TOKENS_FILE, &exposed), "TOKENS_FILE_EXPOSED");
    let missing = dir.path().join("missing");
    check_code(&check_secret_file("tokens file", TOKENS_FILE, &missing), "TOKENS_FILE_UNREADABLE");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_and_one_that_cannot_be_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut bus = Bus {
        brokers: vec![format!("amqp://127.0.0.1:{free_port}")],
        vhost: "holdfast".to_owned(),
        user: "u".to_owned(),
        password_file: make_file(&dir, "password", "secret", 0o600),
    };
    check_code(&check_broker(&bus).await[1], "BUS_UNREACHABLE");
    bus.brokers = vec!["http://x".to_owned()];
    check_code(&check_broker(&bus).await[1], "BUS_CONFIG_INVALID");
    bus.password_file = dir.path().join("missing");
    check_code(&check_broker(&bus).await[0], "PASSWORD_FILE_UNREADABLE");
}

#[tokio::test]
async fn a_database_that_cannot_be_used_says_which_way() {
    let dir = tempfile::tempdir().unwrap();
    let file = make_file(&dir, "file", "", 0o600);
    check_code(&check_database(&format!("sqlite:{}/new/catalog.sqlite", dir.path().display())).await, "");
    check_code(
        &check_database(&format!("sqlite:{}/x.sqlite", file.display())).await,
        "DATABASE_FOLDER_UNUSABLE",
    );
    check_code(&check_database("postgres://x/y").await, "DATABASE_URL_INVALID");
    let free_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    check_code(
        &check_database(&format!("mysql://u:p@127.0.0.1:{free_port}/h")).await,
        "DATABASE_UNREACHABLE",
    );
}

#[tokio::test]
async fn a_program_that_is_missing_or_broken_is_found() {
    check_code(&check_qemu_nbd(Path::new("/nonexistent/qemu-nbd")).await, "QEMU_NBD_MISSING");
    check_code(&check_qemu_nbd(Path::new("false")).await, "QEMU_NBD_MISSING");
    check_code(&check_qemu_nbd(Path::new("true")).await, "");
}

#[test]
fn a_folder_that_is_missing_is_found() {
    let dir = tempfile::tempdir().unwrap();
    check_code(&check_folder("cloud", "CLOUD_FOLDER_UNUSABLE", dir.path()), "");
    let missing = dir.path().join("missing");
    check_code(&check_folder("cloud", "CLOUD_FOLDER_UNUSABLE", &missing), "CLOUD_FOLDER_UNUSABLE");
}

#[test]
fn a_key_file_that_is_missing_exposed_or_broken_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    FileKeys::create(&path, &runtime::Entropy).unwrap();
    check_code(&check_key_file(&path), "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = check_key_file(&path);
    let missing = check_key_file(&dir.path().join("missing"));
    let broken = check_key_file(&make_file(&dir, "broken", "x", 0o600));
    for check in [&exposed, &missing, &broken] {
        assert!(check.code.starts_with("KEY_"), "{check:?}");
    }
    assert_ne!(exposed.code, broken.code);
}

#[tokio::test]
async fn a_target_that_was_never_initialised_is_found() {
    let dir = tempfile::tempdir().unwrap();
    check_code(&check_target(dir.path()).await, "TARGET_NOT_INITIALIZED");
    PosixTarget::init(dir.path(), &runtime::Entropy).unwrap();
    let check = check_target(dir.path()).await;
    assert!(matches!(check.code.as_str(), "" | "TARGET_NEARLY_FULL"), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_another_password_is_told_apart_from_one_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let broker = sandbox::Broker::shared().await.unwrap();
    let role = bus_config::Role::Dmapi;
    let password = broker.create_user(&role).await.unwrap();
    let good = make_file(&dir, "good", password.expose_secret(), 0o600);
    let mut bus = Bus {
        brokers: vec![broker.amqp_url()],
        vhost: "holdfast".to_owned(),
        user: role.user(),
        password_file: good,
    };
    check_code(&check_broker(&bus).await[1], "");
    bus.password_file = make_file(&dir, "wrong", "not-the-password", 0o600);
    check_code(&check_broker(&bus).await[1], "BUS_REFUSED");
}
