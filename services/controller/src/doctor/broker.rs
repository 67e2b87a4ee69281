//! What is at the broker, held against what `bus-config` says should be: exchanges, queues, bindings, policies, and whether
//! anybody reads the queues of ours.

use std::collections::BTreeSet;

use broker_admin::{Admin, SeenQueue, SeenTopology};
use bus_config::{Binding, Topology, base_topology, host_topology, policies, pool_topology, queue};
use catalog::{Catalog, ServiceKind, ServiceRow};
use model::{Check, PoolName};
use serde_json::Value;

const INIT: &str = "run holdfast-controller broker init";
const ADD: &str = "run holdfast-controller host add for the host, with its pools";

/// Examines the broker by its management API. Codes: `BROKER_NOT_WATCHED`, `BROKER_ADMIN_…`, `EXCHANGE_MISSING`, `QUEUE_MISSING`,
/// `QUEUE_DIFFERS`, `QUEUE_UNREAD`, `BINDING_MISSING`, `POLICY_DIFFERS`.
pub(super) async fn examine(monitor: Option<Admin>, catalog: Catalog) -> Vec<Check> {
    let Some(monitor) = monitor else {
        let message = "the config has no [broker]: queues and bindings are not looked at; add management_url and password_file";
        return vec![Check::warn("broker topology", "BROKER_NOT_WATCHED", message)];
    };
    let services = async { catalog.read().await?.list_services().await };
    // An error: the check of the catalog has it.
    let (seen, services) = (monitor.topology().await, services.await.unwrap_or_default());
    match seen {
        Ok(seen) => compare(&seen, &services),
        Err(error) => vec![Check::of("broker topology", Err::<String, _>(error.failure()))],
    }
}

/// What every site has, for a controller that does not run yet.
pub(super) async fn examine_base(monitor: &Admin) -> Vec<Check> {
    match monitor.topology().await {
        Ok(seen) => {
            let checks = compare_topology(&seen, &base_topology(), INIT);
            if checks.is_empty() { vec![Check::ok("broker topology", "as it should be")] } else { checks }
        }
        Err(error) => vec![Check::of("broker topology", Err::<String, _>(error.failure()))],
    }
}

/// What is amiss; or that all is well.
fn compare(seen: &SeenTopology, services: &[ServiceRow]) -> Vec<Check> {
    let movers = services.iter().filter(|service| service.kind == ServiceKind::Datamover);
    let hosts = movers.clone().map(|service| (host_topology(&service.host), ADD));
    let pools: BTreeSet<&PoolName> = movers.clone().flat_map(|service| &service.pools).collect();
    let pools = pools.into_iter().map(|pool| (pool_topology(pool), ADD));
    let mut checks = Vec::new();
    let mut queue_count = 0;
    for (topology, advice) in [(base_topology(), INIT)].into_iter().chain(hosts).chain(pools) {
        queue_count += topology.queues.len();
        checks.extend(compare_topology(seen, &topology, advice));
    }
    if checks.is_empty() {
        let message = format!("{queue_count} queues are as they should be");
        checks.push(Check::ok("broker topology", message));
    }
    let ours = [queue::CTRL_REP, queue::CTRL_HB, queue::CTRL_CLOUD, queue::INTAKE, queue::DMAPI];
    checks.extend(ours.into_iter().filter_map(|name| unread(seen, name)));
    checks
}

fn compare_topology(seen: &SeenTopology, expected: &Topology, advice: &str) -> Vec<Check> {
    let missing = |subject: String, code: &str| {
        Check::fail(subject, code, format!("it is not at the broker: {advice}"))
    };
    let mut checks = Vec::new();
    for exchange in &expected.exchanges {
        match seen.exchanges.get(exchange.name) {
            None => checks.push(missing(format!("exchange {}", exchange.name), "EXCHANGE_MISSING")),
            Some(kind) if kind == bus_config::EXCHANGE_KIND => {}
            Some(kind) => {
                let message = format!(
                    "it is of type {kind} and not {}: delete it, and {advice}",
                    bus_config::EXCHANGE_KIND
                );
                checks.push(Check::fail(format!("exchange {}", exchange.name), "EXCHANGE_MISSING", message));
            }
        }
    }
    for queue in &expected.queues {
        let subject = format!("queue {}", queue.name);
        let Some(found) = seen.queues.get(&queue.name) else {
            checks.push(missing(subject, "QUEUE_MISSING"));
            continue;
        };
        if found.arguments != bus_config::Queue::arguments() {
            let message = format!(
                "it was declared with {}, and should be with {}: stop its readers, delete it when it is empty, and {advice}",
                found.arguments,
                bus_config::Queue::arguments()
            );
            checks.push(Check::fail(subject, "QUEUE_DIFFERS", message));
        } else if let Some(reason) = policy_differs(found) {
            checks.push(Check::fail(subject, "POLICY_DIFFERS", format!("{reason}: {INIT}")));
        }
    }
    for Binding { exchange, queue, routing_key } in &expected.bindings {
        let wanted = ((*exchange).to_owned(), queue.clone(), routing_key.clone());
        if !seen.bindings.contains(&wanted) {
            checks.push(missing(
                format!("binding of {queue} to {exchange} by {routing_key}"),
                "BINDING_MISSING",
            ));
        }
    }
    checks
}

