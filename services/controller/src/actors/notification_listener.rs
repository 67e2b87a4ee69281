//! Listens to what the cloud tells of itself, and notes what happened to protected instances and volumes. Of what was deleted
//! or detached, kept bases go at once, so that users can delete their volumes. What is not heard `base_keeper` finds later:
//! nothing relies on it.

use std::time::Duration;

use bus::{Heard, Listen, Listener, Session};
use catalog::{NotificationRow, SubjectKind};
use cloud::{Notification, Subject};
use model::{CloudChange, WorkloadId};
use service_kit::telemetry::Chain;
use service_kit::{Drain, Service, drill};

use super::patience::patiently;
use crate::app::bases;
use crate::config::NotificationsSection;
use crate::engine;
use crate::state::AppState;

/// A burst of a large site; beyond it the oldest go.
const MESSAGES_MAX: u32 = 10_000;
/// For an exchange that nobody has sent to yet.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Reads a message; `None`: nothing for us, or no notification at all.
pub type Read = fn(&[u8]) -> Option<Notification>;

/// Starts to listen.
pub fn start(
    service: &Service,
    session: &Session,
    section: &NotificationsSection,
    state: AppState,
    read: Read,
) {
    let listener = session.listen(Listen {
        queue: section.queue.clone(),
        exchanges: section.exchanges.clone(),
        routing_keys: section
            .topics
            .iter()
            .flat_map(|topic| [format!("{topic}.info"), format!("{topic}.error")])
            .collect(),
        look_interval: LOOK_INTERVAL,
        messages_max: MESSAGES_MAX,
    });
    let drain = service.drain();
    service.supervise("notification_listener", listen(listener, drain, Ears { state, read }));
}

struct Ears {
    state: AppState,
    read: Read,
}

async fn listen(mut listener: Listener, mut drain: Drain, ears: Ears) {
    let mut problem = listener.problem();
    let mut until_drain = drain.clone();
    loop {
        drill::maybe_panic("notification_listener");
        tokio::select! {
            biased; // all are cancel safe
            () = until_drain.begun() => return,
            changed = problem.changed() => {
                if changed.is_err() { return; }
                tell(problem.borrow_and_update().as_deref());
            }
            heard = listener.next() => {
                let Some(heard) = heard else { return };
                ears.take(heard, &mut drain).await;
            }
        }
    }
}

fn tell(problem: Option<&str>) {
    match problem {
        Some(reason) => tracing::warn!(reason, "the cloud's notifications are not heard in full, will retry"),
        None => tracing::info!("the cloud's notifications are heard"),
    }
}

impl Ears {
    async fn take(&self, heard: Heard, drain: &mut Drain) {
        if let Some(notification) = (self.read)(&heard.body) {
            let noted = patiently(drain, "notification_listener", || async {
                Ok::<_, engine::Error>(self.note(&notification).await?)
            })
            .await;
            match noted {
                Ok(workloads) => {
                    tell_noted(&notification, &workloads);
                    if frees_bases(notification.change) {
                        self.release_bases(&workloads, drain).await;
                    }
                }
                // It comes again over the next connection.
                Err(_) if drain.has_begun() => return,
                Err(refusal) => tracing::warn!(?refusal, "a notification of the cloud could not be noted"),
            }
        }
        heard.done().await;
    }

    async fn release_bases(&self, workloads: &[WorkloadId], drain: &mut Drain) {
        for workload in workloads {
            tokio::select! {
                biased; // both are cancel safe: what a look began to write is rolled back
                () = drain.begun() => return,
                released = bases::release_needless(&self.state, Some(*workload)) => {
                    if let Err(error) = released {
                        tracing::warn!(error = %Chain(&error), "kept bases could not be looked at, will try again");
                    }
                }
            }
        }
    }

    /// Notes it at each workload that it concerns; gives those that did not know.
    async fn note(&self, notification: &Notification) -> Result<Vec<WorkloadId>, catalog::Error> {
        let mut tx = self.state.catalog.begin().await?;
        let (subject_kind, subject_id, workloads) = match notification.subject {
            Subject::Instance(id) => {
                let found = tx.get_workload_instance(id).await?;
                (SubjectKind::Instance, id.uuid(), found.into_iter().map(|row| row.workload_id).collect())
            }
            Subject::Volume(id) => (SubjectKind::Volume, id.uuid(), tx.workloads_of_volume(id).await?),
        };
        let mut told = Vec::new();
        for workload_id in workloads {
            let row = NotificationRow {
                id: self.state.entropy.uuid(),
                workload_id,
                subject_kind,
                subject_id,
                change: notification.change,
                detail: notification.detail.clone(),
                happened_at: notification.happened_at,
            };
            if tx.insert_notification(&row).await? {
                told.push(workload_id);
            }
        }
        tx.commit().await?;
        Ok(told)
    }
}

/// After these, nothing may build on a base any more.
const fn frees_bases(change: CloudChange) -> bool {
    matches!(change, CloudChange::Deleted | CloudChange::VolumeDetached)
}

fn tell_noted(notification: &Notification, workloads: &[WorkloadId]) {
    let Notification { subject, change, detail, .. } = notification;
    for workload_id in workloads {
        tracing::info!(%workload_id, ?subject, %change, detail, "the cloud tells of a change");
    }
}
