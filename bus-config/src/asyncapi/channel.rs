//! The channels, one for each binding of the table: a queue that is added there without a word here fails the build's tests.

use model::HostName;
use serde_json::{Map, Value, json};

use super::schema::Messages;
use super::{BINDING_VERSION, JSON_SUFFIX, refs};
use crate::{
    Binding, Class, Topology, VHOST, base_topology, exchange, fact, host_topology, pool_topology, queue,
    subscriber_topology, user,
};

/// Stand for the parts of a name that a site chooses.
const HOST: &str = "site-host";
const POOL: &str = "site-pool";
const SERVICE: &str = "site-service";
const PROJECT: &str = "site-project";

/// A channel, and what Holdfast does with it.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) title: &'static str,
    /// As the controller does; of channels between others, as their sender does.
    pub(super) action: &'static str,
    pub(super) tag: &'static str,
    pub(super) written_by: Vec<String>,
    pub(super) read_by: Vec<String>,
    /// Ids of the messages.
    pub(super) messages: Vec<String>,
    pub(super) is_answered: bool,
    address: String,
    exchange: &'static str,
    queue: String,
    parameters: Map<String, Value>,
}

/// What the table does not say of a binding.
struct Words {
    title: &'static str,
    action: &'static str,
    tag: &'static str,
    written_by: Vec<String>,
    read_by: Vec<String>,
    messages: Vec<String>,
    last_word: (&'static str, Value),
}

/// All channels, in the order of the table.
pub(super) fn all(messages: &Messages) -> Vec<Channel> {
    let host: HostName = HOST.parse().expect("a valid name");
    let topologies = [
        base_topology(),
        host_topology(&host),
        pool_topology(&POOL.parse().expect("a valid name")),
        subscriber_topology(SERVICE, &[PROJECT.parse().expect("a valid name")]),
    ];
    let bindings = topologies.into_iter().flat_map(|Topology { bindings, .. }| bindings);
    bindings.map(|binding| Channel::of(&binding, words(&binding, messages))).collect()
}

impl Channel {
    fn of(binding: &Binding, words: Words) -> Self {
        let (name, of_name) = words.last_word;
        let mut parameters = Map::new();
        let mut address = binding.routing_key.clone();
        for (text, part, description) in [
            (HOST, "host", "A compute host's name, with _ for dots."),
            (POOL, "pool", "A pool of datamovers."),
            (PROJECT, "project", "A project's id."),
        ] {
            if address.contains(text) {
                address = address.replace(text, &format!("{{{part}}}"));
                parameters.insert(part.to_owned(), json!({ "description": description }));
            }
        }
        if binding.exchange == exchange::EVT {
            address = address.replacen('*', "{kind}", 1);
            let kinds: Vec<&str> = fact::all().into_iter().map(|(kind, _)| kind).collect();
            parameters
                .insert("kind".to_owned(), json!({ "description": "What it is about.", "enum": kinds }));
        }
        if address.ends_with(['*', '#']) {
            address.pop();
            address.push_str(&format!("{{{name}}}"));
            parameters.insert(name.to_owned(), of_name);
        }
        Self {
            id: id_of(&binding.queue),
            title: words.title,
            action: words.action,
            tag: words.tag,
            written_by: words.written_by,
            read_by: words.read_by,
            messages: words.messages,
            is_answered: binding.queue == queue::INTAKE,
            address,
            exchange: binding.exchange,
            queue: site_words(&binding.queue),
            parameters,
        }
    }

