//! Freezes a guest, for a bounded time. The thaw timer is armed, and the journal written, before the guest is touched: no
//! crash of ours leaves a guest frozen.

use std::time::Duration;

use async_trait::async_trait;
use model::{ErrorClass, Failure, InstanceId};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::GuestFrozen;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};

/// With these nothing was touched, and nothing may be thawed.
const NO_GUEST_OF_OURS: [&str; 2] = ["FOREIGN_INSTANCE", "INSTANCE_NOT_FOUND"];

#[derive(Debug)]
pub(super) struct FreezeGuest {
    instance_id: InstanceId,
    /// `None`: the config's bound.
    duration_max: Option<Duration>,
}

impl FreezeGuest {
    pub(super) fn parse(message: &cmd::FreezeGuest) -> Result<Self, Malformed> {
        let millis = message.freeze_duration_max_ms;
        Ok(Self {
            instance_id: convert::id("instance_id", &message.instance_id)?,
            duration_max: (millis > 0).then(|| Duration::from_millis(millis.into())),
        })
    }

    /// The guest is or may be thawed already: a snapshot taken now would not be what it says.
    fn too_late(&self, reason: &str) -> Halt {
        Halt::failed(Failure::new(
            ErrorClass::Transient,
            "FREEZE_TOO_LONG",
            format!("the freeze of instance {} {reason}; the guest is thawed", self.instance_id),
        ))
    }
}

#[async_trait]
impl Work for FreezeGuest {
    async fn run(&self, job: &Job) -> Outcome {
        let (ports, instance) = (&job.ports, self.instance_id);
        let bound = ports.settings.freeze_duration_max;
        let duration_max = self.duration_max.map_or(bound, |asked| asked.min(bound));
        let job_id = job.id;
        ports
            .journal
            .run(move |journal| journal.note_freeze(instance, job_id))
            .await
            .map_err(|error| Halt::effect_free(error.failure()))?;
        ports.thaw_timer.arm(instance, duration_max).await;
        match tokio::time::timeout(duration_max, ports.host.freeze(instance)).await {
            Err(_) => {
                ports.thaw_timer.arm(instance, Duration::ZERO).await;
                Err(self.too_late("did not end in time"))
            }
            Ok(Err(failure)) if NO_GUEST_OF_OURS.contains(&failure.code.as_str()) => {
                ports.thaw_timer.disarm(instance).await;
                ports
                    .journal
                    .run(move |journal| journal.note_thaw(instance))
                    .await
                    .map_err(|error| Halt::failed(error.failure()))?;
                Err(Halt::effect_free(failure))
            }
            Ok(Err(failure)) => {
                // A freeze may fail half way: the timer thaws what there is to thaw.
                ports.thaw_timer.arm(instance, Duration::ZERO).await;
                Err(Halt::failed(failure))
            }
            Ok(Ok(frozen)) if ports.thaw_timer.is_armed(instance).await => {
                Ok(Reply::GuestFrozen(GuestFrozen { frozen_count: frozen.count }))
            }
            Ok(Ok(_)) => {
                ports.thaw_timer.arm(instance, Duration::ZERO).await;
                Err(self.too_late("ended after the guest had been thawed by its timer"))
            }
        }
    }

    /// Whatever the guest is, the snapshot's moment is gone.
    async fn run_again(&self, job: &Job) -> Outcome {
        job.ports.thaw_timer.arm(self.instance_id, Duration::ZERO).await;
        Err(self.too_late("was interrupted by a restart of the datamover"))
    }
}
