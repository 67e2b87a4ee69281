//! The AsyncAPI document, checked by AsyncAPI's own parser.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use bus_config::asyncapi;
use serde_json::{Value, json};

pub(crate) const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/asyncapi.json");
const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/asyncapi");
const FILES: [&str; 3] = ["package.json", "package-lock.json", "check.js"];

/// The tool with the packages of its lock: installed once, beside the build's output and not in the clone.
fn tool() -> &'static Path {
    static TOOL_DIR: OnceLock<PathBuf> = OnceLock::new();
    TOOL_DIR.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        let texts = FILES.map(|file| std::fs::read(Path::new(TOOL).join(file)).unwrap());
        texts.hash(&mut hasher);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("asyncapi-{:016x}", hasher.finish()));
        if !dir.try_exists().unwrap() {
            install(&texts, &dir);
        }
        dir
    })
}

fn install(texts: &[Vec<u8>], dir: &Path) {
    let fresh = dir.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(&fresh).unwrap();
    for (file, text) in FILES.iter().zip(texts) {
        std::fs::write(fresh.join(file), text).unwrap();
    }
    let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
    let output = Command::new("npm").args(npm).current_dir(&fresh).output();
    let output = output.expect("npm is installed: tools/install-deps test installs what is missing");
    assert!(output.status.success(), "npm ci: {}", text(&output));
    // Another process may have been faster; what it installed is the same.
    if std::fs::rename(&fresh, dir).is_err() {
        std::fs::remove_dir_all(&fresh).unwrap();
    }
}

/// What the parser says of each document.
fn check(documents: &[Value]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..documents.len()).map(|index| format!("{index}.json")).collect();
    let mut node = Command::new("node");
    node.arg("check.js").current_dir(tool());
    for (name, document) in names.iter().zip(documents) {
        let file = dir.path().join(name);
        std::fs::write(&file, document.to_string()).unwrap();
        node.arg(file);
    }
    let output = node.output().expect("node is installed: tools/install-deps test installs what is missing");
    let said = text(&output);
    let of = |name: &String| {
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(&format!("/{name}: "))).collect();
        lines.join("\n")
    };
    let by_document: Vec<String> = names.iter().map(of).collect();
    let all_valid = by_document.iter().all(|said| said.contains(": valid: "));
    assert_eq!(output.status.success(), all_valid, "{said}");
    by_document
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_asyncapi_document_is_valid() {
    let said = check(&[asyncapi()]);
    assert!(said[0].contains(": valid: ") && !said[0].contains("error"), "{}", said[0]);
}

#[test]
fn a_document_that_breaks_the_specification_is_found() {
    // Where, what instead, and what the parser must name.
    let broken = [
        ("/info/title", json!(7), "info.title"),
        ("/operations/receive_intake/channel/$ref", json!("#/channels/nowhere"), "nowhere"),
        ("/operations/receive_intake/action", json!("hears"), "receive_intake"),
        ("/channels/sub/bindings/amqp/exchange/type", json!("topical"), "exchange.type"),
        ("/operations/send_sub/bindings/amqp/deliveryMode", json!(7), "deliveryMode"),
        ("/components/schemas/holdfast.intake.v1.SubmitJob/type", json!("objekt"), "SubmitJob"),
        ("/components/securitySchemes/password/type", json!("handshake"), "securitySchemes"),
    ];
    let documents = broken.each_ref().map(|(pointer, instead, _)| {
        let mut document = asyncapi();
        let place = document.pointer_mut(pointer);
        *place.unwrap_or_else(|| panic!("the document has no {pointer}")) = instead.clone();
        document
    });
    for ((pointer, _, names), said) in broken.iter().zip(check(&documents)) {
        assert!(said.contains(": not valid") && said.contains(names), "{pointer}: {said}");
    }
}

#[test]
fn every_queue_of_the_table_has_a_channel_with_messages_and_users() {
    let document = asyncapi();
    let channels = document["channels"].as_object().unwrap();
    let queues = bus_config::base_topology().queues;
    for queue in queues {
        let channel = channels.values().find(|channel| channel["x-rabbitmq"]["queue"] == queue.name.as_str());
        let channel = channel.unwrap_or_else(|| panic!("{} has no channel", queue.name));
        assert!(!channel["messages"].as_object().unwrap().is_empty(), "{}", queue.name);
    }
    assert_eq!(channels["sub"]["address"], "evt.{project}.{kind}.{fact}");
    assert_eq!(channels["intake"]["address"], "job.{job}");
    assert_eq!(channels["mover_host_ctl"]["address"], "mover.host.{host}.ctl.{verb}");
    for operation in document["operations"].as_object().unwrap().values() {
        for side in ["publish", "consume"] {
            assert!(!operation["x-holdfast-users"][side].as_array().unwrap().is_empty(), "{operation}");
        }
    }
}

#[test]
fn every_message_of_the_descriptor_that_is_sent_is_in_the_document() {
    let document = asyncapi();
    let messages = document["components"]["messages"].as_object().unwrap();
    for name in
        ["SubmitJob", "AcceptedJson", "Fact", "TransferDisk", "LeaseGrant", "JobSucceeded", "Heartbeat"]
    {
        assert!(messages.contains_key(name), "{name}");
    }
    let schema = &document["components"]["schemas"]["holdfast.intake.v1.SubmitJob"];
    assert_eq!(schema["properties"]["idempotencyKey"]["type"], "string");
    assert_eq!(schema["allOf"][0]["not"]["required"], json!(["snapshotWorkload", "restoreSnapshot"]));
    assert_eq!(
        document["components"]["schemas"]["holdfast.common.v1.ErrorInfo"]["properties"]["errorClass"]["enum"]
            [5],
        "ERROR_CLASS_PERMANENT"
    );
}

#[test]
fn the_tools_lock_names_no_mirror() {
    let lock = std::fs::read_to_string(Path::new(TOOL).join("package-lock.json")).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    for (name, package) in lock["packages"].as_object().unwrap() {
        let from = package["resolved"].as_str().unwrap_or("https://registry.npmjs.org/");
        assert!(from.starts_with("https://registry.npmjs.org/"), "{name} is from {from}");
        assert!(name.is_empty() || package["integrity"].is_string(), "{name} has no checksum");
    }
}
