//! Sends results until they are acknowledged, and announces jobs that wait for a grant until it comes.

use std::sync::Arc;
use std::time::Duration;

use model::JobId;
use service_kit::{Service, drill};
use tokio::sync::mpsc;

use crate::handlers;
use crate::journal::{JobRecord, Phase};
use crate::ports::Ports;

const NAME: &str = "result_sender";

/// 64 jobs may end at the same moment; more are sent with the next round.
const MAILBOX_CAPACITY: usize = 64;

/// How to reach it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResultSender {
    to: mpsc::Sender<Wanted>,
}

#[derive(Debug)]
enum Wanted {
    One(JobId),
    All,
}

/// The other end, before the loop runs.
#[derive(Debug)]
pub struct ResultQueue(mpsc::Receiver<Wanted>);

impl ResultSender {
    /// Makes both ends.
    #[must_use]
    pub fn new() -> (Self, ResultQueue) {
        let (to, from) = mpsc::channel(MAILBOX_CAPACITY);
        (Self { to }, ResultQueue(from))
    }

    /// Sends the result of a job now. When the mailbox is full it goes with the next round.
    pub fn send_soon(&self, job_id: JobId) {
        if self.to.try_send(Wanted::One(job_id)).is_err() {
            tracing::debug!(%job_id, "a result waits for the next round");
        }
    }

    /// Sends all results and announcements now.
    pub fn send_all_soon(&self) {
        if self.to.try_send(Wanted::All).is_err() {
            tracing::debug!("the results wait for the next round");
        }
    }
}

impl ResultQueue {
    /// Starts the loop: what is asked for at once, and everything every `resend`.
    pub fn start(mut self, service: &Service, ports: Arc<Ports>, resend: Duration) {
        let mut drain = service.drain();
        service.supervise(NAME, async move {
            loop {
                let wanted = tokio::select! {
                    biased; // all are cancel safe
                    wanted = self.0.recv() => wanted.unwrap_or(Wanted::All),
                    () = drain.begun() => break,
                    () = tokio::time::sleep(resend) => Wanted::All,
                };
                drill::maybe_panic(NAME);
                send(&ports, wanted).await;
            }
        });
    }
}

/// Sends everything once more; for the end of a drain.
pub(crate) async fn send_all(ports: &Ports) {
    send(ports, Wanted::All).await;
}

async fn send(ports: &Ports, wanted: Wanted) {
    let records = match wanted {
        Wanted::All => ports.journal.blocking().jobs(),
        Wanted::One(job_id) => ports.journal.blocking().job(job_id).into_iter().collect(),
    };
    for record in records {
        let sent = match &record.phase {
            Phase::Finished { .. } => ports.replies.send_result(&record).await,
            Phase::Accepted if needs_lease(&record) => ports.replies.send_accepted(&record, true).await,
            // Running under a lease: heartbeats tell. After a restart it is announced until it is granted anew.
            Phase::Running if needs_lease(&record) && !ports.lease_keeper.holds(record.job_id) => {
                ports.replies.send_accepted(&record, true).await
            }
            Phase::Accepted | Phase::Running | Phase::Settled { .. } => Ok(()),
        };
        if let Err(error) = sent {
            tracing::warn!(job_id = %record.job_id, %error, "failed to send a result, will try again");
            return; // the broker is away: the next session sends all
        }
    }
}

fn needs_lease(record: &JobRecord) -> bool {
    handlers::parse(&record.command_type, &record.command).is_ok_and(|(_, work)| work.needs_lease())
}
