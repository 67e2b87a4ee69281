//! A site where all is well, for the tests of what is shown.

use model::Timestamp;
use rest_api::{
    DeadLetterFigures, HostStatus, LifeState, OutboxFigures, PartState, QueueFigures, SagaCount, SagaFigures,
    ServiceStatus, Status,
};

/// Gathered a quarter of a second after the last sign of life.
pub(super) fn make_status() -> Status {
    let now = Timestamp(1_700_000_000_500_000);
    let service = |service: &str, host: &str| ServiceStatus {
        service: service.to_owned(),
        host: host.parse().unwrap(),
        state: LifeState::Up,
        version: Some("0.1.0".to_owned()),
        started_at: Timestamp(1_699_990_000_000_000).into(),
        seen_at: Timestamp(1_700_000_000_250_000).into(),
        silent_seconds: 0,
    };
    let count =
        |phase: &str, count| SagaCount { kind: "snapshot_create".to_owned(), phase: phase.to_owned(), count };
    let dead = |class: &str| DeadLetterFigures { class: class.to_owned(), count: Some(0) };
    Status {
        gathered_at: now.into(),
        controller: "node-1".parse().unwrap(),
        version: "0.1.0".to_owned(),
        problems: Vec::new(),
        catalog: PartState::ok(),
        broker: PartState::ok(),
        broker_management: PartState::ok(),
        services: Some(vec![
            service("controller", "node-1"),
            service("datamover", "host-a"),
            service("dmapi", "node-1"),
        ]),
        hosts: Some(vec![HostStatus {
            host: "host-a".parse().unwrap(),
            state: LifeState::Up,
            silent_seconds: 0,
            version: Some("0.1.0".to_owned()),
            pools: vec!["default".parse().unwrap()],
            jobs_running: 1,
            bytes_total: 4 << 30,
            bytes_done: 1 << 30,
            bytes_read: 1 << 30,
            bytes_stored: 1 << 29,
        }]),
        sagas: Some(SagaFigures {
            unfinished: vec![count("forward", 2)],
            ended_last_day: vec![count("compensated", 1), count("succeeded", 7)],
            stuck: Vec::new(),
        }),
        outbox: Some(OutboxFigures { depth: 3, oldest_seconds: Some(2) }),
        queues: Some(vec![
            QueueFigures {
                name: "holdfast.q.dmapi".to_owned(),
                depth: Some(5),
                unacked: Some(1),
                consumers: Some(2),
            },
            QueueFigures { name: "holdfast.q.fresh".to_owned(), depth: None, unacked: None, consumers: None },
        ]),
        dead_letters: Some(["intake", "ctrl", "dmapi", "mover"].map(dead).to_vec()),
    }
}
