//! What a letter is believed, and what not.

use bus_config::{exchange, queue};
use lapin::types::{FieldArray, ShortString};

use super::*;

const HOST_QUEUE: &str = "holdfast.q.mover.host.a";
const HOST_KEY: &str = "mover.host.a.freeze_guest";
const MOVER: &str = "holdfast-mover-a";
const INTAKE_USER: &str = "holdfast-intake-billing";

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn table(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert(ShortString::try_new(*name).unwrap(), value.clone());
    }
    table
}

/// As the broker writes it.
fn death(queue: &str, exchange: &str, routing_key: &str) -> (&'static str, AMQPValue) {
    let death = table(&[
        ("count", AMQPValue::LongLongInt(1)),
        ("reason", long("delivery_limit")),
        ("queue", long(queue)),
        ("time", AMQPValue::Timestamp(1_700_000_000)),
        ("exchange", long(exchange)),
        ("routing-keys", AMQPValue::FieldArray(FieldArray::from(vec![long(routing_key)]))),
    ]);
    (BROKERS_DEATHS, AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)])))
}

/// As a consumer writes them.
fn claims(sender: &str, queue: &str, exchange: &str, routing_key: &str) -> Vec<(&'static str, AMQPValue)> {
    vec![
        (header::DEAD_REASON, long("UNDECODABLE: no sense")),
        (header::DEAD_QUEUE, long(queue)),
        (header::DEAD_EXCHANGE, long(exchange)),
        (header::DEAD_ROUTING_KEY, long(routing_key)),
        (header::DEAD_USER, long(sender)),
    ]
}

fn make_letter(user: Option<&str>, headers: &[(&str, AMQPValue)]) -> Letter {
    let mut properties = BasicProperties::default().with_headers(table(headers));
    if let Some(user) = user {
        properties = properties.with_user_id(short(user));
    }
    Letter::read(Class::Mover, &make_incoming(properties, b"body"))
}

fn make_incoming(properties: BasicProperties, body: &[u8]) -> Incoming {
    let mut incoming = Incoming::mock(1, exchange::DLX.into(), "dead.mover".into(), false, body.to_vec());
    incoming.properties = properties;
    incoming
}

#[track_caller]
fn assert_not_proved(letter: &Letter) {
    assert!(
        matches!(letter.check_retry(), Err(NotRetriable::NotProved { .. })),
        "{:?}",
        letter.check_retry()
    );
}

#[test]
fn a_letter_of_the_broker_is_its_senders_and_goes_back_where_it_was() {
    let letter = make_letter(Some(user::DMAPI), &[death(HOST_QUEUE, exchange::CMD, HOST_KEY)]);
    assert_eq!(letter.code(), "DELIVERY_LIMIT");
    assert_eq!(letter.sender.as_deref(), Some(user::DMAPI));
    assert_eq!(letter.laid_by, LaidBy::Broker);
    assert_eq!(letter.died_at, Some(Timestamp(1_700_000_000_000_000)));
    let origin = letter.origin().unwrap();
    assert_eq!((origin.exchange.as_str(), origin.routing_key.as_str()), (exchange::CMD, HOST_KEY));
}

#[test]
fn a_letter_of_a_consumer_says_who_sent_it() {
    let headers = claims(INTAKE_USER, queue::INTAKE, exchange::INTAKE, "job.snapshot");
    let letter = make_letter(Some(user::CONTROLLER), &headers);
    assert_eq!(letter.code(), "UNDECODABLE");
    assert_eq!(letter.origin().unwrap().sender, INTAKE_USER);
}

#[test]
fn a_compute_host_cannot_have_a_command_of_the_controllers_sent_by_an_operators_retry() {
    for (queue, key) in [
        (queue::CTRL_CLOUD, "cloud.delete_volume"),
        ("holdfast.q.mover.host.b", "mover.host.b.abort_write"),
        ("holdfast.q.mover.pool.default", "mover.pool.default.purge_transfer"),
        // The queue is its own, but the key leads elsewhere.
        (HOST_QUEUE, "cloud.delete_volume"),
    ] {
        assert_not_proved(&make_letter(Some(MOVER), &claims(user::CONTROLLER, queue, exchange::CMD, key)));
        assert_not_proved(&make_letter(Some(MOVER), &[death(queue, exchange::CMD, key)]));
    }
    let own = make_letter(Some(MOVER), &claims(user::DMAPI, HOST_QUEUE, exchange::CMD, HOST_KEY));
    assert_eq!(own.check_retry(), Ok(()));
}

