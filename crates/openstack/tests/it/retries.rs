use std::time::{Duration, Instant};

use model::ErrorClass;
use openstack::{Error, Service};
use serde_json::{Value, json};

use crate::fake::{Fake, Reply};

fn busy(status: u16, seconds: &str) -> Reply {
    Reply::Text(status, vec![("Retry-After", seconds.to_owned())], "{}".to_owned())
}

#[tokio::test]
async fn a_read_is_tried_again_when_the_service_fails_for_a_moment() {
    for status in [500, 502, 503, 504, 429] {
        let fake = Fake::start(move |seen| match seen.nth {
            0 | 1 => Reply::Json(status, json!({})),
            _ => Reply::Json(200, json!({ "id": 7 })),
        })
        .await;
        let answer: Value = fake.session().get(Service::Compute, "/servers/7").json().await.unwrap();
        assert_eq!(answer["id"], 7);
        assert_eq!(fake.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_service_that_fails_on_is_given_up_with_its_words() {
    let fake = Fake::start(|_| Reply::Json(503, json!({ "error": { "message": "out of order" } }))).await;
    let error = fake.session().get(Service::Compute, "/servers/7").json::<Value>().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    assert!(error.to_string().contains("out of order"), "{error}");
    assert_eq!(fake.seen().len(), 3, "attempts");
}

#[tokio::test]
async fn a_create_that_failed_half_way_is_not_repeated_and_its_end_is_unknown() {
    let fake = Fake::start(|_| Reply::Json(500, json!({}))).await;
    let made = fake.session().post(Service::BlockStorage, "/snapshots", &json!({})).done().await;
    assert_eq!(made.unwrap_err().class(), ErrorClass::Indeterminate);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_not_repeated_and_its_end_is_unknown() {
    for reply in [Reply::Close, Reply::Cut { length: 100, sent: 10 }] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let made = fake.session().post(Service::BlockStorage, "/snapshots", &json!({})).json::<Value>().await;
        let failure = made.unwrap_err().failure();
        assert_eq!(
            (failure.code.as_str(), failure.class),
            ("OPENSTACK_ANSWER_LOST", ErrorClass::Indeterminate)
        );
        assert_eq!(fake.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_create_that_the_limit_of_requests_refused_is_sent_again() {
    let fake = Fake::start(|seen| match seen.nth {
        0 => busy(429, "0"),
        _ => Reply::Json(202, json!({ "made": true })),
    })
    .await;
    let made: Value = fake.session().post(Service::Compute, "/servers", &json!({})).json().await.unwrap();
    assert_eq!(made["made"], true);
}

#[tokio::test]
async fn a_service_is_left_alone_as_long_as_it_asks_and_no_longer_than_we_have() {
    let fake = Fake::start(|seen| match seen.nth {
        0 => busy(429, "1"),
        _ => Reply::Json(200, json!({})),
    })
    .await;
    let begun_at = Instant::now();
    fake.session().get(Service::Compute, "/servers").json::<Value>().await.unwrap();
    assert!(begun_at.elapsed() >= Duration::from_secs(1));

    let fake = Fake::start(|_| busy(429, "3600")).await;
    let error = fake.session().get(Service::Compute, "/servers").json::<Value>().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Throttled);
    assert_eq!(error.answered().unwrap().retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_without_a_word_is_not_noticed_by_readers() {
    let fake = Fake::start(|seen| Reply::JsonThenClose(json!({ "target": seen.target }))).await;
    let session = fake.session();
    for nth in 0..20 {
        let path = format!("/servers/{nth}");
        let answer: Value = session.get(Service::Compute, &path).json().await.unwrap();
        assert_eq!(answer["target"], format!("/compute/v2.1{path}"));
    }
}

#[tokio::test]
async fn what_may_not_be_repeated_never_goes_over_a_kept_connection() {
    let fake = Fake::start(|_| Reply::Json(200, json!({}))).await;
    let session = fake.session();
    for _ in 0..3 {
        session.get(Service::Compute, "/servers").json::<Value>().await.unwrap();
        session.post(Service::Compute, "/servers", &json!({})).json::<Value>().await.unwrap();
    }
    let posts: Vec<_> = fake.seen().into_iter().filter(|seen| seen.method == "POST").collect();
    assert_eq!(posts.iter().map(|seen| seen.nth_of_connection).collect::<Vec<_>>(), [0, 0, 0]);
    assert!(fake.seen().iter().any(|seen| seen.nth_of_connection > 0), "reads share a connection");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_read_again() {
    let fake = Fake::start(|seen| match seen.nth {
        0 => Reply::Cut { length: 100, sent: 10 },
        _ => Reply::Json(200, json!({ "id": 7 })),
    })
    .await;
    let answer: Value = fake.session().get(Service::Compute, "/servers/7").json().await.unwrap();
    assert_eq!(answer["id"], 7);
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_not_asked_twice() {
    let fake = Fake::start(|_| Reply::Stall).await;
    let mut config = fake.config();
    config.timeouts.request = Duration::from_millis(200);
    let session = openstack::Session::new(config).unwrap();
    let error = session.get(Service::Compute, "/servers").json::<Value>().await.unwrap_err();
    assert!(matches!(error, Error::AnswerLost { is_timeout: true, .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Transient);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn nobody_there_is_transient_for_a_create_too_since_nothing_was_sent() {
    let fake = Fake::start(|_| Reply::Json(200, json!({}))).await;
    let mut config = fake.config();
    // A port that nobody listens at any more.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.endpoints.insert(Service::Compute, format!("http://{address}/v2.1").parse().unwrap());
    let session = openstack::Session::new(config).unwrap();
    let error = session.post(Service::Compute, "/servers", &json!({})).done().await.unwrap_err();
    let failure = error.failure();
    assert_eq!((failure.code.as_str(), failure.class), ("OPENSTACK_UNREACHABLE", ErrorClass::Transient));
    assert!(failure.message.contains(&address.to_string()), "{failure}");
}

#[tokio::test]
async fn an_answer_larger_than_memory_should_hold_is_refused() {
    let fake = Fake::start(|_| Reply::Zeroes(200 << 20)).await;
    let error = fake.session().get(Service::Compute, "/servers").json::<Value>().await.unwrap_err();
    assert!(matches!(error, Error::AnswerInvalid { .. }), "{error}");
}
