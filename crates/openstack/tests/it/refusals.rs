use model::ErrorClass;
use openstack::Service;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply};

async fn refused(reply: Reply) -> openstack::Error {
    let fake = Fake::start(move |_| reply.clone()).await;
    fake.session().get(Service::Network, "/ports?name=a").json::<Value>().await.unwrap_err()
}

#[track_caller]
fn check(error: &openstack::Error, code: &str, class: ErrorClass, words: &str) {
    let failure = error.failure();
    assert_eq!((failure.code.as_str(), failure.class), (code, class), "{failure}");
    assert!(failure.message.contains(words), "{failure}");
    assert!(failure.message.contains("/net/v2.0/ports?name=a"), "the request is named: {failure}");
}

#[tokio::test]
async fn each_service_is_quoted_out_of_its_own_envelope() {
    let permanent = ErrorClass::Permanent;
    let nova = json!({ "itemNotFound": { "code": 404, "message": "Instance x could not be found." } });
    check(
        &refused(Reply::Json(404, nova)).await,
        "OPENSTACK_NOT_FOUND",
        permanent,
        "Instance x could not be found.",
    );
    let keystone =
        json!({ "error": { "code": 403, "title": "Forbidden", "message": "You are not authorized" } });
    check(
        &refused(Reply::Json(403, keystone)).await,
        "OPENSTACK_FORBIDDEN",
        permanent,
        "You are not authorized",
    );
    let neutron =
        json!({ "NeutronError": { "type": "PortInUse", "message": "Port is in use.", "detail": "" } });
    check(
        &refused(Reply::Json(409, neutron)).await,
        "OPENSTACK_CONFLICT",
        ErrorClass::Contention,
        "Port is in use.",
    );
    let placement =
        json!({ "errors": [{ "status": 400, "title": "Bad Request", "detail": "JSON does not validate" }] });
    check(
        &refused(Reply::Json(400, placement)).await,
        "OPENSTACK_REFUSED",
        permanent,
        "JSON does not validate",
    );
    let glance = "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  No image found with ID x<br /><br />\n </body>\n</html>";
    let error = refused(Reply::Text(404, Vec::new(), glance.to_owned())).await;
    check(&error, "OPENSTACK_NOT_FOUND", permanent, "404: 404 Not Found No image found with ID x (");
    assert!(!error.answered().unwrap().is_api);
}

#[tokio::test]
async fn quotas_are_told_from_rights_and_from_other_conflicts() {
    for (status, message) in [
        (403, "Quota exceeded for ram: Requested 256, but already used 0 of 0 ram"),
        (
            413,
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota.",
        ),
        (409, "Quota exceeded for resources: ['port']."),
    ] {
        let reply = Reply::Text(
            status,
            vec![("Retry-After", "0".to_owned())],
            json!({ "e": { "message": message } }).to_string(),
        );
        check(&refused(reply).await, "OPENSTACK_QUOTA_EXCEEDED", ErrorClass::Permanent, message);
    }
    let policy = "Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.";
    let reply = Reply::Json(403, json!({ "forbidden": { "message": policy } }));
    check(&refused(reply).await, "OPENSTACK_FORBIDDEN", ErrorClass::Permanent, policy);
}

#[tokio::test]
async fn the_services_own_request_id_is_in_the_error_and_ours_where_it_has_none() {
    let error = refused(Reply::Json(400, json!({}))).await;
    assert!(error.to_string().contains("(request req-of-service)"), "{error}");
    let error = refused(Reply::Text(400, Vec::new(), String::new())).await;
    assert!(error.to_string().contains("without a word (request req-0"), "{error}");
}

#[tokio::test]
async fn a_page_of_a_proxy_is_quoted_without_its_tags_and_never_whole() {
    let page = format!(
        "<html><title>x</title><body><h1>Bad  Gateway</h1>{}</body></html>",
        "very long ".repeat(10_000)
    );
    let error = refused(Reply::Text(400, Vec::new(), page)).await.to_string();
    assert!(error.contains("Bad Gateway very long"), "{error}");
    assert!(error.len() < 1000, "{}", error.len());
}

#[tokio::test]
async fn a_success_that_is_no_json_is_an_error_and_after_a_create_an_unknown_end() {
    let fake = Fake::start(|_| Reply::Text(200, Vec::new(), "<html>welcome</html>".to_owned())).await;
    let session = fake.session();
    let error = session.get(Service::Network, "/ports").json::<Value>().await.unwrap_err();
    assert_eq!(
        (error.failure().code.as_str(), error.class()),
        ("OPENSTACK_ANSWER_INVALID", ErrorClass::Permanent)
    );
    let error = session.post(Service::Network, "/ports", &json!({})).json::<Value>().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Indeterminate);
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_our_token() {
    let elsewhere = Fake::start(|_| Reply::Json(200, json!({}))).await;
    let place = format!("{}/v2.0/ports", elsewhere.url);
    let error = refused(Reply::Text(302, vec![("Location", place.clone())], String::new())).await;
    check(&error, "OPENSTACK_REFUSED", ErrorClass::Permanent, &place);
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn no_secret_is_in_what_is_printed() {
    let fake = Fake::start(|_| Reply::Json(403, json!({}))).await;
    let session = fake.session();
    let request = session.get(Service::Compute, "/servers");
    let printed = format!("{session:?} {:?} {request:?}", fake.config());
    let error = request.json::<Value>().await.unwrap_err();
    let token = session.token().await.unwrap();
    let printed = format!("{printed} {error} {error:?} {token:?} {:?}", session.keystone());
    assert!(!printed.contains("s3cret-pass") && !printed.contains("token-0"), "{printed}");
    assert!(printed.contains("alice of domain default"), "{printed}");
}

async fn found(reply: Reply) -> Result<Option<Value>, openstack::Error> {
    let fake = Fake::start(move |_| reply.clone()).await;
    fake.session().get(Service::BlockStorage, "/volumes/4d1e-7?a=b").json_if_found().await
}

#[tokio::test]
async fn only_the_things_own_404_says_that_it_is_gone() {
    let own = json!({ "itemNotFound": { "code": 404, "message": "Volume 4d1e-7 could not be found." } });
    assert_eq!(found(Reply::Json(404, own)).await.unwrap(), None);
    let of_path = json!({ "itemNotFound": { "code": 404, "message": "The resource could not be found." } });
    for reply in [Reply::Json(404, of_path), Reply::Text(404, Vec::new(), "<h1>Not Found</h1>".to_owned())] {
        let error = found(reply).await.unwrap_err();
        assert!(error.is_not_found() && !error.is_gone(), "{error}");
    }
}

#[tokio::test]
async fn what_is_in_another_state_than_it_must_be_is_tried_again() {
    let cinder = "Invalid snapshot: Snapshot status must be available or error.";
    let reply = Reply::Json(400, json!({ "badRequest": { "code": 400, "message": cinder } }));
    check(&refused(reply).await, "OPENSTACK_CONFLICT", ErrorClass::Contention, cinder);
}
