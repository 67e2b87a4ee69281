//! Whose word counts for what: who may have sent a message, and who may have laid it among the dead letters. A dead letter
//! that is sent again acts with its sender's rights, so what it says of itself is held against this.

use crate::{base_topology, exchange, key, queue, user};

/// Whether the rights of `user` let it publish there.
#[must_use]
pub fn may_send(user: &str, exchange: &str, routing_key: &str) -> bool {
    match user {
        user::CONTROLLER => true,
        user::DMAPI => match exchange {
            exchange::CMD => routing_key.starts_with("mover."),
            exchange::REP => {
                [key::reply("job_failed"), key::reply("examined")].contains(&routing_key.to_owned())
            }
            exchange::HB => routing_key == key::DMAPI_HEARTBEAT,
            _ => false,
        },
        _ => match (user::host_of_mover(user), exchange) {
            (Some(_), exchange::REP) => routing_key.starts_with("rep."),
            (Some(host), exchange::HB) => routing_key == key::heartbeat(&host),
            (None, exchange::INTAKE) => {
                user.starts_with(user::INTAKE_PREFIX) && routing_key.starts_with("job.")
            }
            _ => false,
        },
    }
}

/// Whether `user` alone reads `queue`, so that its word on what came from there is as good as its own messages. The queue
/// of a pool has many readers: none of them may speak for it towards the others.
#[must_use]
pub fn may_lay(user: &str, queue: &str) -> bool {
    match user {
        user::CONTROLLER => {
            [queue::INTAKE, queue::CTRL_REP, queue::CTRL_HB, queue::CTRL_CLOUD, queue::CTRL_EVT]
                .contains(&queue)
        }
        user::DMAPI => queue == queue::DMAPI,
        _ => user::host_of_mover(user).is_some_and(|host| {
            [queue::mover_host(&host), queue::mover_host_ctl(&host)].contains(&queue.to_owned())
        }),
    }
}

/// Whether a message published there comes to `queue`.
#[must_use]
pub fn leads_to(exchange: &str, routing_key: &str, queue: &str) -> bool {
    let base = base_topology();
    let mut bindings =
        base.bindings.iter().filter(|binding| binding.exchange == exchange && binding.queue == queue);
    bindings.any(|binding| is_matched(&binding.routing_key, routing_key))
        || (exchange == exchange::CMD && is_movers(queue, routing_key))
}

/// As the broker matches: `*` is one word, `#` at the end one or more.
fn is_matched(pattern: &str, routing_key: &str) -> bool {
    let (mut patterns, mut words) = (pattern.split('.'), routing_key.split('.'));
    loop {
        match (patterns.next(), words.next()) {
            (None, None) => return true,
            (Some("#"), Some(word)) => return !word.is_empty(),
            (Some("*"), Some(word)) if !word.is_empty() => {}
            (Some(wanted), Some(word)) if wanted == word => {}
            _ => return false,
        }
    }
}

/// Hosts and pools are not in the base table: `holdfast.q.mover.<words>` takes `mover.<words>.<verb>`.
fn is_movers(queue: &str, routing_key: &str) -> bool {
    let words = queue.strip_prefix("holdfast.q.").filter(|words| words.starts_with("mover."));
    words.is_some_and(|words| is_matched(&format!("{words}.*"), routing_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_may_have_sent_what_its_rights_allow() {
        for (user, exchange, routing_key, expected) in [
            (user::CONTROLLER, exchange::CMD, "cloud.delete_volume", true),
            (user::DMAPI, exchange::CMD, "mover.host.a.freeze_guest", true),
            (user::DMAPI, exchange::CMD, "cloud.delete_volume", false),
            (user::DMAPI, exchange::REP, "rep.job_failed", true),
            (user::DMAPI, exchange::REP, "rep.job_succeeded", false),
            (user::DMAPI, exchange::HB, "hb.dmapi", true),
            (user::DMAPI, exchange::HB, "hb.a", false),
            ("holdfast-mover-a", exchange::REP, "rep.job_succeeded", true),
            ("holdfast-mover-a", exchange::HB, "hb.a", true),
            ("holdfast-mover-a", exchange::HB, "hb.b", false),
            ("holdfast-mover-a", exchange::CMD, "mover.host.a.freeze_guest", false),
            ("holdfast-intake-billing", exchange::INTAKE, "job.snapshot", true),
            ("holdfast-intake-billing", exchange::CMD, "cloud.delete_volume", false),
            ("somebody", exchange::INTAKE, "job.snapshot", false),
        ] {
            assert_eq!(may_send(user, exchange, routing_key), expected, "{user} {exchange} {routing_key}");
        }
    }

    #[test]
    fn nobody_speaks_for_a_queue_that_others_read_too() {
        for (user, queue, expected) in [
            (user::CONTROLLER, queue::INTAKE, true),
            (user::CONTROLLER, queue::DMAPI, false),
            (user::DMAPI, queue::DMAPI, true),
            ("holdfast-mover-node.1", "holdfast.q.mover.host.node_1", true),
            ("holdfast-mover-node.1", "holdfast.q.mover.host.node_1.ctl", true),
            ("holdfast-mover-node.1", "holdfast.q.mover.host.node_2", false),
            ("holdfast-mover-node.1", "holdfast.q.mover.pool.default", false),
            ("holdfast-mover-node.1", queue::CTRL_CLOUD, false),
            ("holdfast-intake-billing", queue::INTAKE, false),
        ] {
            assert_eq!(may_lay(user, queue), expected, "{user} {queue}");
        }
    }

    #[test]
    fn a_key_leads_to_the_queue_that_the_table_binds() {
        for (exchange, routing_key, queue, expected) in [
            (exchange::CMD, "cloud.delete_volume", queue::CTRL_CLOUD, true),
            (exchange::CMD, "cloud.delete.volume", queue::CTRL_CLOUD, false),
            (exchange::REP, "rep.job_failed", queue::CTRL_REP, true),
            (exchange::CMD, "rep.job_failed", queue::CTRL_REP, false),
            (exchange::INTAKE, "job.snapshot.now", queue::INTAKE, true),
            (exchange::CMD, "mover.host.a.freeze_guest", "holdfast.q.mover.host.a", true),
            (exchange::CMD, "mover.host.a.ctl.abort_job", "holdfast.q.mover.host.a.ctl", true),
            (exchange::CMD, "mover.host.a.ctl.abort_job", "holdfast.q.mover.host.a", false),
            (exchange::CMD, "mover.host.b.freeze_guest", "holdfast.q.mover.host.a", false),
            (exchange::CMD, "mover.pool.ceph.write_disk", "holdfast.q.mover.pool.ceph", true),
            (exchange::CMD, "cloud.delete_volume", "holdfast.q.mover.host.a", false),
            (exchange::CMD, "mover.host.a.", "holdfast.q.mover.host.a", false),
        ] {
            assert_eq!(leads_to(exchange, routing_key, queue), expected, "{exchange} {routing_key} {queue}");
        }
    }
}
