//! `doctor` as a whole; each check of its own is tested beside it.

use std::path::PathBuf;

use serde_json::Value;

use crate::command::{Ran, run};
use crate::fixture::{MEMBER, Service, write_secret};

/// The code of a check; empty when it is well.
#[track_caller]
fn code<'a>(checks: &'a Value, name: &str) -> &'a str {
    let found = checks.as_array().unwrap().iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no check {name:?} in {checks}"))["code"].as_str().unwrap()
}

fn checks(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

async fn doctor(endpoint: String, token: &'static str) -> Ran {
    tokio::task::spawn_blocking(move || {
        run(&[("HOLDFAST_ENDPOINT", &endpoint), ("HOLDFAST_TOKEN", token)], &["doctor", "-f", "json"])
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_checked_from_its_config_to_the_targets() {
    let service = Service::start().await;
    let endpoint = format!("{}/v1/acme", service.url);
    let well = doctor(endpoint.clone(), MEMBER).await;
    assert_eq!(well.exit, 0, "{well:?}");
    for name in ["client config", "service", "token"] {
        assert_eq!(code(&checks(&well), name), "");
    }
    let unknown = doctor(endpoint.clone(), "a-token-nobody-has").await;
    assert_eq!((unknown.exit, code(&checks(&unknown), "token")), (1, "TOKEN_REFUSED"));
    std::fs::remove_file(service.dir.path().join("target/repo.json")).unwrap();
    let offline = doctor(endpoint, MEMBER).await;
    assert_eq!((offline.exit, code(&checks(&offline), "target main")), (1, "TARGET_OFFLINE"));
    assert_eq!(code(&checks(&offline), "service"), "SERVICE_DEGRADED");
    assert!(offline.stderr.contains("checks failed"), "{}", offline.stderr);
}

#[test]
fn a_client_without_config_or_service_is_told_so() {
    let without = run(&[], &["doctor", "-f", "json"]);
    assert_eq!((without.exit, code(&checks(&without), "client config")), (1, "CLIENT_CONFIG_INVALID"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}/v1/acme");
    let away =
        run(&[("HOLDFAST_ENDPOINT", &endpoint), ("HOLDFAST_TOKEN", MEMBER)], &["doctor", "-f", "json"]);
    assert_eq!((away.exit, code(&checks(&away), "service")), (1, "SERVICE_NOT_REACHABLE"));
}

/// A machine with everything but a broker.
fn make_machine(dir: &std::path::Path) -> (PathBuf, PathBuf) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for folder in ["cloud", "target", "state"] {
        std::fs::create_dir(dir.join(folder)).unwrap();
    }
    let key = dir.join("master.key");
    let target = dir.join("target");
    let init = ["target", "init", target.to_str().unwrap(), "--key-file", key.to_str().unwrap()];
    assert_eq!(run(&[], &init).exit, 0);
    write_secret(&dir.join("tokens.toml"), "");
    write_secret(&dir.join("password"), "secret\n");
    let root = dir.display();
    let shared = format!(
        "[bus]\nbrokers = [\"amqp://127.0.0.1:{port}\"]\nuser = \"u\"\npassword_file = \"{root}/password\"\n\
         [cloud]\nkind = \"directory\"\npath = \"{root}/cloud\"\n[[target]]\nname = \"main\"\npath = \"{root}/target\"\n"
    );
    let (controller, datamover) = (dir.join("controller.toml"), dir.join("datamover.toml"));
    let own = format!(
        "[database]\nurl = \"sqlite:{root}/state/c.sqlite\"\n[auth]\ntokens_file = \"{root}/tokens.toml\"\n"
    );
    std::fs::write(&controller, format!("{shared}{own}")).unwrap();
    let own = format!(
        "host = \"host-a\"\nstate_dir = \"{root}/state\"\nqemu_nbd = \"true\"\nkey_file = \"{root}/master.key\"\n"
    );
    std::fs::write(&datamover, format!("{own}{shared}")).unwrap();
    (controller, datamover)
}

#[test]
fn services_are_checked_by_their_config_files() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, datamover) = make_machine(dir.path());
    let target = format!("target {}", dir.path().join("target").display());
    let arguments = [
        "doctor",
        "-f",
        "json",
        "--controller-config",
        controller.to_str().unwrap(),
        "--datamover-config",
        datamover.to_str().unwrap(),
    ];
    let ran = run(&[], &arguments);
    assert_eq!(ran.exit, 1, "there is no broker: {ran:?}");
    let all = checks(&ran);
    assert_eq!(code(&all, "broker"), "BUS_UNREACHABLE");
    for name in [
        "controller config",
        "tokens file",
        "database folder",
        "datamover config",
        "qemu-nbd",
        "key file",
        "state folder",
    ] {
        assert_eq!(code(&all, name), "", "{name}");
    }
    assert!(!matches!(code(&all, &target), "TARGET_NOT_INITIALIZED" | "TARGET_FULL"));
    std::fs::write(&controller, "[bus\npassword = \"hunter2\"").unwrap();
    let broken = run(&[], &["doctor", "-f", "json", "--controller-config", controller.to_str().unwrap()]);
    assert_eq!(code(&checks(&broken), "config"), "CONFIG_INVALID");
    assert!(!broken.stdout.contains("hunter2"), "{}", broken.stdout);
}