    pub(super) fn render(&self) -> Value {
        let exchanges = crate::definitions()["exchanges"].take();
        let mut exchanges = exchanges.as_array().into_iter().flatten();
        let kind = exchanges.find(|exchange| exchange["name"] == self.exchange);
        let kind = &kind.expect("a binding is to an exchange of the table")["type"];
        let exchange = json!({
            "name": self.exchange, "type": kind, "durable": true, "autoDelete": false, "vhost": VHOST,
        });
        let mut channel = json!({
            "address": self.address,
            "title": self.title,
            "tags": [{ "name": self.tag }],
            "messages": refs(self.messages.iter().cloned()),
            "bindings": { "amqp": {
                "is": "routingKey", "exchange": exchange, "bindingVersion": BINDING_VERSION,
            } },
            "x-rabbitmq": { "queue": self.queue, "arguments": crate::Queue::arguments() },
        });
        if !self.parameters.is_empty() {
            channel["parameters"] = Value::Object(self.parameters.clone());
        }
        channel
    }
}

/// `holdfast.q.ctrl.rep` is `ctrl_rep`.
fn id_of(queue: &str) -> String {
    let name = queue.strip_prefix("holdfast.q.").unwrap_or(queue);
    let words = name.split('.').filter(|word| ![HOST, POOL, SERVICE].contains(word));
    words.collect::<Vec<_>>().join("_")
}

fn site_words(name: &str) -> String {
    name.replace(HOST, "{host}").replace(POOL, "{pool}").replace(SERVICE, "{service}")
}

fn words(binding: &Binding, messages: &Messages) -> Words {
    let internal = |title, action, writers: &[&str], readers: &[&str], messages, last_word| Words {
        title,
        action,
        tag: "internal",
        written_by: writers.iter().map(|&name| name.to_owned()).collect(),
        read_by: readers.iter().map(|&name| name.to_owned()).collect(),
        messages,
        last_word,
    };
    let mover = user::MOVER_PREFIX.to_owned() + "{host}";
    let verb = ("verb", json!({ "description": "The message's name in snake case." }));
    let (controller, dmapi) = (user::CONTROLLER, user::DMAPI);
    match id_of(&binding.queue).as_str() {
        "intake" => intake(),
        "sub" => facts(),
        "ctrl_rep" => internal(
            "Replies of workers",
            "receive",
            &[&mover, dmapi],
            &[controller],
            messages.of_file("rep/v1/rep"),
            ("kind", json!({ "description": "The message's name in snake case." })),
        ),
        "ctrl_hb" => internal(
            "Heartbeats of datamovers",
            "receive",
            &[&mover],
            &[controller],
            messages.of_file("hb/v1/hb"),
            ("host", json!({ "description": "A compute host's name, with _ for dots." })),
        ),
        "ctrl_cloud" => internal(
            "Commands to cloud workers",
            "send",
            &[controller],
            &[controller],
            messages.of_file("cmd/v1/cloud"),
            verb,
        ),
        "dmapi" => internal(
            "Commands to be placed",
            "send",
            &[controller],
            &[dmapi],
            messages.of_file("cmd/v1/mover"),
            verb,
        ),
        "mover_host" => {
            internal("Jobs of one host", "send", &[dmapi], &[&mover], messages.of_file("cmd/v1/mover"), verb)
        }
        "mover_host_ctl" => internal(
            "Control of the jobs of one host",
            "send",
            &[controller],
            &[&mover],
            messages.of_file("cmd/v1/ctl"),
            verb,
        ),
        "mover_pool" => internal(
            "Jobs for any datamover of a pool",
            "send",
            &[dmapi],
            &[&mover],
            messages.of_file("cmd/v1/mover"),
            verb,
        ),
        dead if dead.starts_with("dead_") => {
            let class = Class::ALL.into_iter().find(|class| dead == format!("dead_{}", class.as_str()));
            let (title, of) = dead_letters(class.expect("a queue of dead letters has a class"), messages);
            internal(title, "send", &[controller, dmapi, &mover], &[controller], of, verb)
        }
        other => {
            panic!("the AsyncAPI document has no words for channel {other}: add them in asyncapi/channel.rs")
        }
    }
}

fn intake() -> Words {
    let kinds: Vec<&str> = model::JobKind::ALL.iter().map(|kind| kind.as_str()).collect();
    Words {
        title: "Jobs that other services submit",
        action: "receive",
        tag: "public",
        written_by: vec![user::intake("{service}")],
        read_by: vec![user::CONTROLLER.to_owned()],
        messages: vec!["SubmitJob".to_owned(), format!("SubmitJob{JSON_SUFFIX}")],
        last_word: ("job", json!({ "description": "The kind of job, as granted.", "enum": kinds })),
    }
}

fn facts() -> Words {
    let mut facts: Vec<&str> = fact::all().into_iter().flat_map(|(_, facts)| facts).collect();
    facts.sort_unstable();
    facts.dedup();
    Words {
        title: "Facts: what has which status from now on",
        action: "send",
        tag: "public",
        written_by: vec![user::CONTROLLER.to_owned()],
        read_by: vec![user::intake("{service}")],
        messages: vec!["Fact".to_owned()],
        last_word: ("fact", json!({ "description": "The status that the object has.", "enum": facts })),
    }
}

fn dead_letters(class: Class, messages: &Messages) -> (&'static str, Vec<String>) {
    match class {
        Class::Intake => {
            ("Dead letters of the intake", vec!["SubmitJob".to_owned(), format!("SubmitJob{JSON_SUFFIX}")])
        }
        Class::Ctrl => (
            "Dead letters of the controllers",
            [messages.of_file("rep/v1/rep"), messages.of_file("cmd/v1/cloud")].concat(),
        ),
        Class::Dmapi => ("Dead letters of dmapi", messages.of_file("cmd/v1/mover")),
        Class::Mover => (
            "Dead letters of datamovers",
            [messages.of_file("cmd/v1/mover"), messages.of_file("cmd/v1/ctl")].concat(),
        ),
    }
}
