//! Freezing and thawing a guest through its agent.
//!
//! A frozen guest's agent answers two questions only: whether it is frozen, and to thaw. So the status is asked first.
//! Each question has a deadline of its own, and all of a freeze ends well within the bound of the datamover, whose timer
//! thaws whatever becomes of us.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloud::{Frozen, Thawed};
use model::InstanceId;
use serde_json::Value;

use crate::Error;
use crate::domain::Agent;
use crate::virsh::Virsh;

/// An agent that is there answers in some milliseconds.
const STATUS_MAX: Duration = Duration::from_secs(4);
/// Flushing a busy guest takes its time. With the status 16 s, of the 20 s that a guest may stay frozen.
const FREEZE_MAX: Duration = Duration::from_secs(12);
/// Less than the 10 s that the thaw timer waits.
const THAW_MAX: Duration = Duration::from_secs(8);

/// The agents of the guests of this host.
#[derive(Debug)]
pub(crate) struct Agents {
    virsh: Virsh,
    /// Guests that were never told to freeze, since their agent did not answer. Nobody need thaw them.
    never_asked: Mutex<BTreeSet<InstanceId>>,
    /// Guests that we told to freeze, and that did not say since that they thawed.
    told_to_freeze: Mutex<BTreeSet<InstanceId>>,
}

impl Agents {
    pub(crate) const fn new(virsh: Virsh) -> Self {
        Self { virsh, never_asked: Mutex::new(BTreeSet::new()), told_to_freeze: Mutex::new(BTreeSet::new()) }
    }

    /// See `cloud::Host::freeze`.
    pub(crate) async fn freeze(&self, instance: InstanceId) -> Result<Frozen, Error> {
        let nothing = Frozen { count: 0 };
        // A paused guest's agent is connected, and cannot answer.
        if !self.is_there(instance).await? || !self.virsh.state(instance).await?.starts_with("running") {
            self.note(instance, true);
            return Ok(nothing);
        }
        let status = match self.virsh.ask_agent(instance, "guest-fsfreeze-status", STATUS_MAX).await {
            Err(Error::AgentSilent { said, .. }) => {
                tracing::warn!(instance_id = %instance, said, "the guest's agent does not answer, the guest is not frozen");
                self.note(instance, true);
                return Ok(nothing);
            }
            status => status?,
        };
        self.note(instance, false);
        if status == "frozen" {
            return Ok(Frozen { count: 1 });
        }
        self.told_to_freeze().insert(instance);
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
            self.told_to_freeze().remove(&instance);
            return Ok(nothing);
        }
        if domain.agent != Agent::Connected {
            if !self.told_to_freeze().contains(&instance) {
                return Ok(nothing);
            }
            let said = "it went away after the guest was frozen".to_owned();
            return Err(Error::AgentSilent { instance, said });
        }
        match self.virsh.ask_agent(instance, "guest-fsfreeze-thaw", THAW_MAX).await {
            Ok(count) => {
                self.told_to_freeze().remove(&instance);
                Ok(Thawed { count: read_count(&count) })
            }
            Err(Error::AgentSilent { .. }) if self.was_never_asked(instance) => Ok(nothing),
            Err(error) => Err(error),
        }
    }

    /// Whether the guest runs, and somebody is at the other end.
    async fn is_there(&self, instance: InstanceId) -> Result<bool, Error> {
        let domain = self.virsh.domain(instance).await?;
        Ok(domain.run_id.is_some() && domain.agent == Agent::Connected)
    }

    fn told_to_freeze(&self) -> MutexGuard<'_, BTreeSet<InstanceId>> {
        self.told_to_freeze.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, instance: InstanceId, is_never_asked: bool) {
        let mut never_asked = self.never_asked.lock().unwrap_or_else(PoisonError::into_inner);
        if is_never_asked {
            never_asked.insert(instance);
        } else {
            never_asked.remove(&instance);
        }
    }

    fn was_never_asked(&self, instance: InstanceId) -> bool {
        self.never_asked.lock().unwrap_or_else(PoisonError::into_inner).contains(&instance)
    }
}

/// How many file systems, by the guest's word.
fn read_count(answer: &Value) -> u32 {
    answer.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}
