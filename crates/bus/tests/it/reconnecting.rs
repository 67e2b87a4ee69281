use std::time::Duration;

use bus::{Consume, Error, Session, SessionState};
use bus_config::{Role, queue, user};
use sandbox::Broker;
use secrecy::SecretString;

use crate::bench::{Bench, PATIENCE, config, jobs_of, message, next, send, start_session, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn publisher_and_consumer_go_on_after_the_broker_restarts_and_after_it_is_killed() {
    let mut broker = Broker::start().await.unwrap();
    let host = "node-1.example".parse().unwrap();
    let password = broker.enroll_host(&host, &[]).await.unwrap();
    let controller_password = broker.create_user(&Role::Controller).await.unwrap();
    let controller = start_session(&broker, user::CONTROLLER, &controller_password).await;
    let mover = start_session(&broker, &user::mover(&host), &password).await;
    let publisher = controller.publisher();
    let mut consumer = mover.consume(jobs_of(&host));

    send(&publisher, &host, &message("before")).await;
    let held = next(&mut consumer).await;
    broker.restart().await.unwrap();
    for session in [&controller, &mover] {
        session.wait_ready(PATIENCE).await.unwrap();
        assert_eq!(*session.state().borrow(), SessionState::Ready { number: 2 });
    }
    // The ack belongs to the session that is gone: the message comes again.
    held.ack().await;
    let again = next(&mut consumer).await;
    assert_eq!(&again.envelope().body[..], b"before");
    assert!(again.redelivered());
    again.ack().await;
    send(&publisher, &host, &message("after")).await;
    let after = next(&mut consumer).await;
    assert_eq!(&after.envelope().body[..], b"after");
    after.ack().await;

    broker.kill().await.unwrap();
    wait_for("the loss to be seen", || async {
        matches!(*controller.state().borrow(), SessionState::Connecting { .. }).then_some(())
    })
    .await;
    let error = publisher.publish("holdfast.cmd", "dmapi.x", &message("nobody home")).await.unwrap_err();
    assert!(matches!(error, bus::PublishError::NotConnected { .. }), "{error}");
    broker.resume().await.unwrap();
    controller.wait_ready(PATIENCE).await.unwrap();
    send(&publisher, &host, &message("after the kill")).await;
    let mut delivery = next(&mut consumer).await;
    if delivery.redelivered() {
        // The broker may have died before it wrote the last ack down.
        assert_eq!(&delivery.envelope().body[..], b"after");
        delivery.ack().await;
        delivery = next(&mut consumer).await;
    }
    assert_eq!(&delivery.envelope().body[..], b"after the kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_and_cured_by_the_right_one() {
    let bench = Bench::make().await;
    let mover = user::mover(&bench.host);
    let right: SecretString = "the-right-one".to_owned().into();
    let session = Session::start(config(&bench.broker, &mover, &right)).unwrap();
    let error = session.wait_ready(PATIENCE).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Refused { .. }), "{text}");
    assert_eq!(error.failure().code, "BUS_REFUSED");
    assert!(text.contains(&mover) && text.contains("holdfast") && text.contains("127.0.0.1:"), "{text}");
    assert!(!text.contains("the-right-one"), "{text}");

    bench.broker.admin().put_user(&mover, &right, &[]).await.unwrap();
    let ready = session.clone();
    wait_for("the session", || async { ready.wait_ready(Duration::ZERO).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vhost_that_is_not_there_is_named() {
    let bench = Bench::make().await;
    let mut config = config(&bench.broker, &user::mover(&bench.host), &bench.mover_password);
    config.vhost = "elsewhere".to_owned();
    let error = Session::start(config).unwrap().wait_ready(PATIENCE).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("vhost elsewhere"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_left_for_one_that_is() {
    let bench = Bench::make().await;
    let mut config = config(&bench.broker, &user::mover(&bench.host), &bench.mover_password);
    let nowhere = format!("amqp://127.0.0.1:{}", sandbox::free_port().unwrap());
    config.brokers.push(nowhere.clone());
    Session::start(config.clone()).unwrap().wait_ready(PATIENCE).await.unwrap();
    config.brokers = vec![nowhere];
    let error = Session::start(config).unwrap().wait_ready(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_missing_is_named_and_consumed_once_it_is_there() {
    let bench = Bench::make().await;
    let name = queue::mover_host(&bench.host);
    bench.broker.admin().delete_queue(&name).await.unwrap();
    let mut consumer = bench.mover.consume(Consume { queue: name.clone(), ..jobs_of(&bench.host) });
    let mut problem = consumer.problem();
    let told = tokio::time::timeout(
        PATIENCE,
        problem.wait_for(|problem| {
            problem.as_ref().is_some_and(|problem| problem.contains(&name) && problem.contains("host add"))
        }),
    );
    told.await.unwrap().unwrap();
    bench.broker.admin().declare(&bus_config::host_topology(&bench.host)).await.unwrap();
    bench.send(&message("at last")).await;
    next(&mut consumer).await.ack().await;
    assert_eq!(*consumer.problem().borrow(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_consumer_is_consumed_again_when_it_returns() {
    let bench = Bench::make().await;
    let name = queue::mover_host(&bench.host);
    let mut consumer = bench.consumer();
    bench.send(&message("first")).await;
    next(&mut consumer).await.ack().await;
    bench.broker.admin().delete_queue(&name).await.unwrap();
    // Not before the consumer was told: RabbitMQ 3.10 takes the old consumer over into a queue of the same name that
    // comes at once, and keeps the new queue's first messages from it. `remove_host` closes the connections first.
    let mut problem = consumer.problem();
    tokio::time::timeout(PATIENCE, problem.wait_for(Option::is_some)).await.unwrap().unwrap();
    bench.broker.admin().declare(&bus_config::host_topology(&bench.host)).await.unwrap();
    bench.send(&message("second")).await;
    let second = next(&mut consumer).await;
    assert_eq!(&second.envelope().body[..], b"second");
    second.ack().await;
}

#[test]
fn a_session_outlives_the_runtime_that_started_it_and_needs_none_to_be_dropped() {
    let make_runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let starter = make_runtime();
    let bench = starter.block_on(Bench::make());
    drop(starter);
    let publisher = bench.controller.publisher();
    make_runtime().block_on(async { send(&publisher, &bench.host, &message("x")).await });
    drop(publisher);
    drop(bench);
}
