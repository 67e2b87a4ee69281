//! Who asks and where the service is, by a cloud's own login.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::command::{Ran, run};
use crate::fixture::{MEMBER, Service};

/// A Keystone that knows one password, and gives the token of a member of project acme.
fn start_keystone(workloads: &str) -> String {
    start_keystone_with(&[MEMBER], workloads)
}

/// One that gives these tokens in turn; each but the last ends at once.
fn start_keystone_with(tokens: &'static [&'static str], workloads: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let endpoint = json!({ "interface": "public", "region_id": "here", "region": "here", "url": workloads });
    let token = move |is_last: bool| {
        json!({ "token": {
            "user": { "id": "u1", "name": "alice" }, "project": { "id": "acme", "name": "Acme" },
            "issued_at": "2026-11-27T20:00:00.000000Z", "expires_at": if is_last { "2026-11-27T21:00:00.000000Z" } else { "2026-11-27T20:00:00.000000Z" },
            "catalog": [{ "type": "workloads", "name": "holdfast", "endpoints": [endpoint] }],
        }})
    };
    std::thread::spawn(move || {
        let mut left = tokens;
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(text) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = text.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let is_right = body["auth"]["identity"]["password"]["user"]["password"] == "right";
            let (status, text) = match is_right {
                true => {
                    let given = left[0];
                    let is_last = left.len() == 1;
                    left = if is_last { left } else { &left[1..] };
                    (format!("201 Created\r\nX-Subject-Token: {given}"), token(is_last).to_string())
                }
                false => {
                    ("401 Unauthorized".to_owned(), json!({ "error": { "message": "who?" } }).to_string())
                }
            };
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
            stream.get_mut().write_all((head + &text).as_bytes()).unwrap();
        }
    });
    url
}

async fn run_with(variables: Vec<(&'static str, String)>, arguments: &'static [&'static str]) -> Ran {
    let run = move || {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        run(&variables, arguments)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn variables(keystone: &str, password: &str) -> Vec<(&'static str, String)> {
    [
        ("OS_AUTH_URL", keystone),
        ("OS_USERNAME", "alice"),
        ("OS_PASSWORD", password),
        ("OS_PROJECT_NAME", "Acme"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shells_login_is_enough_and_the_catalog_says_where_the_service_is() {
    let service = Service::start().await;
    service.make_workload("web", 1).await;
    let keystone = start_keystone(&format!("{}/v1/acme", service.url));
    let listed = run_with(variables(&keystone, "right"), &["workload", "list", "-f", "json"]).await.json();
    assert_eq!(listed[0]["name"], "web");
    // What is given is not asked for.
    let mut given = variables(&keystone, "wrong");
    given.push(("HOLDFAST_TOKEN", MEMBER.to_owned()));
    given.push(("HOLDFAST_ENDPOINT", format!("{}/v1/acme", service.url)));
    assert_eq!(run_with(given, &["workload", "list"]).await.exit, 0);
    let mut endpoint = variables(&keystone, "right");
    endpoint.push(("HOLDFAST_ENDPOINT", service.url.clone()));
    assert_eq!(run_with(endpoint, &["workload", "list"]).await.exit, 0, "the project is the token's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_of_clouds_yaml_is_logged_in_to_by_its_name() {
    let service = Service::start().await;
    let keystone = start_keystone(&service.url);
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("clouds.yaml");
    let text = format!(
        "clouds:\n  acme:\n    auth:\n      auth_url: {keystone}/v3\n      username: alice\n      project_name: Acme\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::write(dir.path().join("secure.yaml"), "clouds: {acme: {auth: {password: right}}}\n").unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let variables =
        vec![("OS_CLIENT_CONFIG_FILE", file("clouds.yaml")), ("OS_CLIENT_SECURE_FILE", file("secure.yaml"))];
    let listed = run_with(variables.clone(), &["--os-cloud", "acme", "workload", "list"]).await;
    assert_eq!(listed.exit, 0, "{listed:?}");
    run_with(variables.clone(), &["--os-cloud", "emca", "workload", "list"])
        .await
        .check_refused(2, "has no cloud \"emca\"; it has: acme");
    run_with(variables, &["--os-cloud", "acme", "--project", "other", "workload", "list"])
        .await
        .check_refused(2, "project other was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_says_who_and_a_catalog_without_the_service_what_to_do() {
    let keystone = start_keystone("http://127.0.0.1:1");
    let ran = run_with(variables(&keystone, "wrong"), &["workload", "list"]).await;
    ran.check_refused(5, "user alice of domain default for project Acme of domain default");
    assert!(ran.stderr.contains("[OPENSTACK_LOGIN_REFUSED]"), "{ran:?}");
    let mut elsewhere = variables(&keystone, "right");
    elsewhere.push(("OS_REGION_NAME", "there".to_owned()));
    run_with(elsewhere, &["workload", "list"]).await.check_refused(5, "holdfast-controller register");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_while_somebody_waits_is_renewed() {
    let service = Service::start().await;
    let keystone = start_keystone_with(&["ended", "ended-too", MEMBER], &service.url);
    let listed = run_with(variables(&keystone, "right"), &["workload", "list"]).await;
    assert_eq!(listed.exit, 0, "{listed:?}");
}
