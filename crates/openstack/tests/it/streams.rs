use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::ErrorClass;
use openstack::{Error, Service, Session};
use reqwest::Method;
use serde_json::json;

use crate::fake::{Fake, Reply};

const SIZE: usize = 300 << 20;

#[tokio::test]
async fn a_stream_is_not_held_in_memory_and_may_take_longer_than_a_request() {
    let fake = Fake::start(|_| Reply::Zeroes(SIZE)).await;
    let mut config = fake.config();
    config.timeouts.request = Duration::from_millis(100);
    let session = Session::new(config).unwrap();
    session.token().await.unwrap();
    let answer = session.get(Service::Image, "/images/x/file").send_for_stream().await.unwrap();
    let (mut size, mut part_max) = (0, 0);
    let mut parts = std::pin::pin!(answer.stream());
    while let Some(part) = parts.try_next().await.unwrap() {
        size += part.len();
        part_max = part_max.max(part.len());
    }
    assert_eq!(size, SIZE);
    assert!(part_max < 4 << 20, "{part_max}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_stalls_ends_with_an_error() {
    for reply in [Reply::Cut { length: 1000, sent: 10 }, Reply::Stall] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let mut config = fake.config();
        config.timeouts.idle = Duration::from_millis(200);
        let session = Session::new(config).unwrap();
        let answer = session.get(Service::Image, "/images/x/file").send_for_stream().await.unwrap();
        let parts: Vec<_> = answer.stream().collect().await;
        let error = parts.last().unwrap().as_ref().unwrap_err();
        assert!(matches!(error, Error::AnswerLost { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_body_is_sent_part_by_part_and_only_once() {
    let parts = || stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[7; 4096]))));
    let fake = Fake::start(|_| Reply::Json(200, json!({}))).await;
    let upload = |session: Session| session.request(Method::PUT, Service::Image, "/images/x/file");
    upload(fake.session()).body_stream(parts()).done().await.unwrap();
    let seen = &fake.seen()[0];
    assert_eq!(seen.headers["content-type"], "application/octet-stream");
    assert!(seen.body.len() > 64 * 4096, "all parts, chunked");

    let fake = Fake::start(|_| Reply::Json(503, json!({}))).await;
    let error = upload(fake.session()).body_stream(parts()).done().await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Indeterminate);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_body_whose_source_stalls_is_given_up() {
    let fake = Fake::start(|_| Reply::Json(200, json!({}))).await;
    let mut config = fake.config();
    config.timeouts.idle = Duration::from_millis(200);
    let parts = stream::iter([Ok(Bytes::from_static(b"beginning"))]).chain(stream::pending());
    let request = Session::new(config).unwrap().request(Method::PUT, Service::Image, "/images/x/file");
    let error = request.body_stream(parts).done().await.unwrap_err();
    assert!(error.to_string().contains("nothing moved"), "{error}");
}
