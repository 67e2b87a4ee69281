//! Rendered files are fresh, and the table keeps its own rules.

#![allow(clippy::unwrap_used)] // helpers of tests too

mod asyncapi;

use bus_config::{
    Class, asyncapi_text, base_topology, definitions_text, host_topology, policies, pool_topology, queue,
};

const RENDERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/definitions.json");

#[test]
fn the_committed_definitions_are_fresh() {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(RENDERED, definitions_text()).unwrap();
    }
    let committed = std::fs::read_to_string(RENDERED).unwrap_or_default();
    assert!(
        committed == definitions_text(),
        "definitions.json is stale: run UPDATE=1 cargo test -p bus-config"
    );
}

#[test]
fn the_committed_asyncapi_document_is_fresh() {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(asyncapi::DOCUMENT, asyncapi_text()).unwrap();
    }
    let committed = std::fs::read_to_string(asyncapi::DOCUMENT).unwrap_or_default();
    assert!(committed == asyncapi_text(), "asyncapi.json is stale: run UPDATE=1 cargo test -p bus-config");
}

#[test]
fn no_delivery_limit_is_below_one() {
    for policy in policies() {
        if let Some(limit) = policy.definition.get("delivery-limit") {
            assert!(limit.as_i64().unwrap() >= 1, "{}", policy.name);
        }
    }
}

#[test]
fn dead_lettering_is_at_least_once_wherever_there_is_dead_lettering() {
    for policy in policies().iter().filter(|policy| policy.definition.contains_key("dead-letter-exchange")) {
        assert_eq!(policy.definition["dead-letter-strategy"], "at-least-once", "{}", policy.name);
        assert_eq!(policy.definition["overflow"], "reject-publish", "{}", policy.name);
    }
}

#[test]
fn dead_letters_of_a_queue_go_to_the_class_that_its_policy_names() {
    let host = "node-1.example".parse().unwrap();
    let mut queues = base_topology().queues;
    queues.extend(host_topology(&host).queues);
    queues.extend(pool_topology(&"ceph".parse().unwrap()).queues);
    for queue in queues {
        let matching: Vec<_> =
            policies().into_iter().filter(|policy| matches(policy.pattern, &queue.name)).collect();
        assert!(matching.len() <= 1, "{} has {} policies", queue.name, matching.len());
        let by_policy = matching
            .first()
            .and_then(|policy| policy.definition.get("dead-letter-routing-key"))
            .and_then(|key| key.as_str().map(str::to_owned));
        let expected = Class::of_queue(&queue.name)
            .filter(|_| ![queue::CTRL_HB, queue::CTRL_EVT].contains(&queue.name.as_str()))
            .map(|class| format!("dead.{}", class.as_str()));
        assert_eq!(by_policy, expected, "{}", queue.name);
    }
}

#[test]
fn queue_arguments_hold_only_the_type() {
    let rendered: serde_json::Value = serde_json::from_str(&definitions_text()).unwrap();
    for queue in rendered["queues"].as_array().unwrap() {
        assert_eq!(queue["arguments"], serde_json::json!({ "x-queue-type": "quorum" }));
    }
    assert!(rendered.get("users").is_none());
}

/// The few regular expressions of the table: `^`, `$`, `\.` and one group of alternatives.
fn matches(pattern: &str, name: &str) -> bool {
    let bare = pattern.trim_start_matches('^').replace("\\.", ".");
    let whole = bare.ends_with('$');
    let bare = bare.trim_end_matches('$');
    let alternatives = match bare.split_once('(') {
        Some((before, group)) => {
            group.trim_end_matches(')').split('|').map(|word| format!("{before}{word}")).collect()
        }
        None => vec![bare.to_owned()],
    };
    alternatives.iter().any(|text| if whole { name == text } else { name.starts_with(text.as_str()) })
}
