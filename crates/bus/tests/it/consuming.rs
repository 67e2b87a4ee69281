use bus::{AcceptFrom, BODY_SIZE_MAX, Consume, LaidBy, Letter, SessionState, header};
use bus_config::{Class, exchange, key, queue, user};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use model::MessageId;
use runtime::Entropy;

use crate::bench::{Bench, PATIENCE, connect_raw, message, next, wait_for, wait_for_dead_letter};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_given_back_comes_again_and_so_does_a_dropped_one() {
    let bench = Bench::make().await;
    let sent = message("again");
    bench.send(&sent).await;
    let mut consumer = bench.consumer();
    next(&mut consumer).await.retry().await;
    let second = next(&mut consumer).await;
    assert!(second.redelivered());
    assert_eq!(second.envelope().message_id, sent.message_id);
    assert_eq!(second.envelope().headers, sent.headers, "the broker's own headers were not left out");
    drop(second);
    let third = next(&mut consumer).await;
    assert_eq!(third.envelope().message_id, sent.message_id);
    third.ack().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_why_from_where_and_from_whom() {
    let bench = Bench::make().await;
    let sent = message("poison").correlated("saga-1").with_header(header::JOB, "job-1");
    bench.send(&sent).await;
    next(&mut bench.consumer()).await.dead_letter("field header is missing").await;
    let dead = wait_for_dead_letter(&bench, Class::Mover, sent.message_id).await;
    assert_eq!(dead.body, sent.body);
    assert_eq!(dead.correlation_id, sent.correlation_id);
    assert_eq!(dead.headers[header::JOB], "job-1");
    assert_eq!(dead.reason, "field header is missing");
    assert_eq!(dead.queue, Some(queue::mover_host(&bench.host)));
    assert_eq!(dead.exchange.as_deref(), Some(exchange::CMD));
    assert_eq!(dead.routing_key, Some(key::mover_host(&bench.host, "freeze_guest")));
    assert_eq!(dead.sender.as_deref(), Some(user::CONTROLLER));
    assert_eq!(dead.laid_by, LaidBy::User(user::mover(&bench.host)));
    let left = bench.mover.inspect_queue(&queue::mover_host(&bench.host)).await.unwrap().unwrap();
    assert_eq!(left.messages, 0);
}

/// Publishes bytes with these properties as the controller would if it had bugs.
async fn send_raw(bench: &Bench, properties: BasicProperties, body: &[u8]) {
    let password = runtime::Entropy.uuid().simple().to_string().into();
    let role =
        bus_config::Role::Intake(format!("raw-{}", Entropy.uuid().simple()), model::JobKind::ALL.to_vec());
    bench.broker.admin().put_role(&role, &password).await.unwrap();
    // Its rights are the controller's: what is tested is the consumer, not the broker.
    bench
        .broker
        .admin()
        .put_permissions(&role.user(), &bus_config::Role::Controller.permissions())
        .await
        .unwrap();
    let connection = connect_raw(&bench.broker, &role.user(), &password).await;
    let channel = connection.create_channel().await.unwrap();
    let key = key::mover_host(&bench.host, "x").as_str().into();
    let options = BasicPublishOptions::default();
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
    channel.basic_publish(exchange::CMD.into(), key, options, body, properties).await.unwrap().await.unwrap();
}

#[track_caller]
fn check_reason(dead: &Letter, code: &str) {
    assert!(dead.reason.starts_with(code), "{}", dead.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_user_is_a_dead_letter() {
    let bench = Bench::make().await;
    let id = MessageId::from_uuid(Entropy.uuid());
    let nameless = BasicProperties::default()
        .with_message_id(id.to_string().as_str().into())
        .with_type("holdfast.X".into());
    let _consumer = bench.consumer();
    send_raw(&bench, nameless, b"who am I").await;
    let dead = wait_for_dead_letter(&bench, Class::Mover, id).await;
    check_reason(&dead, "NO_USER_ID");
    assert_eq!(dead.sender, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_user_who_may_not_send_it_is_a_dead_letter_and_names_him() {
    let bench = Bench::make().await;
    let queue = queue::mover_host(&bench.host);
    let accept_from = AcceptFrom::users([user::DMAPI]).or_prefix(user::INTAKE_PREFIX);
    let _consumer = bench.mover.consume(Consume { queue, prefetch: 1, accept_from });
    let sent = message("by the controller");
    bench.send(&sent).await;
    let dead = wait_for_dead_letter(&bench, Class::Mover, sent.message_id).await;
    check_reason(&dead, "FOREIGN_USER: holdfast-controller");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_a_dead_letter_with_all_its_bytes() {
    let bench = Bench::make().await;
    let id = MessageId::from_uuid(Entropy.uuid());
    let named =
        BasicProperties::default().with_message_id(id.to_string().as_str().into()).with_type("x".into());
    let body = vec![1; BODY_SIZE_MAX + 1];
    let _consumer = bench.consumer();
    send_raw(&bench, named, &body).await;
    let dead = wait_for_dead_letter(&bench, Class::Mover, id).await;
    assert_eq!(dead.body, body);
    assert_eq!(dead.code(), "BODY_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_stuffed_with_headers_is_a_dead_letter_and_breaks_no_connection() {
    let bench = Bench::make().await;
    let id = MessageId::from_uuid(Entropy.uuid());
    // One frame of 128 KiB holds all headers: with a reason beside these they would not fit.
    let mut stuffing = FieldTable::default();
    stuffing.insert("stuffing".into(), AMQPValue::LongString("x".repeat(130_000).into()));
    let stuffed =
        BasicProperties::default().with_message_id(id.to_string().as_str().into()).with_headers(stuffing);
    let _consumer = bench.consumer();
    send_raw(&bench, stuffed, b"").await;
    let dead = wait_for_dead_letter(&bench, Class::Mover, id).await;
    assert_eq!(dead.code(), "MALFORMED_ENVELOPE");
    let lost = dead.headers[header::DEAD_HEADERS_LOST].parse::<usize>().unwrap();
    assert!(lost > 130_000, "{lost}");
    assert_eq!(*bench.mover.state().borrow(), SessionState::Ready { number: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_or_a_type_is_a_dead_letter() {
    let bench = Bench::make().await;
    let id = MessageId::from_uuid(Entropy.uuid());
    let _consumer = bench.consumer();
    send_raw(&bench, BasicProperties::default().with_message_id(id.to_string().as_str().into()), b"").await;
    let dead = wait_for_dead_letter(&bench, Class::Mover, id).await;
    check_reason(&dead, "MALFORMED_ENVELOPE: property type");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_tells_what_it_holds_and_who_reads_it() {
    let bench = Bench::make().await;
    let name = queue::mover_host(&bench.host);
    let inspect = || async { bench.controller.inspect_queue(&name).await.unwrap() };
    assert_eq!(inspect().await.unwrap().consumers, 0);
    bench.send(&message("waiting")).await;
    assert_eq!(inspect().await.unwrap().messages, 1);
    let consumer = bench.consumer();
    wait_for("the consumer to be seen", || async { (inspect().await?.consumers > 0).then_some(()) }).await;
    drop(consumer);
    wait_for("the consumer to be gone", || async {
        let counts = inspect().await?;
        (counts.consumers == 0 && counts.messages == 1).then_some(())
    })
    .await;
    assert_eq!(bench.controller.inspect_queue("holdfast.q.none").await.unwrap(), None);
    // Of a queue that this user may neither read nor write, it sees the counts all the same.
    assert!(bench.mover.inspect_queue(queue::INTAKE).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_consumers_and_gives_back_what_they_held() {
    let bench = Bench::make().await;
    bench.send(&message("held")).await;
    let mut consumer = bench.consumer();
    let held = next(&mut consumer).await;
    bench.mover.close().await;
    assert!(tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().is_none());
    held.ack().await;
    let name = queue::mover_host(&bench.host);
    wait_for("the message to be back", || async {
        let counts = bench.controller.inspect_queue(&name).await.unwrap()?;
        (counts.messages == 1).then_some(())
    })
    .await;
}
