//! Routing keys. Every part that comes from outside is a typed name, so that it is exactly one word.

use model::{HostName, PoolName, ProjectId};

use crate::Class;

/// To the controllers' cloud workers: `cloud.<verb>`.
#[must_use]
pub fn cloud(verb: &str) -> String {
    format!("cloud.{verb}")
}

/// To be placed by dmapi: `dmapi.<verb>`.
#[must_use]
pub fn dmapi(verb: &str) -> String {
    format!("dmapi.{verb}")
}

/// To the datamover of a host: `mover.host.<hostword>.<verb>`.
#[must_use]
pub fn mover_host(host: &HostName, verb: &str) -> String {
    format!("mover.host.{}.{verb}", host.routing_word())
}

/// Control of the jobs of a host: `mover.host.<hostword>.ctl.<verb>`.
#[must_use]
pub fn mover_host_ctl(host: &HostName, verb: &str) -> String {
    format!("mover.host.{}.ctl.{verb}", host.routing_word())
}

/// To any datamover of a pool: `mover.pool.<pool>.<verb>`.
#[must_use]
pub fn mover_pool(pool: &PoolName, verb: &str) -> String {
    format!("mover.pool.{pool}.{verb}")
}

/// A reply: `rep.<kind>`, for example `rep.job_succeeded`.
#[must_use]
pub fn reply(kind: &str) -> String {
    format!("rep.{kind}")
}

/// A heartbeat: `hb.<hostword>`.
#[must_use]
pub fn heartbeat(host: &HostName) -> String {
    format!("hb.{}", host.routing_word())
}

/// A heartbeat of dmapi: it lives on no host of ours, and tells in the message where it runs.
pub const DMAPI_HEARTBEAT: &str = "hb.dmapi";

/// A public fact: `evt.<project>.<kind>.<fact>`.
#[must_use]
pub fn fact(project: &ProjectId, kind: &str, fact: &str) -> String {
    format!("evt.{project}.{kind}.{fact}")
}

/// The binding of a subscriber who may know of every project.
pub const FACTS_OF_ALL_PROJECTS: &str = "evt.*.*.*";

/// A job asked for by another service: `job.<kind>`, `snapshot` or `restore`.
#[must_use]
pub fn intake(kind: &str) -> String {
    format!("job.{kind}")
}

/// A dead letter: `dead.<class>`.
#[must_use]
pub fn dead(class: Class) -> String {
    format!("dead.{}", class.as_str())
}

/// The verb of a key: its last word.
#[must_use]
pub fn verb_of(routing_key: &str) -> &str {
    routing_key.rsplit('.').next().unwrap_or(routing_key)
}

/// The verb (or kind of reply) of a message by its full proto name: `holdfast.cmd.v1.TransferDisk` is `transfer_disk`.
#[must_use]
pub fn verb_of_type(type_name: &str) -> String {
    let mut verb = String::with_capacity(type_name.len());
    for letter in verb_of(type_name).chars() {
        if letter.is_ascii_uppercase() && !verb.is_empty() {
            verb.push('_');
        }
        verb.push(letter.to_ascii_lowercase());
    }
    verb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_the_last_word_of_a_key() {
        assert_eq!(verb_of("mover.host.h_1.ctl.lease_grant"), "lease_grant");
        assert_eq!(verb_of("alone"), "alone");
    }

    #[test]
    fn a_verb_is_the_snake_case_of_the_message() {
        assert_eq!(verb_of_type("holdfast.cmd.v1.TransferDisk"), "transfer_disk");
        assert_eq!(verb_of_type("holdfast.rep.v1.JobSucceeded"), "job_succeeded");
    }

    #[test]
    fn a_host_with_dots_is_one_word() {
        let host: HostName = "node-1.rack2.example".parse().unwrap();
        assert_eq!(mover_host(&host, "freeze_guest"), "mover.host.node-1_rack2_example.freeze_guest");
        assert_eq!(mover_host_ctl(&host, "abort_job"), "mover.host.node-1_rack2_example.ctl.abort_job");
        assert_eq!(heartbeat(&host), "hb.node-1_rack2_example");
    }
}
