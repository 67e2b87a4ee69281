//! Freezing and thawing a guest through its agent.
//!
//! A frozen guest's agent answers two questions only: whether it is frozen, and to thaw. So the status is asked first.
//! Each question has a deadline of its own, and all of a freeze ends well within the bound of the datamover, whose timer
//! thaws whatever becomes of us.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloud::{Frozen, Thawed};
use futures::stream::{self, StreamExt as _};
use model::InstanceId;
use serde_json::Value;

use crate::Error;
use crate::domain::Agent;
use crate::virsh::Virsh;

/// An agent that is there answers in some milliseconds.
const STATUS_MAX: Duration = Duration::from_secs(4);
/// Flushing a busy guest takes its time. With the status 16 s, of the 20 s that a guest may stay frozen.
const FREEZE_MAX: Duration = Duration::from_secs(12);
/// Each is a process or two.
const ASKED_AT_ONCE: usize = 8;
/// Less than the 10 s that the thaw timer waits.
const THAW_MAX: Duration = Duration::from_secs(8);

/// The agents of the guests of this host.
#[derive(Debug)]
pub(crate) struct Agents {
    virsh: Virsh,
    /// Absent: nobody knows, as after a restart.
    told: Mutex<BTreeMap<InstanceId, Told>>,
}

/// What a guest was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Its agent did not answer, so it was told nothing, and nobody need thaw it.
    Nothing,
    /// And it did not say since that it thawed.
    Freeze,
}

impl Agents {
    pub(crate) const fn new(virsh: Virsh) -> Self {
        Self { virsh, told: Mutex::new(BTreeMap::new()) }
    }

    /// See `cloud::Host::freeze`.
    pub(crate) async fn freeze(&self, instance: InstanceId) -> Result<Frozen, Error> {
        let nothing = Frozen { count: 0 };
        // A paused guest's agent is connected, and cannot answer.
        let is_there = self.virsh.domain(instance).await?.agent == Agent::Connected;
        if !is_there || !self.virsh.state(instance).await?.starts_with("running") {
            self.note_silent(instance);
            return Ok(nothing);
        }
        let status = match self.virsh.ask_agent(instance, "guest-fsfreeze-status", STATUS_MAX).await {
            Err(Error::AgentSilent { said, .. }) => {
                tracing::warn!(instance_id = %instance, said, "the guest's agent does not answer, the guest is not frozen");
                self.note_silent(instance);
                return Ok(nothing);
            }
            status => status?,
        };
        if status == "frozen" {
            // As after a restart: by whomever it was told, it must be thawed.
            self.told().insert(instance, Told::Freeze);
            return Ok(Frozen { count: 1 });
        }
        self.told().insert(instance, Told::Freeze);
        match self.virsh.ask_agent(instance, "guest-fsfreeze-freeze", FREEZE_MAX).await {
            Ok(count) => Ok(Frozen { count: read_count(&count) }),
            Err(Error::ToolRefused { said, .. }) => Err(Error::FreezeRefused { instance, said }),
            Err(error) => Err(error),
        }
    }

    /// See `cloud::Host::thaw`.
    pub(crate) async fn thaw(&self, instance: InstanceId) -> Result<Thawed, Error> {
        let nothing = Thawed { count: 0 };
        // A guest that was paused while it was frozen is frozen when it goes on: its silence is an error here.
        let domain = self.virsh.domain(instance).await?;
        if domain.run_id.is_none() {
            self.forget(instance, Told::Freeze);
            return Ok(nothing);
        }
        if domain.agent != Agent::Connected {
            if self.told().get(&instance) != Some(&Told::Freeze) {
                return Ok(nothing);
            }
            let said = "it went away after the guest was frozen".to_owned();
            return Err(Error::AgentSilent { instance, said });
        }
        match self.virsh.ask_agent(instance, "guest-fsfreeze-thaw", THAW_MAX).await {
            Ok(count) => {
                self.forget(instance, Told::Freeze);
                Ok(Thawed { count: read_count(&count) })
            }
            Err(Error::AgentSilent { .. }) if self.told().get(&instance) == Some(&Told::Nothing) => {
                Ok(nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// The guests of this host that say that they are frozen.
    pub(crate) async fn list_frozen(&self) -> Result<Vec<InstanceId>, Error> {
        let looks = stream::iter(self.virsh.running().await?).map(|instance| async move {
            // What is not there, or does not answer, cannot be thawed either.
            let is_there = self.virsh.domain(instance).await.is_ok_and(|it| it.agent == Agent::Connected);
            let status = match is_there {
                true => self.virsh.ask_agent(instance, "guest-fsfreeze-status", STATUS_MAX).await.ok(),
                false => None,
            };
            (status? == "frozen").then_some(instance)
        });
        Ok(looks.buffered(ASKED_AT_ONCE).filter_map(|found| async move { found }).collect().await)
    }

    /// Of a guest that is told nothing: one that was told to freeze before may be frozen still.
    fn note_silent(&self, instance: InstanceId) {
        self.told().entry(instance).or_insert(Told::Nothing);
    }

    fn forget(&self, instance: InstanceId, what: Told) {
        let mut told = self.told();
        if told.get(&instance) == Some(&what) {
            told.remove(&instance);
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many file systems, by the guest's word.
fn read_count(answer: &Value) -> u32 {
    answer.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeHost;

    #[tokio::test]
    async fn a_guest_that_was_found_frozen_is_not_taken_for_one_that_need_not_be_thawed() {
        let host = FakeHost::new();
        let agents = Agents::new(host.virsh());
        assert_eq!(agents.freeze(host.instance).await.unwrap(), Frozen { count: 0 }, "nobody answers");
        host.boot_with(1, "connected");
        host.set("agent", "frozen"); // by an earlier process
        assert_eq!(agents.freeze(host.instance).await.unwrap(), Frozen { count: 1 });
        host.boot_with(1, "disconnected");
        let silent = agents.thaw(host.instance).await.unwrap_err();
        assert!(matches!(silent, Error::AgentSilent { .. }), "{silent}");
    }
}
