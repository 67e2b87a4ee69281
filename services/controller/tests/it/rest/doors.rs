//! What every request passes: token, project, role, body, and the shapes of refusals; and health and targets.

use reqwest::{Method, Response, StatusCode};
use rest_api::{ErrorBody, ErrorDetail, NewSnapshot, REQUEST_ID_HEADER};
use serde_json::{Value, json};

use super::check_refused;
use super::fixture::{ADMIN, MEMBER, READER, STRANGER, Service};

/// Sends by hand what the client would not.
async fn send(service: &Service, method: Method, path: &str, token: Option<&str>, body: &str) -> Response {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", service.url));
    if let Some(token) = token {
        request = request.header("X-Auth-Token", token);
    }
    request.body(body.to_owned()).send().await.unwrap()
}

async fn refusal(response: Response) -> (StatusCode, String, ErrorDetail) {
    let status = response.status();
    assert!(response.headers()[REQUEST_ID_HEADER].to_str().unwrap().starts_with("req-"));
    let body: ErrorBody = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    (status, body.kind().unwrap().to_owned(), body.detail().unwrap().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_valid_token_of_the_project_gets_in() {
    let service = Service::start().await;
    for token in [None, Some("member-token-012345678"), Some("")] {
        let (status, kind, detail) =
            refusal(send(&service, Method::GET, "/v1/acme/workloads", token, "").await).await;
        assert_eq!((status.as_u16(), kind.as_str()), (401, "unauthorized"));
        assert_eq!(detail.error_code, "TOKEN_REFUSED");
    }
    let outcome = service.client_of("other", MEMBER).list_workloads().await;
    check_refused(outcome, 403, "PROJECT_MISMATCH", "acme");
    check_refused(
        service.client_of("acme", STRANGER).list_workloads().await,
        403,
        "PROJECT_MISMATCH",
        "other",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_and_writes_nothing() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let reader = service.client_of("acme", READER);
    assert_eq!(reader.list_workloads().await.unwrap().len(), 1);
    let outcome = reader.create_snapshot(workload, true, NewSnapshot::default()).await;
    check_refused(
        outcome,
        403,
        "FORBIDDEN",
        "Policy doesn't allow workload:workload_snapshot to be performed.",
    );
    assert!(service.client.list_snapshots(None).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_names_the_place_and_a_large_one_is_cut_off() {
    let service = Service::start().await;
    for (body, names) in [
        ("{\"workload\": {\"name\": }}", "line 1 column"),
        ("{}", "missing field `workload`"),
        ("{\"workload\": {\"instances\": 5}}", "line 1 column"),
    ] {
        let (status, kind, detail) =
            refusal(send(&service, Method::POST, "/v1/acme/workloads", Some(MEMBER), body).await).await;
        assert_eq!((status.as_u16(), kind.as_str()), (400, "badRequest"));
        assert!(detail.message.contains(names), "{}", detail.message);
    }
    let large = "x".repeat((1 << 20) + 1);
    let (status, kind, detail) =
        refusal(send(&service, Method::POST, "/v1/acme/workloads", Some(MEMBER), &large).await).await;
    assert_eq!((status.as_u16(), kind.as_str()), (413, "overLimit"));
    assert_eq!(detail.error_code, "REQUEST_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_methods_and_ids_are_refused_in_the_apis_own_form() {
    let service = Service::start().await;
    for (method, path, status, code) in [
        (Method::GET, "/v1/acme/nothing", 404, "PATH_NOT_FOUND"),
        (Method::GET, "/", 404, "PATH_NOT_FOUND"),
        (Method::PUT, "/v1/acme/workloads", 405, "METHOD_NOT_ALLOWED"),
        (Method::GET, "/v1/acme/workloads/web", 404, "WORKLOAD_NOT_FOUND"),
        (Method::GET, "/v1/acme/snapshots/%2e%2e%2fx", 404, "SNAPSHOT_NOT_FOUND"),
        (Method::GET, "/v1/acme/restores/0", 404, "RESTORE_NOT_FOUND"),
        (Method::GET, "/v1/acme/sagas/0", 404, "SAGA_NOT_FOUND"),
        (Method::GET, "/v1/acme/snapshots?workload_id=x", 400, "ID_INVALID"),
    ] {
        let (got, _, detail) = refusal(send(&service, method, path, Some(MEMBER), "").await).await;
        assert_eq!((got.as_u16(), detail.error_code.as_str()), (status, code), "{path}: {}", detail.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_clients_forms_are_taken() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    // A body that says full, and a query that does not: the query decides, and here there is no parent to build on.
    let body = json!({"snapshot": {"name": "s", "description": "", "full": "True", "is_scheduled": false}})
        .to_string();
    let path = format!("/v1/acme/workloads/{workload}?full=1");
    let response = send(&service, Method::POST, &path, Some(MEMBER), &body).await;
    assert_eq!(response.status(), 200);
    let reply: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let id = reply["snapshot"]["id"].as_str().unwrap().to_owned();
    assert_eq!(reply["snapshot"]["warning_msg"], Value::Null);
    for path in [
        "/v1/acme/workloads/".to_owned(),
        "/v1/acme/workloads/detail".to_owned(),
        "/v1/acme/snapshots?all=True&host=x".to_owned(),
        format!("/v1/acme/workloads/{workload}/snapshots/{id}"),
        // T4O cancels by GET.
        format!("/v1/acme/snapshots/{id}/cancel"),
    ] {
        let response = send(&service, Method::GET, &path, Some(MEMBER), "").await;
        assert_eq!(response.status(), 200, "{path}");
    }
    let path = format!("/v1/acme/workloads/{workload}?full=perhaps");
    let (status, _, detail) = refusal(send(&service, Method::POST, &path, Some(MEMBER), "").await).await;
    assert_eq!((status.as_u16(), detail.error_code.as_str()), (400, "QUERY_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_gone_is_seen_by_all_and_its_path_by_admins_only() {
    let service = Service::start().await;
    let health = service.client.health().await.unwrap();
    assert_eq!((health.status.as_str(), health.problems.len()), ("ok", 0));
    let targets = service.client.list_targets().await.unwrap();
    assert_eq!((targets[0].name.as_str(), targets[0].status.as_str()), ("main", "available"));
    assert!(targets[0].capacity.unwrap() >= targets[0].available.unwrap());
    assert_eq!(targets[0].path, None);
    let admin = service.client_of("acme", ADMIN);
    assert!(admin.list_targets().await.unwrap()[0].path.is_some());

    std::fs::remove_file(service.dir.path().join("target/repo.json")).unwrap();
    let targets = service.client.list_targets().await.unwrap();
    assert_eq!(targets[0].status, "offline");
    assert!(targets[0].error_msg.as_ref().unwrap().contains("mounted"));
    let health = service.client.health().await.unwrap();
    assert!(health.status == "degraded" && health.problems[0].contains("main"));
}
