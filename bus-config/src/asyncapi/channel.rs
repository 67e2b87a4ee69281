//! The channels, one for each binding of the table: a queue that is added there without a word here fails the build's tests.

use model::HostName;
use serde_json::{Map, Value, json};

use super::schema::Messages;
use super::{BINDING_VERSION, JSON_SUFFIX, refs};
use crate::definitions::EXCHANGE_KIND;
use crate::{
    Binding, Topology, VHOST, base_topology, exchange, fact, host_topology, key, pool_topology, queue,
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
        if address == key::FACTS_OF_ALL_PROJECTS {
            address = address.replacen('*', PROJECT, 1);
        }
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
        let exchange = json!({
            "name": self.exchange, "type": EXCHANGE_KIND, "durable": true, "autoDelete": false, "vhost": VHOST,
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
    let id = id_of(&binding.queue);
    match id.as_str() {
        "intake" => return intake(),
        "sub" => return facts(),
        _ => {}
    }
    let row = INTERNAL.iter().find(|row| row.id == id);
    let row = row.unwrap_or_else(|| {
        panic!("the AsyncAPI document has no words for channel {id}: add them in asyncapi/channel.rs")
    });
    let users = |names: &[&str]| {
        let whole = |name: &&str| {
            if *name == user::MOVER_PREFIX { format!("{name}{{host}}") } else { (*name).to_owned() }
        };
        names.iter().map(whole).collect()
    };
    Words {
        title: row.title,
        action: row.action,
        tag: "internal",
        written_by: users(row.written_by),
        read_by: users(row.read_by),
        messages: if id == "dead_intake" {
            intake().messages
        } else {
            row.files.iter().flat_map(|file| messages.of_file(file)).collect()
        },
        last_word: (row.last_word.0, json!({ "description": row.last_word.1 })),
    }
}

/// A channel between the services of Holdfast.
struct Internal {
    id: &'static str,
    title: &'static str,
    action: &'static str,
    written_by: &'static [&'static str],
    read_by: &'static [&'static str],
    files: &'static [&'static str],
    last_word: (&'static str, &'static str),
}

const VERB: (&str, &str) = ("verb", "The message's name in snake case.");
const CONTROLLER: &[&str] = &[user::CONTROLLER];
const DMAPI: &[&str] = &[user::DMAPI];
const MOVER: &[&str] = &[user::MOVER_PREFIX];
const WORKERS: &[&str] = &[user::DMAPI, user::MOVER_PREFIX];

#[rustfmt::skip] // a table
const INTERNAL: [Internal; 12] = [
    row(("ctrl_rep", "Replies of workers"), "receive", (WORKERS, CONTROLLER), &["rep/v1/rep"], ("kind", VERB.1)),
    row(("ctrl_hb", "Heartbeats of datamovers and dmapi"), "receive", (WORKERS, CONTROLLER), &["hb/v1/hb"], ("host", "A compute host's name, with _ for dots.")),
    row(("ctrl_evt", "Facts that OpenStack is told"), "send", (CONTROLLER, CONTROLLER), &["evt/v1/evt"], ("fact", "The status from now on.")),
    row(("ctrl_cloud", "Commands to cloud workers"), "send", (CONTROLLER, CONTROLLER), &["cmd/v1/cloud"], VERB),
    row(("dmapi", "Commands to be placed"), "send", (CONTROLLER, DMAPI), &["cmd/v1/mover", "cmd/v1/examine"], VERB),
    row(("mover_host", "Jobs of one host"), "send", (DMAPI, MOVER), &["cmd/v1/mover"], VERB),
    row(("mover_host_ctl", "Control of the jobs of one host"), "send", (CONTROLLER, MOVER), &["cmd/v1/ctl", "cmd/v1/examine"], VERB),
    row(("mover_pool", "Jobs for any datamover of a pool"), "send", (DMAPI, MOVER), &["cmd/v1/mover"], VERB),
    // Dead letters: whoever could not use a message lays it there.
    row(("dead_intake", "Dead letters of the intake"), "send", (CONTROLLER, CONTROLLER), &[], VERB),
    row(("dead_ctrl", "Dead letters of the controllers"), "send", (CONTROLLER, CONTROLLER), &["rep/v1/rep", "cmd/v1/cloud"], VERB),
    row(("dead_dmapi", "Dead letters of dmapi"), "send", (DMAPI, CONTROLLER), &["cmd/v1/mover", "cmd/v1/examine"], VERB),
    row(("dead_mover", "Dead letters of datamovers"), "send", (MOVER, CONTROLLER), &["cmd/v1/mover", "cmd/v1/ctl", "cmd/v1/examine"], VERB),
];

/// A row, with who writes and who reads.
const fn row(
    (id, title): (&'static str, &'static str),
    action: &'static str,
    (written_by, read_by): (&'static [&'static str], &'static [&'static str]),
    files: &'static [&'static str],
    last_word: (&'static str, &'static str),
) -> Internal {
    Internal { id, title, action, written_by, read_by, files, last_word }
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
