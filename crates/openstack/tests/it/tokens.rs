use std::sync::Arc;
use std::time::Duration;

use model::{ErrorClass, Timestamp};
use openstack::{Auth, Config, Error, Named, Scope, Service, Session};
use runtime::ManualClock;
use serde_json::{Value, json};

use crate::fake::{Fake, Reply, Seen};

fn echo(seen: &Seen) -> Reply {
    Reply::Json(200, json!({ "token": seen.headers["x-auth-token"] }))
}

async fn token_of(session: &Session) -> String {
    let answer: Value = session.get(Service::Compute, "/servers").json().await.unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_token_serves_all_and_is_asked_for_once() {
    let fake = Fake::start(echo).await;
    let session = fake.session();
    let all = futures::future::join_all((0..8).map(|_| token_of(&session))).await;
    assert!(all.iter().all(|token| token == "token-0"), "{all:?}");
    assert_eq!(fake.logins(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let fake = Fake::start(echo).await;
    let clock = ManualClock::starting_at(Timestamp(0));
    let session = Session::new(Config { clock: Arc::clone(&clock) as _, ..fake.config() }).unwrap();
    assert_eq!(token_of(&session).await, "token-0");
    clock.advance(Duration::from_secs(57 * 60));
    assert_eq!(token_of(&session).await, "token-0");
    clock.advance(Duration::from_secs(60));
    assert_eq!(token_of(&session).await, "token-1", "two minutes are left");
}

#[tokio::test]
async fn a_token_revoked_in_mid_life_is_renewed_and_the_request_repeated_once_whatever_it_is() {
    let revoked = |seen: &Seen| match seen.headers["x-auth-token"].as_str() {
        "token-0" => Reply::Json(401, json!({ "error": { "message": "no longer" } })),
        _ => Reply::Json(202, json!({ "body": String::from_utf8_lossy(&seen.body) })),
    };
    let fake = Fake::start(revoked).await;
    let made: Value =
        fake.session().post(Service::Compute, "/servers", &json!({ "a": 1 })).json().await.unwrap();
    assert_eq!(made["body"], r#"{"a":1}"#);
    assert_eq!(fake.logins(), 2);

    let fake = Fake::start(|_| Reply::Json(401, json!({}))).await;
    let error = fake.session().get(Service::Compute, "/servers").json::<Value>().await.unwrap_err();
    assert_eq!(
        (error.failure().code.as_str(), error.class()),
        ("OPENSTACK_UNAUTHORIZED", ErrorClass::Permanent)
    );
    assert_eq!((fake.logins(), fake.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_given_token_is_used_as_it_is_and_its_end_is_told() {
    let fake = Fake::start(|seen| match seen.target.as_str() {
        "/v3/auth/tokens" => {
            assert_eq!(seen.headers["x-subject-token"], "given");
            let url = &seen.headers["host"];
            let endpoint =
                json!({ "interface": "public", "region": "here", "url": format!("http://{url}/v2.1") });
            Reply::Json(
                200,
                json!({ "token": {
                    "user": { "id": "u1" }, "project": { "id": "p1" },
                    "issued_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2020-01-01T01:00:00.000000Z",
                    "catalog": [{ "type": "compute", "endpoints": [endpoint] }],
                }}),
            )
        }
        "/v2.1/servers" => Reply::Json(200, json!({ "token": seen.headers["x-auth-token"] })),
        _ => Reply::Json(401, json!({})),
    })
    .await;
    let auth = Auth::token(&fake.url, "given".into(), Scope::Default).unwrap();
    let session = Session::new(Config { auth, ..fake.config() }).unwrap();
    assert_eq!(session.project_id().await.unwrap(), "p1");
    assert_eq!(token_of(&session).await, "given");
    assert_eq!(fake.logins(), 0);
    let error = session.get(Service::Compute, "/flavors").json::<Value>().await.unwrap_err();
    assert_eq!(error.failure().code, "OPENSTACK_TOKEN_ENDED", "{error}");
}

#[tokio::test]
async fn a_wrong_password_names_user_and_project_and_not_the_password() {
    let fake =
        Fake::start(|_| Reply::Json(401, json!({ "error": { "message": "authentication required" } }))).await;
    let user = Named::Id("u9".to_owned());
    let auth = Auth::password(&fake.url, user, "wrong".into(), Scope::Trust("t1".to_owned())).unwrap();
    let error = Session::new(Config::new(auth)).unwrap().token().await.unwrap_err();
    let text = error.failure().to_string();
    assert!(matches!(error, Error::LoginRefused { .. }), "{error}");
    assert!(text.contains("user u9 by trust t1") && text.contains("authentication required"), "{text}");
    assert!(!text.contains("wrong"), "{text}");
}

#[tokio::test]
async fn a_404_of_a_web_server_makes_no_token_invalid() {
    let html = |_: &Seen| Reply::Text(404, Vec::new(), "<h1>Not Found</h1>".to_owned());
    let error = Fake::start(html).await.session().keystone().validate_token(&"x".into()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let json = |_: &Seen| Reply::Json(404, json!({ "error": { "message": "Could not find token" } }));
    assert!(
        Fake::start(json).await.session().keystone().validate_token(&"x".into()).await.unwrap().is_none()
    );
}
