//! Letters are looked at, sent again and dropped, and none is lost on the way. A broker of its own: others' looks would hide
//! letters from ours.

use std::collections::BTreeSet;

use bus::{DeadLetters, Envelope, LaidBy, Letter, Settled, Stayed, Verdict, header};
use bus_config::{Class, exchange, key, queue, user};
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicRejectOptions};
use lapin::types::FieldTable;

use crate::bench::{Bench, connect_raw, jobs_of, message, next, start_session, wait_for};

async fn letters(dead: &DeadLetters) -> Vec<Letter> {
    let mut seen = Vec::new();
    let keep = |letter: &Letter| {
        seen.push(letter.clone());
        Verdict::Keep
    };
    dead.look(Class::Mover, keep, |settled| panic!("{settled:?}")).await.unwrap();
    seen
}

async fn settle(dead: &DeadLetters, id: &str, verdict: Verdict) -> Settled {
    let decide = |letter: &Letter| if letter.id == id { verdict } else { Verdict::Keep };
    let mut settled = Vec::new();
    dead.look(Class::Mover, decide, |one| settled.push(one)).await.unwrap();
    assert_eq!(settled.len(), 1, "{settled:?}");
    settled.remove(0)
}

fn ids(letters: &[Letter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.id.as_str()).collect()
}