#[test]
fn claims_in_a_message_that_killed_its_reader_are_not_believed() {
    let mut headers = claims(user::CONTROLLER, queue::CTRL_CLOUD, exchange::CMD, "cloud.delete_volume");
    headers.push((header::RETRIED_FOR, long(user::CONTROLLER)));
    headers.push(death(queue::INTAKE, exchange::INTAKE, "job.snapshot"));
    let letter = make_letter(Some(INTAKE_USER), &headers);
    assert_eq!(letter.code(), "DELIVERY_LIMIT");
    let origin = letter.origin().unwrap();
    assert_eq!(origin.sender, INTAKE_USER);
    assert_eq!((origin.exchange.as_str(), origin.routing_key.as_str()), (exchange::INTAKE, "job.snapshot"));
}

#[test]
fn a_letter_without_a_sender_or_an_origin_stays_where_it_is() {
    let nameless = make_letter(None, &[death(queue::INTAKE, exchange::INTAKE, "job.snapshot")]);
    assert_eq!(nameless.check_retry(), Err(NotRetriable::NoSender));
    let lost = make_letter(Some(MOVER), &[(header::DEAD_USER, long(MOVER))]);
    assert_eq!(lost.check_retry(), Err(NotRetriable::NoOrigin));
    assert_eq!(lost.code(), "UNEXPLAINED");
    let large = Letter { body: vec![0; BODY_SIZE_MAX + 1].into(), ..lost };
    assert_eq!(large.check_retry(), Err(NotRetriable::TooLarge(BODY_SIZE_MAX + 1)));
    let stuffed = make_letter(Some(MOVER), &[("stuffing", long(&"x".repeat(HEADERS_SIZE_MAX)))]);
    assert!(matches!(stuffed.check_retry(), Err(NotRetriable::HeadersTooLarge(_))));
}

#[test]
fn what_goes_again_is_as_it_came_less_its_death() {
    let mut headers = claims(user::DMAPI, HOST_QUEUE, exchange::CMD, HOST_KEY);
    headers.push((header::JOB, long("job-1")));
    headers.push(("x-delivery-count", AMQPValue::LongLongInt(6)));
    // The broker would take these for more routing keys, with the rights of whoever sends again.
    let elsewhere = || AMQPValue::FieldArray(FieldArray::from(vec![long("mover.host.b.ctl.abort_job")]));
    headers.push(("CC", elsewhere()));
    headers.push(("BCC", elsewhere()));
    let came = BasicProperties::default()
        .with_headers(table(&headers))
        .with_user_id(short(MOVER))
        .with_correlation_id(short("saga-1"));
    let letter = Letter::read(Class::Mover, &make_incoming(came.clone(), b"body"));
    let goes = letter.retry_properties(&came, &letter.origin().unwrap(), user::CONTROLLER);
    assert_eq!(goes.correlation_id(), came.correlation_id());
    assert_eq!(sender_of(&goes).as_deref(), Some(user::DMAPI));
    let names: Vec<&str> = goes.headers().as_ref().unwrap().inner().keys().map(ShortString::as_str).collect();
    assert_eq!(names, [header::JOB, header::REPUBLISHED, header::RETRIED, header::RETRIED_FOR]);
}

#[test]
fn nobody_but_the_controllers_speaks_for_others() {
    let forged = table(&[(header::RETRIED_FOR, long(user::CONTROLLER))]);
    let properties = BasicProperties::default().with_user_id(short(MOVER)).with_headers(forged.clone());
    assert_eq!(sender_of(&properties).as_deref(), Some(MOVER));
    assert!(without_deaths(&properties).inner().is_empty());
    assert_eq!(sender_of(&BasicProperties::default().with_headers(forged)), None);
}

#[test]
fn a_letter_without_an_id_gets_the_same_one_at_each_look() {
    let headers = claims(INTAKE_USER, queue::INTAKE, exchange::INTAKE, "job.snapshot");
    let first = make_letter(Some(user::CONTROLLER), &headers);
    assert!(first.id.starts_with("derived-"), "{}", first.id);
    assert_eq!(first.id, make_letter(Some(user::CONTROLLER), &headers).id);
    let other = claims(INTAKE_USER, queue::INTAKE, exchange::INTAKE, "job.restore");
    assert_ne!(first.id, make_letter(Some(user::CONTROLLER), &other).id);
}
