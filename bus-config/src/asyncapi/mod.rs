//! Renders the table and the messages' descriptor as an AsyncAPI 3 document: what a service's author reads, and what tools
//! make clients of. Seen from Holdfast: it receives jobs and sends facts. Channels that only its own services use are in
//! it too, with the tag `internal`: they may change with any version.

mod channel;
mod schema;

use serde_json::{Map, Value, json};

use crate::{VHOST, policies};
use channel::Channel;
use schema::Messages;

/// Of the bindings to AMQP 0-9-1 that the document speaks.
const BINDING_VERSION: &str = "0.3.0";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The document.
#[must_use]
pub fn asyncapi() -> Value {
    let messages = Messages::read();
    let channels = channel::all(&messages);
    let mut rendered: Map<String, Value> =
        channels.iter().map(|channel| (channel.id.clone(), channel.render())).collect();
    rendered.insert("answers".to_owned(), answers());
    json!({
        "asyncapi": "3.0.0",
        "info": info(),
        "defaultContentType": PROTOBUF,
        "servers": { "broker": server() },
        "channels": rendered,
        "operations": operations(&channels),
        "components": {
            "securitySchemes": { "password": {
                "type": "userPassword",
                "description": "The AMQP user and password that `holdfast-controller intake add` makes (SASL PLAIN, over TLS).",
            } },
            "messages": components(&messages, &channels),
            "schemas": messages.schemas(),
        },
        "x-rabbitmq-policies": policies()
            .iter()
            .map(|policy| json!({ "name": policy.name, "pattern": policy.pattern, "definition": policy.definition }))
            .collect::<Vec<_>>(),
    })
}

/// The text of `bus-config/asyncapi.json`.
#[must_use]
pub fn asyncapi_text() -> String {
    let mut text = serde_json::to_string_pretty(&asyncapi()).expect("a JSON value has only text keys");
    text.push('\n');
    text
}

fn info() -> Value {
    json!({
        "title": "Holdfast on the bus",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Backup and recovery for OpenStack over RabbitMQ (AMQP 0-9-1). Any service that an operator enrolled \
            may submit jobs and subscribe to facts: docs/intake.md says how. Set the properties `type` (full name of the \
            message), `message_id` (a uuid), `content_type`, `user_id` (your own AMQP user) and `reply_to`; publish \
            persistent, mandatory and confirmed.",
        "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        "tags": [
            { "name": "public", "description": "For every service that is enrolled." },
            { "name": "internal", "description": "Between the services of Holdfast; may change with any version." },
        ],
    })
}

fn server() -> Value {
    json!({
        "host": "broker.example:5671",
        "pathname": format!("/{VHOST}"),
        "protocol": "amqps",
        "protocolVersion": "0.9.1",
        "description": "The site's RabbitMQ, 3.10 or later, in the vhost of Holdfast.",
        "security": [{ "$ref": "#/components/securitySchemes/password" }],
    })
}

/// Where answers go is the caller's choice: its own queue, or the broker's direct reply-to.
fn answers() -> Value {
    json!({
        "address": null,
        "title": "Answers to submitted jobs",
        "description": "Sent to the property reply_to of the job, in the encoding of the job, best effort: whoever missed \
            one submits the same job again with the same idempotency key.",
        "tags": [{ "name": "public" }],
        "messages": refs(["Accepted", "Rejected", "AcceptedJson", "RejectedJson"].map(str::to_owned)),
    })
}

/// By their names in the channel, references to `components`.
fn refs(ids: impl IntoIterator<Item = String>) -> Map<String, Value> {
    let reference = |id: &str| json!({ "$ref": format!("#/components/messages/{id}") });
    ids.into_iter().map(|id| (id.clone(), reference(&id))).collect()
}

fn operations(channels: &[Channel]) -> Map<String, Value> {
    let mut operations = Map::new();
    for channel in channels {
        let amqp = match channel.action {
            "send" => json!({ "deliveryMode": 2, "mandatory": true, "bindingVersion": BINDING_VERSION }),
            _ => json!({ "ack": true, "bindingVersion": BINDING_VERSION }),
        };
        let mut operation = json!({
            "action": channel.action,
            "summary": channel.title,
            "channel": { "$ref": format!("#/channels/{}", channel.id) },
            "tags": [{ "name": channel.tag }],
            "bindings": { "amqp": amqp },
            "x-holdfast-users": { "publish": channel.written_by, "consume": channel.read_by },
        });
        if channel.is_answered {
            operation["reply"] = json!({
                "address": {
                    "location": "$message.header#/reply_to",
                    "description": "The AMQP property reply_to: amq.rabbitmq.reply-to, or the service's own queue.",
                },
                "channel": { "$ref": "#/channels/answers" },
            });
        }
        operations.insert(format!("{}_{}", channel.action, channel.id), operation);
    }
    operations
}

fn components(messages: &Messages, channels: &[Channel]) -> Map<String, Value> {
    let mut components = Map::new();
    let own = ["Accepted", "Rejected"].map(str::to_owned);
    let ids = channels.iter().flat_map(|channel| channel.messages.iter().cloned()).chain(own);
    for id in ids.filter(|id| !id.ends_with(JSON_SUFFIX)) {
        let message = messages.get(&id);
        let component = |content_type: &str, payload: Value| {
            json!({
                "name": message.full_name,
                "title": id,
                "summary": message.summary,
                "contentType": content_type,
                "payload": payload,
                "bindings": { "amqp": { "messageType": message.full_name, "bindingVersion": BINDING_VERSION } },
            })
        };
        if message.speaks_json {
            let payload = json!({ "$ref": format!("#/components/schemas/{}", message.full_name) });
            components.insert(format!("{id}{JSON_SUFFIX}"), component(JSON, payload));
        }
        let payload = json!({ "$ref": format!("#/components/schemas/{}", message.package) });
        components.insert(id.clone(), component(PROTOBUF, payload));
    }
    components
}

/// Of a message in JSON.
const JSON_SUFFIX: &str = "Json";
