//! `doctor` as its user meets it; what the service finds is tested there.

use serde_json::Value;

use crate::command::{Ran, run};
use crate::fixture::{MEMBER, Service};

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
    assert_eq!((offline.exit, code(&checks(&offline), "backup target main")), (1, "TARGET_OFFLINE"));
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
