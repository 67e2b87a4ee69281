//! What is at the broker, for those who compare it with what should be.

use std::collections::{BTreeMap, BTreeSet};

use bus_config::VHOST;
use serde::Deserialize;
use serde_json::Value;

use crate::{Admin, Error};

/// Exchanges, queues and bindings of the vhost of Holdfast.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenTopology {
    /// By name: the type.
    pub exchanges: BTreeMap<String, String>,
    pub queues: BTreeMap<String, SeenQueue>,
    /// Exchange, queue and routing key.
    pub bindings: BTreeSet<(String, String, String)>,
}

/// A queue, as it was declared and as it is ruled.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenQueue {
    pub arguments: Value,
    /// The name of the policy that holds for it.
    pub policy: Option<String>,
    /// What the policy comes to.
    pub rules: Option<Value>,
    pub consumers: u64,
}

#[derive(Deserialize)]
struct ExchangeRow {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct QueueRow {
    name: String,
    #[serde(default)]
    arguments: Value,
    policy: Option<String>,
    effective_policy_definition: Option<Value>,
    #[serde(default)]
    consumers: u64,
}

#[derive(Deserialize)]
struct BindingRow {
    source: String,
    destination: String,
    destination_type: String,
    routing_key: String,
}

impl Admin {
    /// Reads all of it. A user with the tag `monitoring` suffices.
    pub async fn topology(&self) -> Result<SeenTopology, Error> {
        let exchanges: Vec<ExchangeRow> = self.read(&["exchanges", VHOST]).await?;
        let queues: Vec<QueueRow> = self.read(&["queues", VHOST]).await?;
        let bindings: Vec<BindingRow> = self.read(&["bindings", VHOST]).await?;
        let queue = |row: QueueRow| {
            let QueueRow { name, arguments, policy, effective_policy_definition: rules, consumers } = row;
            (name, SeenQueue { arguments, policy, rules, consumers })
        };
        let bindings = bindings.into_iter().filter(|row| row.destination_type == "queue");
        Ok(SeenTopology {
            exchanges: exchanges.into_iter().map(|row| (row.name, row.kind)).collect(),
            queues: queues.into_iter().map(queue).collect(),
            bindings: bindings.map(|row| (row.source, row.destination, row.routing_key)).collect(),
        })
    }
}
