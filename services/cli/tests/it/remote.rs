//! Commands that speak to the API.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Ran, run};
use crate::fixture::{ADMIN, MEMBER, READER, STRANGER, Service, write_secret};

/// Runs a command as a member; the server works on meanwhile.
async fn holdfast(service: &Service, arguments: &[&str]) -> Ran {
    holdfast_as(service, MEMBER, arguments).await
}

async fn holdfast_as(service: &Service, token: &str, arguments: &[&str]) -> Ran {
    let endpoint = format!("{}/v1/acme", service.url);
    let (token, arguments) =
        (token.to_owned(), arguments.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&[("HOLDFAST_ENDPOINT", &endpoint), ("HOLDFAST_TOKEN", &token)], &arguments)
    })
    .await
    .unwrap()
}

/// Polls until there is something.
async fn wait_for<T, F: Future<Output = Option<T>>>(poll: impl Fn() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = poll().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_created_listed_and_shown_by_name() {
    let service = Service::start().await;
    let id = service.instances[0].to_string();
    let created =
        holdfast(&service, &["workload", "create", "web", "--instance", &id, "-f", "json"]).await.json();
    assert_eq!(created["status"], "available");
    assert_eq!(created["instances"][0]["id"], id.as_str());
    let listed = holdfast(&service, &["-f", "json", "workload", "list"]).await.json();
    assert_eq!(listed[0]["id"], created["id"]);
    let status = holdfast(&service, &["workload", "show", "web", "-f", "value", "-c", "status"]).await;
    assert_eq!((status.exit, status.stdout.as_str()), (0, "available\n"));
    let table = holdfast(&service, &["workload", "show", "web"]).await;
    assert!(table.stdout.contains("web-1") && table.stdout.contains('│'), "{}", table.stdout);
    let columns = holdfast(&service, &["workload", "list", "-c", "colour"]).await;
    columns.check_refused(2, "there is no column \"colour\"; there are: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_waited_for_with_a_line_per_change() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 2).await.summary.id;
    let arguments = ["snapshot", "create", "web", "--name", "nightly", "--wait", "-f", "json"];
    let finish = async {
        let id = wait_for(|| async {
            let rows = service.client.list_snapshots(Some(workload)).await.unwrap();
            rows.first().map(|row| row.id)
        })
        .await;
        service.commit(id).await;
    };
    let (ran, ()) = tokio::join!(holdfast(&service, &arguments), finish);
    let snapshot = ran.json();
    assert_eq!(
        (&snapshot["name"], &snapshot["status"]),
        (&Value::from("nightly"), &Value::from("available"))
    );
    assert!(ran.stderr.contains("this one is full"), "{}", ran.stderr);
    assert!(ran.stderr.contains("is available"), "{}", ran.stderr);
    assert!(ran.stderr.contains("disk web-1/vda is available, 100 %"), "{}", ran.stderr);
    let size = holdfast(&service, &["snapshot", "list", "-f", "value", "-c", "name", "-c", "size"]).await;
    assert_eq!(size.stdout, format!("nightly {}\n", 2 << 20));
    let table = holdfast(&service, &["snapshot", "show", "nightly"]).await;
    assert!(table.stdout.contains("2.00 MiB") && table.stdout.contains("web-2"), "{}", table.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_fails_while_waited_for_gives_exit_code_1() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let fail = async {
        let id = wait_for(|| async {
            let rows = service.client.list_snapshots(Some(workload)).await.unwrap();
            rows.first().map(|row| row.id)
        })
        .await;
        service.fail(id, "TARGET_FULL", "the backup target main is full").await;
    };
    let (ran, ()) = tokio::join!(holdfast(&service, &["snapshot", "create", "web", "--wait"]), fail);
    assert_eq!(ran.exit, 1, "{ran:?}");
    let last = ran.stderr.lines().last().unwrap();
    assert!(last.contains("failed: the backup target main is full [TARGET_FULL]"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_has_its_exit_code_and_one_clear_line() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let running =
        service.client.create_snapshot(workload, true, rest_api::NewSnapshot::default()).await.unwrap();
    let id = running.summary.id.to_string();
    let locked = holdfast(&service, &["snapshot", "create", "web"]).await;
    locked.check_refused(4, &id);
    assert!(
        locked.stderr.contains("[WORKLOAD_LOCKED]") && locked.stderr.lines().count() == 1,
        "{}",
        locked.stderr
    );
    holdfast(&service, &["workload", "show", "nobody"])
        .await
        .check_refused(3, "No workload with a name or ID of 'nobody' exists.");
    holdfast(&service, &["restore", "show", "x"])
        .await
        .check_refused(3, "No restore with a name or ID of 'x'");
    let missing = runtime::Entropy.uuid().to_string();
    holdfast(&service, &["snapshot", "show", &missing]).await.check_refused(3, &missing);
    holdfast(&service, &["workload", "create", "w", "--instance", &missing]).await.check_refused(3, &missing);
    holdfast(&service, &["restore", "oneclick", &id]).await.check_refused(4, "SNAPSHOT_NOT_AVAILABLE");
    holdfast_as(&service, READER, &["snapshot", "cancel", &id])
        .await
        .check_refused(4, "Policy doesn't allow");
    holdfast_as(&service, STRANGER, &["workload", "list"]).await.check_refused(4, "PROJECT_MISMATCH");
    holdfast_as(&service, "a-token-nobody-has", &["workload", "list"])
        .await
        .check_refused(5, "HOLDFAST_TOKEN");
    let cancelled = holdfast(&service, &["snapshot", "cancel", &id, "-f", "json"]).await.json();
    assert_eq!(cancelled["id"], id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_take_names_and_old_files() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 2).await.summary.id;
    service.make_snapshot(workload, "nightly").await;
    holdfast(&service, &["restore", "oneclick", "nightly"]).await.check_refused(4, "still exists");
    let arguments = ["restore", "selective", "nightly", "--instance", "web-1=copy", "-f", "json"];
    let restore = holdfast(&service, &arguments).await.json();
    assert_eq!(restore["instances"][0]["name"], "copy");
    assert_eq!(restore["instances"].as_array().unwrap().len(), 1);
    holdfast(&service, &["restore", "selective", "nightly", "--instance", "web-9"])
        .await
        .check_refused(3, "'web-9'");
    let file = service.dir.path().join("restore.json");
    let id = service.instances[1];
    std::fs::write(
        &file,
        format!("{{'restore_type': 'selective', 'name': 'old', 'openstack': {{'instances': [{{'id': '{id}', 'include': True, 'name': 'b'}}]}}}}"),
    )
    .unwrap();
    let arguments = ["restore", "selective", "nightly", "--filename", file.to_str().unwrap(), "-f", "json"];
    let restore = holdfast(&service, &arguments).await.json();
    assert_eq!(
        (&restore["name"], &restore["instances"][0]["name"]),
        (&Value::from("old"), &Value::from("b"))
    );
    let listed = holdfast(&service, &["restore", "list", "--snapshot", "nightly", "-f", "json"]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let saga = restore["saga_id"].as_str().unwrap();
    let shown = holdfast(&service, &["saga", "show", saga, "-f", "json"]).await.json();
    assert_eq!(shown["object_id"], restore["id"]);
    let id = restore["id"].as_str().unwrap();
    assert_eq!(holdfast(&service, &["restore", "cancel", id]).await.exit, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_drawn_cancelled_and_settled_with_a_reason_only() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let running =
        service.client.create_snapshot(workload, true, rest_api::NewSnapshot::default()).await.unwrap();
    let saga = running.summary.saga_id.to_string();
    let picture = holdfast(&service, &["saga", "graph", "restore_new"]).await;
    assert!(picture.exit == 0 && picture.stdout.starts_with("flowchart TB\n"), "{picture:?}");
    for arguments in
        [&["saga", "graph", &saga, "--as", "dot"][..], &["saga", "show", &saga, "--graph", "dot"]]
    {
        let live = holdfast(&service, arguments).await;
        assert!(live.stdout.contains("describe_instances\\nrunning"), "{live:?}");
    }
    holdfast(&service, &["saga", "graph", "nothing"])
        .await
        .check_refused(3, "leftover_sweep, restore_new, snapshot_create");
    for verb in ["retry", "skip", "abandon"] {
        assert_eq!(holdfast_as(&service, ADMIN, &["saga", verb, &saga]).await.exit, 2, "without a reason");
        let blank = ["saga", verb, &saga, "--reason", " "];
        holdfast_as(&service, ADMIN, &blank).await.check_refused(2, "REASON_INVALID");
        let given = ["saga", verb, &saga, "--reason", "because"];
        holdfast_as(&service, ADMIN, &given).await.check_refused(4, "SAGA_NOT_STUCK");
        holdfast(&service, &given).await.check_refused(4, "Policy doesn't allow saga:saga_operate");
    }
    let cancelled = holdfast(&service, &["saga", "cancel", &saga, "-f", "json"]).await.json();
    assert_eq!(
        (&cancelled["phase"], &cancelled["decisions"][0]["by"]),
        (&"compensated".into(), &"alice".into())
    );
    let shown = holdfast(&service, &["saga", "show", &saga]).await;
    assert!(shown.stdout.contains("cancel") && shown.stdout.contains("alice"), "{}", shown.stdout);
    let listed = holdfast(&service, &["saga", "list", "--phase", "stuck", "-f", "json"]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_snapshots_have_is_not_taken() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    for _ in 0..2 {
        service.make_snapshot(workload, "nightly").await;
    }
    holdfast(&service, &["snapshot", "show", "nightly"]).await.check_refused(2, "2 snapshots have the name");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_and_token_come_from_options_files_or_openstacks_variables() {
    let service = Service::start().await;
    let file = service.dir.path().join("token");
    write_secret(&file, &format!("{MEMBER}\n"));
    let (url, file) = (service.url.clone(), file.to_str().unwrap().to_owned());
    tokio::task::spawn_blocking(move || {
        let by_options = [
            "--endpoint",
            &url,
            "--project",
            "acme",
            "--token-file",
            &file,
            "workload",
            "list",
            "-f",
            "json",
        ];
        run(&[], &by_options).json();
        let openstack = [("OS_ENDPOINT", url.as_str()), ("OS_PROJECT_ID", "acme"), ("OS_TOKEN", MEMBER)];
        run(&openstack, &["workload", "list", "-f", "json"]).json();
        run(&[], &["workload", "list"]).check_refused(2, "HOLDFAST_ENDPOINT");
        run(&[("HOLDFAST_ENDPOINT", &url)], &["workload", "list"]).check_refused(2, "no project");
        run(&[("HOLDFAST_ENDPOINT", "nowhere")], &["--project", "acme", "workload", "list"])
            .check_refused(2, "nowhere");
        let endpoint = format!("{url}/v1/acme");
        run(&[("HOLDFAST_ENDPOINT", &endpoint)], &["workload", "list"]).check_refused(2, "HOLDFAST_TOKEN");
    })
    .await
    .unwrap();
}

#[test]
fn a_service_that_is_not_there_gives_exit_code_5() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}/v1/acme");
    let ran = run(&[("HOLDFAST_ENDPOINT", &endpoint), ("HOLDFAST_TOKEN", MEMBER)], &["workload", "list"]);
    ran.check_refused(5, "cannot be reached");
}
