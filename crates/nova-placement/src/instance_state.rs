//! From Nova's states to an answer. The same for databases and compute API, which tell the same words.

use cloud::Located;
use model::{HostName, InstanceId};

use crate::error::Error;

/// Tasks during which an instance's disks go from one host to another, or may.
const MOVES: [&str; 6] =
    ["migrating", "resize_prep", "resize_migrating", "resize_migrated", "resize_finish", "resize_reverting"];

/// What Nova says of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InstanceState {
    pub(crate) host: Option<String>,
    pub(crate) vm_state: String,
    pub(crate) task_state: Option<String>,
    pub(crate) is_deleted: bool,
}

impl InstanceState {
    /// Where an instance of this state is.
    ///
    /// A resized one that waits for its confirmation is on its new host, a shelved one that was not offloaded yet on its
    /// old; one that is being deleted is on its host until it is not.
    pub(crate) fn locate(self, id: InstanceId) -> Result<Located, Error> {
        if self.is_deleted || ["deleted", "soft-delete"].contains(&self.vm_state.as_str()) {
            return Ok(Located::Deleted);
        }
        if self.vm_state == "shelved_offloaded" {
            // A task: it is on its way back, and gets host and disks before its state changes.
            let is_idle = self.task_state.is_none();
            return Ok(if is_idle { Located::Shelved } else { Located::Building });
        }
        let Some(host) = self.host.filter(|host| !host.is_empty()) else {
            return Ok(if self.vm_state == "error" { Located::NeverPlaced } else { Located::Building });
        };
        let host = host.parse::<HostName>().map_err(|_| Error::HostName { id, host })?;
        Ok(match self.task_state.as_deref() {
            Some(task) if MOVES.contains(&task) => Located::Migrating { from: host },
            _ if self.vm_state == "building" => Located::Building,
            _ => Located::On(host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, vm_state: &str, task_state: &str, expected: &Located) {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let state = InstanceState {
            host: some(host),
            vm_state: vm_state.to_owned(),
            task_state: some(task_state),
            is_deleted: false,
        };
        assert_eq!(
            state.locate(InstanceId::from_uuid(runtime::Entropy.uuid())).unwrap(),
            *expected,
            "{vm_state} {task_state}"
        );
    }

    #[test]
    fn an_instance_that_rests_is_on_its_host() {
        let here = Located::On("node-1".parse().unwrap());
        let states = ["active", "paused", "suspended", "stopped", "rescued", "resized", "shelved", "error"];
        for state in states {
            check("node-1", state, "", &here);
        }
        for task in
            ["powering-off", "rebooting", "image_snapshot", "deleting", "shelving", "resize_confirming"]
        {
            check("node-1", "active", task, &here);
        }
    }

    #[test]
    fn an_instance_under_way_is_not_on_the_host_that_it_leaves() {
        for task in MOVES {
            check("node-1", "active", task, &Located::Migrating { from: "node-1".parse().unwrap() });
        }
    }

    #[test]
    fn an_instance_without_a_host_is_shelved_or_being_built_or_was_never_placed() {
        check("", "shelved_offloaded", "", &Located::Shelved);
        check("", "shelved_offloaded", "unshelving", &Located::Building);
        check("node-1", "shelved_offloaded", "spawning", &Located::Building);
        check("", "building", "scheduling", &Located::Building);
        check("node-1", "building", "spawning", &Located::Building);
        check("", "error", "", &Located::NeverPlaced);
    }

    #[test]
    fn a_deleted_instance_is_deleted_whatever_else_is_said_of_it() {
        check("node-1", "soft-delete", "", &Located::Deleted);
        check("", "deleted", "", &Located::Deleted);
        let state =
            InstanceState { vm_state: "active".to_owned(), is_deleted: true, ..InstanceState::default() };
        assert_eq!(state.locate(InstanceId::from_uuid(runtime::Entropy.uuid())).unwrap(), Located::Deleted);
    }

    #[test]
    fn a_host_that_is_no_name_is_said_and_not_used() {
        let state = InstanceState {
            host: Some("node 1/../x".to_owned()),
            vm_state: "active".to_owned(),
            ..InstanceState::default()
        };
        let failure =
            model::Failure::from(state.locate(InstanceId::from_uuid(runtime::Entropy.uuid())).unwrap_err());
        assert_eq!(failure.code, "HOST_NAME_UNUSABLE");
    }
}
