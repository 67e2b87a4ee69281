//! The table: exchanges, queues, bindings and policies.
//!
//! Queue arguments hold only what cannot be a policy (the type), because a queue cannot be declared again with others.
//! Policies use only what behaves the same on RabbitMQ 3.10 to 4.x. Never a delivery limit of -1: it means "without
//! limit" on 4.x, and on 3.10.8 it destroys a message at its first requeue.

use model::{HostName, PoolName, ProjectId};
use serde_json::{Map, Value, json};

use crate::{Class, exchange, key, queue};

/// 63 years of a look each second.
const DEAD_LETTER_LOOKS_MAX: u32 = 2_000_000_000;

/// A durable topic exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub name: &'static str,
}

/// A durable quorum queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
}

impl Queue {
    /// The arguments of its declaration: only the type.
    #[must_use]
    pub fn arguments() -> Value {
        json!({ "x-queue-type": "quorum" })
    }
}

/// A queue that takes messages of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub exchange: &'static str,
    pub queue: String,
    pub routing_key: String,
}

/// What holds for queues by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub name: &'static str,
    /// Regular expression over names of queues. No queue is matched by two.
    pub pattern: &'static str,
    pub definition: Map<String, Value>,
}

/// Queues, and how messages get there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    pub exchanges: Vec<Exchange>,
    pub queues: Vec<Queue>,
    pub bindings: Vec<Binding>,
}

impl Topology {
    pub(crate) fn with(
        mut self,
        exchange: &'static str,
        queue: String,
        routing_key: impl Into<String>,
    ) -> Self {
        self.queues.push(Queue { name: queue.clone() });
        self.bindings.push(Binding { exchange, queue, routing_key: routing_key.into() });
        self
    }
}

/// What every site has.
#[must_use]
pub fn base_topology() -> Topology {
    let topic = |name| Exchange { name };
    let mut base = Topology {
        exchanges: vec![
            topic(exchange::INTAKE),
            topic(exchange::CMD),
            topic(exchange::REP),
            topic(exchange::HB),
            topic(exchange::EVT),
            // A topic, so that the rights of its writers can be narrowed to their own class.
            topic(exchange::DLX),
        ],
        ..Topology::default()
    }
    .with(exchange::INTAKE, queue::INTAKE.to_owned(), "job.#")
    .with(exchange::REP, queue::CTRL_REP.to_owned(), "rep.*")
    .with(exchange::HB, queue::CTRL_HB.to_owned(), "hb.*")
    .with(exchange::EVT, queue::CTRL_EVT.to_owned(), key::FACTS_OF_ALL_PROJECTS)
    .with(exchange::CMD, queue::CTRL_CLOUD.to_owned(), "cloud.*")
    .with(exchange::CMD, queue::DMAPI.to_owned(), "dmapi.*");
    for class in Class::ALL {
        base = base.with(exchange::DLX, queue::dead(class), key::dead(class));
    }
    base
}

/// What an enrolled host has: jobs and control.
#[must_use]
pub fn host_topology(host: &HostName) -> Topology {
    Topology::default().with(exchange::CMD, queue::mover_host(host), key::mover_host(host, "*")).with(
        exchange::CMD,
        queue::mover_host_ctl(host),
        key::mover_host_ctl(host, "*"),
    )
}

/// What a pool of datamovers has.
#[must_use]
pub fn pool_topology(pool: &PoolName) -> Topology {
    Topology::default().with(exchange::CMD, queue::mover_pool(pool), key::mover_pool(pool, "*"))
}

/// What another service has: a queue of its own, with the facts of the projects it was granted.
#[must_use]
pub fn subscriber_topology(service: &str, projects: &[ProjectId]) -> Topology {
    let queue = queue::subscriber(service);
    let facts = |project: &ProjectId| Binding {
        exchange: exchange::EVT,
        queue: queue.clone(),
        routing_key: key::fact(project, "*", "*"),
    };
    let bindings = projects.iter().map(facts).collect();
    Topology { queues: vec![Queue { name: queue.clone() }], bindings, ..Topology::default() }
}

/// The policies.
#[must_use]
pub fn policies() -> Vec<Policy> {
    vec![
        work("holdfast-intake", r"^holdfast\.q\.intake$", Class::Intake, 5),
        // A controller whose database restarts gives messages back often; workers would send again, but later.
        work("holdfast-ctrl", r"^holdfast\.q\.ctrl\.(rep|cloud)$", Class::Ctrl, 10),
        work("holdfast-dmapi", r"^holdfast\.q\.dmapi$", Class::Dmapi, 5),
        work("holdfast-mover", r"^holdfast\.q\.mover\.", Class::Mover, 5),
        dead_letters(),
        // Lossy on purpose: the next beat tells more than the last.
        lossy("holdfast-hb", r"^holdfast\.q\.ctrl\.hb$", &[("message-ttl", 60_000), ("max-length", 20_000)]),
        // A broker of OpenStack that is away must not stop us.
        lossy("holdfast-evt", r"^holdfast\.q\.ctrl\.evt$", &[("max-length", 10_000)]),
        // A subscriber that is dead must not stop us.
        lossy("holdfast-sub", r"^holdfast\.q\.sub\.", &[("max-length", 1_000_000)]),
    ]
}

/// Nothing is lost: a full queue refuses (the publisher gets a nack, its outbox waits), a poisonous message is moved, and
/// moved at least once. That needs `reject-publish`; without it the broker falls back to at most once without a word.
fn work(name: &'static str, pattern: &'static str, class: Class, delivery_limit: u32) -> Policy {
    assert!(delivery_limit > 0, "a delivery limit below 1 destroys messages on RabbitMQ 3.10");
    let definition = [
        ("delivery-limit", json!(delivery_limit)),
        ("dead-letter-exchange", json!(exchange::DLX)),
        ("dead-letter-routing-key", json!(key::dead(class))),
        ("dead-letter-strategy", json!("at-least-once")),
        ("overflow", json!("reject-publish")),
        ("max-length", json!(100_000)),
    ];
    Policy {
        name,
        pattern,
        definition: definition.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(),
    }
}

/// Looking at a letter gives it back to the broker, which counts that. From version 4.0 on a queue without a limit of its own
/// has one of 20: the 21st look would destroy the letter without a word. This one is out of reach.
fn dead_letters() -> Policy {
    let definition = [("delivery-limit".to_owned(), json!(DEAD_LETTER_LOOKS_MAX))].into_iter().collect();
    Policy { name: "holdfast-dead", pattern: r"^holdfast\.q\.dead\.", definition }
}

fn lossy(name: &'static str, pattern: &'static str, bounds: &[(&str, u32)]) -> Policy {
    let mut definition: Map<String, Value> =
        bounds.iter().map(|(key, bound)| ((*key).to_owned(), json!(bound))).collect();
    definition.insert("overflow".to_owned(), json!("drop-head"));
    Policy { name, pattern, definition }
}