/// Whether another policy than one of ours rules the queue, or ours says something else at this broker.
fn policy_differs(found: &SeenQueue) -> Option<String> {
    let name = found.policy.as_deref().filter(|name| !name.is_empty());
    let Some(name) = name else { return Some("no policy holds for it".to_owned()) };
    let Some(policy) = policies().into_iter().find(|policy| policy.name == name) else {
        return Some(format!("policy {name}, which is none of ours, holds for it"));
    };
    let rules = found.rules.as_ref().and_then(Value::as_object);
    let holds = |(key, value): (&String, &Value)| rules.and_then(|rules| rules.get(key)) == Some(value);
    (!policy.definition.iter().all(holds)).then(|| format!("policy {name} says something else"))
}

/// A queue without a reader: its service is down, or has no right to read it.
fn unread(seen: &SeenTopology, name: &str) -> Option<Check> {
    let found = seen.queues.get(name)?;
    (found.consumers == 0).then(|| {
        let message = "nobody reads it: is its service running, and has its user the right to? (holdfast-controller broker check)";
        Check::fail(format!("queue {name}"), "QUEUE_UNREAD", message)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A broker as it should be, its queues read.
    fn make_seen() -> SeenTopology {
        let base = base_topology();
        let queue = |queue: &bus_config::Queue| {
            let policy = policies().into_iter().find(|policy| match policy.name {
                "holdfast-intake" => queue.name == queue::INTAKE,
                "holdfast-ctrl" => [queue::CTRL_REP, queue::CTRL_CLOUD].contains(&queue.name.as_str()),
                "holdfast-dmapi" => queue.name == queue::DMAPI,
                "holdfast-dead" => queue.name.contains(".dead."),
                "holdfast-evt" => queue.name == queue::CTRL_EVT,
                name => name == "holdfast-hb" && queue.name == queue::CTRL_HB,
            });
            let policy = policy.expect("each queue of the base has one");
            let seen = SeenQueue {
                arguments: bus_config::Queue::arguments(),
                policy: Some(policy.name.to_owned()),
                rules: Some(Value::Object(policy.definition)),
                consumers: 1,
            };
            (queue.name.clone(), seen)
        };
        let exchange = |exchange: &bus_config::Exchange| {
            (exchange.name.to_owned(), bus_config::EXCHANGE_KIND.to_owned())
        };
        let binding = |binding: &Binding| {
            (binding.exchange.to_owned(), binding.queue.clone(), binding.routing_key.clone())
        };
        SeenTopology {
            exchanges: base.exchanges.iter().map(exchange).collect(),
            queues: base.queues.iter().map(queue).collect(),
            bindings: base.bindings.iter().map(binding).collect(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut SeenTopology), expected: &[&str]) {
        let mut seen = make_seen();
        change(&mut seen);
        let checks = compare(&seen, &[]);
        let codes: Vec<_> = checks.iter().map(|check| check.code.as_str()).collect();
        assert_eq!(codes, expected, "{checks:?}");
    }

    fn queue<'a>(seen: &'a mut SeenTopology, name: &str) -> &'a mut SeenQueue {
        seen.queues.get_mut(name).unwrap()
    }

    #[test]
    fn what_is_missing_at_the_broker_is_named() {
        check(|_| {}, &[""]);
        check(|seen| drop(seen.exchanges.remove("holdfast.evt")), &["EXCHANGE_MISSING"]);
        check(|seen| seen.exchanges = BTreeMap::from([]), &["EXCHANGE_MISSING"; 6]);
        check(|seen| drop(seen.queues.remove(queue::DMAPI)), &["QUEUE_MISSING"]);
        check(|seen| drop(seen.bindings.pop_first()), &["BINDING_MISSING"]);
    }

    #[test]
    fn a_queue_that_is_another_or_otherwise_ruled_or_that_nobody_reads_is_named() {
        check(|seen| queue(seen, queue::CTRL_HB).arguments = serde_json::json!({}), &["QUEUE_DIFFERS"]);
        check(|seen| queue(seen, queue::CTRL_HB).policy = None, &["POLICY_DIFFERS"]);
        check(|seen| queue(seen, queue::CTRL_HB).policy = Some("ours".to_owned()), &["POLICY_DIFFERS"]);
        check(|seen| queue(seen, queue::CTRL_HB).rules = None, &["POLICY_DIFFERS"]);
        check(|seen| queue(seen, queue::DMAPI).consumers = 0, &["", "QUEUE_UNREAD"]);
    }

    #[test]
    fn the_queues_of_a_host_and_its_pools_are_looked_for_too() {
        let host = ServiceRow {
            kind: ServiceKind::Datamover,
            host: "node-1".parse().unwrap(),
            boot_id: String::new(),
            version: None,
            pools: vec!["ceph".parse().unwrap()],
            capabilities: None,
            started_at: model::Timestamp(0),
            seen_at: model::Timestamp(0),
        };
        let checks = compare(&make_seen(), &[host]);
        let missing = checks.iter().filter(|check| check.code == "QUEUE_MISSING");
        assert_eq!(missing.count(), 3, "{checks:?}");
        assert!(checks.iter().all(|check| check.message.contains("host add")), "{checks:?}");
    }
}