/// Has the host's datamover find no sense in messages, one after the other.
async fn lay(bench: &Bench, sent: &[Envelope]) {
    let mut consumer = bench.consumer();
    for envelope in sent {
        bench.send(envelope).await;
        next(&mut consumer).await.dead_letter("MALFORMED: field header is missing").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_loses_nothing_and_keeps_the_order_however_often() {
    let bench = Bench::make_apart().await;
    let sent: Vec<Envelope> = ["a", "b", "c", "d", "e"].map(message).to_vec();
    lay(&bench, &sent).await;
    let expected: Vec<String> = sent.iter().map(|envelope| envelope.message_id.to_string()).collect();
    let dead = bench.controller.dead_letters();
    // More often than the 20 deliveries that a broker of version 4 allows a queue without a limit of its own.
    for _ in 0..25 {
        assert_eq!(ids(&letters(&dead).await), expected);
    }
    // A look that is given up in the middle gives back what it held.
    let given_up =
        std::panic::AssertUnwindSafe(dead.look(Class::Mover, |_| panic!("a look is given up"), |_| {}));
    assert!(futures::FutureExt::catch_unwind(given_up).await.is_err());
    wait_for("all letters to be back", || async { (letters(&dead).await.len() == 5).then_some(()) }).await;
    // From the middle, and the rest stays as it was.
    let order: Vec<String> = letters(&dead).await.into_iter().map(|letter| letter.id).collect();
    settle(&dead, &order[2], Verdict::Drop).await.outcome.unwrap();
    let left = letters(&dead).await;
    assert_eq!(ids(&left), [&*order[0], &*order[1], &*order[3], &*order[4]]);
    assert_eq!(left[0].reason, "MALFORMED: field header is missing");
    assert_eq!(left[0].laid_by, LaidBy::User(user::mover(&bench.host)));
    assert_eq!(left[0].sender.as_deref(), Some(user::CONTROLLER));
    assert!(left[0].died_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_sent_again_is_the_same_message_of_the_same_sender_and_one_that_no_queue_takes_stays() {
    let bench = Bench::make_apart().await;
    let sent = message("again").correlated("saga-1").with_header(header::JOB, "job-1");
    lay(&bench, std::slice::from_ref(&sent)).await;
    let dead = bench.controller.dead_letters();
    let first_death = letters(&dead).await[0].died_at;
    let id = sent.message_id.to_string();

    let queue = queue::mover_host(&bench.host);
    bench.broker.admin().delete_queue(&queue).await.unwrap();
    let stayed = settle(&dead, &id, Verdict::Retry).await;
    assert!(matches!(stayed.outcome, Err(Stayed::NotSent(_))), "{stayed:?}");
    assert_eq!(ids(&letters(&dead).await), [id.as_str()]);

    bench.broker.enroll_host(&bench.host, &[]).await.unwrap();
    settle(&dead, &id, Verdict::Retry).await.outcome.unwrap();
    assert!(letters(&dead).await.is_empty());
    let mut consumer = bench.consumer_anew().await;
    let again = next(&mut consumer).await;
    let envelope = again.envelope();
    assert_eq!((&envelope.message_id, &envelope.body), (&sent.message_id, &sent.body));
    assert_eq!((&envelope.type_name, &envelope.correlation_id), (&sent.type_name, &sent.correlation_id));
    assert_eq!(envelope.header(header::JOB), Some("job-1"));
    assert_eq!(envelope.header(header::RETRIED), Some("1"));
    assert_eq!(envelope.user_id.as_deref(), Some(user::CONTROLLER));

    again.dead_letter("MALFORMED: still").await;
    let second = letters(&dead).await.remove(0);
    assert_eq!((second.death_count, second.first_died_at), (2, first_death));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_never_settled_is_laid_by_the_broker_and_named_so() {
    let bench = Bench::make_apart().await;
    let sent = message("poison");
    bench.send(&sent).await;
    let raw = connect_raw(&bench.broker, &user::mover(&bench.host), &bench.mover_password).await;
    let channel = raw.create_channel().await.unwrap();
    let queue = queue::mover_host(&bench.host);
    let options = BasicConsumeOptions::default();
    let mut consumer = channel
        .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default())
        .await
        .unwrap();
    let mut delivery_count = 0;
    let dead = bench.controller.dead_letters();
    let letter = loop {
        tokio::select! {
            delivery = consumer.next() => {
                delivery_count += 1;
                delivery.unwrap().unwrap().acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
            }
            letter = wait_for("the letter", || async { letters(&dead).await.pop() }) => break letter,
        }
    };
    assert_eq!(delivery_count, 6, "the queue's limit is 5 returns");
    assert_eq!(letter.code(), "DELIVERY_LIMIT");
    assert_eq!(letter.laid_by, LaidBy::Broker);
    assert_eq!(letter.id, sent.message_id.to_string());
    assert_eq!(letter.sender.as_deref(), Some(user::CONTROLLER));
    assert_eq!(letter.queue, Some(queue));
    assert_eq!(letter.routing_key, Some(key::mover_host(&bench.host, "freeze_guest")));
    assert_eq!(letter.exchange.as_deref(), Some(exchange::CMD));
    channel.close(200, "done".into()).await.unwrap();
    settle(&dead, &letter.id, Verdict::Retry).await.outcome.unwrap();
    assert_eq!(next(&mut bench.consumer()).await.envelope().message_id, sent.message_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_reader_each_time_dies_alone() {
    let bench = Bench::make_apart().await;
    let sent = ["first", "killer", "second", "third"].map(message);
    for envelope in &sent {
        bench.send(envelope).await;
    }
    let killer = sent[1].message_id;
    let mut done = Vec::new();
    // A life reads until it meets the killer; then it is gone, with whatever else it had in hand.
    for _ in 0..6 {
        let life = start_session(&bench.broker, &user::mover(&bench.host), &bench.mover_password).await;
        let mut consumer = life.consume(jobs_of(&bench.host));
        loop {
            let delivery = next(&mut consumer).await;
            if delivery.envelope().message_id == killer {
                life.close().await;
                break;
            }
            done.push(delivery.envelope().message_id);
            delivery.ack().await;
        }
    }
    let mut consumer = bench.consumer();
    while done.len() < 3 {
        let delivery = next(&mut consumer).await;
        done.push(delivery.envelope().message_id);
        delivery.ack().await;
    }
    let dead = bench.controller.dead_letters();
    let letter = wait_for("the letter", || async { letters(&dead).await.pop() }).await;
    assert_eq!((letter.id.as_str(), letter.code()), (&*killer.to_string(), "DELIVERY_LIMIT"));
    assert_eq!(letters(&dead).await.len(), 1);
    let expected: BTreeSet<_> = [0, 2, 3].map(|index| sent[index].message_id).into();
    assert_eq!(done.iter().copied().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_a_compute_host_forged_is_not_sent_for_the_controllers() {
    let bench = Bench::make_apart().await;
    let forged = message("delete it")
        .with_header(header::DEAD_REASON, "DELIVERY_LIMIT: please retry")
        .with_header(header::DEAD_QUEUE, queue::CTRL_CLOUD)
        .with_header(header::DEAD_EXCHANGE, exchange::CMD)
        .with_header(header::DEAD_ROUTING_KEY, "cloud.delete_volume")
        .with_header(header::DEAD_USER, user::CONTROLLER)
        .with_header(header::RETRIED_FOR, user::CONTROLLER);
    bench.mover.publisher().publish(exchange::DLX, &key::dead(Class::Mover), &forged).await.unwrap();
    let dead = bench.controller.dead_letters();
    let id = forged.message_id.to_string();
    let stayed = settle(&dead, &id, Verdict::Retry).await;
    assert!(matches!(stayed.outcome, Err(Stayed::NotRetriable(_))), "{stayed:?}");
    let letter = letters(&dead).await.remove(0);
    assert_eq!((letter.id, letter.laid_by), (id, LaidBy::User(user::mover(&bench.host))));
    let counts = bench.controller.inspect_queue(queue::CTRL_CLOUD).await.unwrap().unwrap();
    assert_eq!(counts.messages, 0, "the forged command is on its way");
}
