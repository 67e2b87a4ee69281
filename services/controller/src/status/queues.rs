//! The figures of queues, from the broker's management API: only there are messages counted that a consumer holds. A user
//! with the tag `monitoring` and no rights asks.

use std::time::{Duration, Instant};

use broker_admin::{Admin, Error, QueueInfo};
use model::Failure;
use rest_api::{PartState, Reach};

/// The broker counts every 5 s by default: asking more often tells nothing new.
const ASK_INTERVAL: Duration = Duration::from_secs(4);
/// A broker that works lists thousands of queues within a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for queues, at most every few seconds.
#[derive(Debug)]
pub struct QueueMonitor {
    admin: Option<Admin>,
    last: Option<(Instant, Result<Vec<QueueInfo>, PartState>)>,
}

impl QueueMonitor {
    /// A monitor of the configured broker; without one it says so.
    #[must_use]
    pub const fn new(admin: Option<Admin>) -> Self {
        Self { admin, last: None }
    }

    /// Lists the queues, by name; or says why not. `now`: see `Clock::monotonic`.
    pub async fn look(&mut self, now: Instant) -> Result<Vec<QueueInfo>, PartState> {
        if let Some((asked_at, answer)) = &self.last
            && now.duration_since(*asked_at) < ASK_INTERVAL
        {
            return answer.clone();
        }
        let answer = self.ask().await;
        self.last = Some((now, answer.clone()));
        answer
    }

    async fn ask(&self) -> Result<Vec<QueueInfo>, PartState> {
        let Some(admin) = &self.admin else {
            let reason = "the controller's config has no [broker]".to_owned();
            return Err(PartState::not(Reach::NotConfigured, reason));
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, admin.queues()).await {
            Ok(Ok(mut queues)) => {
                queues.sort_by(|one, other| one.name.cmp(&other.name));
                Ok(queues)
            }
            Ok(Err(error)) => {
                let reach =
                    if matches!(error, Error::Refused { .. }) { Reach::Refused } else { Reach::Unreachable };
                let Failure { message, code, .. } = error.failure();
                Err(PartState::not(reach, format!("{message} [{code}]")))
            }
            Err(_) => {
                let reason = format!(
                    "the management API did not answer within {} s [BROKER_ADMIN_UNREACHABLE]",
                    ANSWER_TIMEOUT.as_secs()
                );
                Err(PartState::not(Reach::Unreachable, reason))
            }
        }
    }
}
