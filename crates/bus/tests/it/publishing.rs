use bus::{BODY_SIZE_MAX, Envelope, PublishError, header};
use bus_config::{exchange, key, queue};
use futures::future::join_all;
use model::ErrorClass;

use crate::bench::{Bench, message, next};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_consumed_as_it_was_and_acked_once() {
    let bench = Bench::make().await;
    let mut sent = message("body").correlated("saga-1").with_header(header::ATTEMPT, 3);
    sent.reply_to = Some("somewhere".to_owned());
    bench.send(&sent).await;
    let mut consumer = bench.consumer();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.exchange(), exchange::CMD);
    assert_eq!(delivery.routing_key(), key::mover_host(&bench.host, "freeze_guest"));
    assert!(!delivery.redelivered());
    let expected = Envelope {
        user_id: Some(bus_config::user::CONTROLLER.to_owned()),
        exchange: delivery.exchange().to_owned(),
        routing_key: delivery.routing_key().to_owned(),
        ..sent
    };
    assert_eq!(*delivery.envelope(), expected);
    delivery.ack().await;
    drop(consumer);

    bench.send(&message("second")).await;
    let second = next(&mut bench.consumer()).await;
    assert_eq!(&second.envelope().body[..], b"second", "the first one was not forgotten");
    second.ack().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_queue_takes_is_a_failure() {
    let bench = Bench::make().await;
    let nobody = "host-nobody".parse().unwrap();
    let publisher = bench.controller.publisher();
    let error =
        publisher.publish(exchange::CMD, &key::mover_host(&nobody, "x"), &message("lost")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unroutable { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Permanent);
    assert!(error.to_string().contains("mover.host.host-nobody.x"), "{error}");
    bench.send(&message("and the channel still works")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let bench = Bench::make().await;
    let mut large = message("");
    large.body = vec![7; BODY_SIZE_MAX + 1].into();
    let publisher = bench.controller.publisher();
    let error = publisher.publish(exchange::CMD, "dmapi.x", &large).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { .. }), "{error}");
    large.body = vec![7; BODY_SIZE_MAX].into();
    bench.send(&large).await;
    let delivery = next(&mut bench.consumer()).await;
    assert_eq!(delivery.envelope().body, large.body);
    delivery.ack().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_than_the_window_are_all_confirmed_and_all_arrive() {
    let bench = Bench::make().await;
    let publisher = bench.controller.publisher();
    let routing_key = key::mover_host(&bench.host, "x");
    let messages: Vec<_> = (0..1000).map(|_| message("one of many")).collect();
    let sent = messages.iter().map(|message| publisher.publish(exchange::CMD, &routing_key, message));
    for result in join_all(sent).await {
        result.unwrap();
    }
    let counts = bench.mover.inspect_queue(&queue::mover_host(&bench.host)).await.unwrap().unwrap();
    assert_eq!(counts.messages, 1000);
    let mut consumer = bench.consumer();
    let mut expected: Vec<_> = messages.iter().map(|message| message.message_id).collect();
    let mut seen = Vec::new();
    for _ in 0..1000 {
        let delivery = next(&mut consumer).await;
        seen.push(delivery.envelope().message_id);
        delivery.ack().await;
    }
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_does_not_take_the_blame_for_its_neighbours() {
    let bench = Bench::make().await;
    let publisher = bench.mover.publisher();
    let allowed = key::heartbeat(&bench.host);
    let (good, bad) = (message("beat"), message("not mine"));
    for _ in 0..20 {
        let (sent, refused) = tokio::join!(
            publisher.publish(exchange::HB, &allowed, &good),
            publisher.publish(exchange::HB, "hb.other", &bad)
        );
        let refused = refused.unwrap_err();
        assert!(matches!(refused, PublishError::Refused { .. }), "{refused}");
        // The broker closes the channel of both: the good one may be told to try again, but never that it is refused.
        if let Err(error) = sent {
            assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
        }
    }
    publisher.publish(exchange::HB, &allowed, &good).await.unwrap();
}
