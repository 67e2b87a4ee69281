//! Renders the table as RabbitMQ takes it: the definitions that a broker imports. No users, so no password hashes.

use serde_json::{Value, json};

use crate::topology::{Exchange, Policy, Queue};
use crate::{Binding, VHOST, base_topology, policies};

/// Every exchange routes by words of the key.
pub const EXCHANGE_KIND: &str = "topic";

/// The definitions of the vhost.
#[must_use]
pub fn definitions() -> Value {
    let base = base_topology();
    json!({
        "vhosts": [{ "name": VHOST }],
        "policies": policies().iter().map(policy).collect::<Vec<_>>(),
        "exchanges": base.exchanges.iter().map(exchange).collect::<Vec<_>>(),
        "queues": base.queues.iter().map(queue).collect::<Vec<_>>(),
        "bindings": base.bindings.iter().map(binding).collect::<Vec<_>>(),
    })
}

/// The text of `bus-config/definitions.json`.
#[must_use]
pub fn definitions_text() -> String {
    let mut text = serde_json::to_string_pretty(&definitions()).expect("a JSON value has only text keys");
    text.push('\n');
    text
}

fn policy(policy: &Policy) -> Value {
    json!({
        "vhost": VHOST,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": "queues",
        "priority": 10,
        "definition": policy.definition,
    })
}

fn exchange(exchange: &Exchange) -> Value {
    json!({
        "vhost": VHOST,
        "name": exchange.name,
        "type": EXCHANGE_KIND,
        "durable": true,
        "auto_delete": false,
        "internal": false,
        "arguments": {},
    })
}

fn queue(queue: &Queue) -> Value {
    json!({
        "vhost": VHOST,
        "name": queue.name,
        "durable": true,
        "auto_delete": false,
        "arguments": Queue::arguments(),
    })
}

fn binding(binding: &Binding) -> Value {
    json!({
        "vhost": VHOST,
        "source": binding.exchange,
        "destination": binding.queue,
        "destination_type": "queue",
        "routing_key": binding.routing_key,
        "arguments": {},
    })
}
