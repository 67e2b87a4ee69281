//! Consuming: by hand acked, checked for its sender, over reconnects.

use std::convert::Infallible;
use std::mem::replace;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use runtime::RetryPolicy;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::delivery::{Delivery, Held};
use crate::envelope::{self, Envelope, short};
use crate::link::{Link, RPC_TIMEOUT};
use crate::session::{Inner, Pauses, Shared, amqp_error_id, next_link};

/// A queue that is missing is looked for at least every 10 s: a host is enrolled while its datamover already runs.
const REOPEN: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(400), cap: Duration::from_secs(10), attempts_max: None };

/// Whose messages a consumer takes. The broker validated the user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptFrom {
    /// Anybody who says who he is.
    AnyUser,
    /// Users with one of these names, or with a name that begins with one of these prefixes.
    Users { names: Vec<String>, prefixes: Vec<String> },
}

impl AcceptFrom {
    /// Only these users.
    #[must_use]
    pub fn users<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        Self::Users { names: names.into_iter().map(Into::into).collect(), prefixes: Vec::new() }
    }

    /// Also users whose name begins with `prefix`, for example `bus_config::user::MOVER_PREFIX`.
    #[must_use]
    pub fn or_prefix(self, prefix: &str) -> Self {
        match self {
            Self::AnyUser => Self::AnyUser,
            Self::Users { names, mut prefixes } => {
                prefixes.push(prefix.to_owned());
                Self::Users { names, prefixes }
            }
        }
    }

    /// Whether messages of `user` are taken.
    #[must_use]
    pub fn accepts(&self, user: &str) -> bool {
        match self {
            Self::AnyUser => true,
            Self::Users { names, prefixes } => {
                names.iter().any(|name| name == user)
                    || prefixes.iter().any(|prefix| user.starts_with(prefix))
            }
        }
    }
}

/// What to consume.
#[derive(Debug, Clone)]
pub struct Consume {
    pub queue: String,
    /// How many may be unacked at a time.
    pub prefetch: u16,
    pub accept_from: AcceptFrom,
}

/// A stream of deliveries. Dropping it stops taking; what was handed out may still be acked.
#[derive(Debug)]
pub struct Consumer {
    deliveries: mpsc::Receiver<Delivery>,
    problem: watch::Receiver<Option<String>>,
    _session: Arc<Inner>,
}

impl Consumer {
    pub(crate) fn start(session: Arc<Inner>, consume: Consume) -> Self {
        // The prefetch bounds what the broker sends, so the channel never fills before it does.
        let (deliveries_tx, deliveries) = mpsc::channel(usize::from(consume.prefetch.max(1)));
        let (problem_tx, problem) = watch::channel(Some("not connected to a broker yet".to_owned()));
        let worker = Worker {
            shared: Arc::clone(&session.shared),
            consume,
            deliveries: deliveries_tx,
            problem: problem_tx,
        };
        session.shared.handle.spawn(worker.run());
        Self { deliveries, problem, _session: session }
    }

    /// Waits for the next message of an accepted sender; `None` after the session's close.
    /// Messages that are too large, malformed or of somebody else are dead-lettered before they get here.
    ///
    /// Cancel safe: yes.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.deliveries.recv().await?;
            // What came over a connection that is gone cannot be acked and comes again: work on it would be done twice.
            if delivery.is_current() {
                return Some(delivery);
            }
        }
    }

    /// Why nothing is being consumed at the moment; `None`: all is well.
    #[must_use]
    pub fn problem(&self) -> watch::Receiver<Option<String>> {
        self.problem.clone()
    }
}

/// The task behind a consumer, on the threads of the bus.
struct Worker {
    shared: Arc<Shared>,
    consume: Consume,
    deliveries: mpsc::Sender<Delivery>,
    problem: watch::Sender<Option<String>>,
}

/// Why consuming over one channel ended.
enum Ended {
    /// The consumer was dropped, or the session closed.
    ForGood,
    /// The channel ended, or never began.
    Broken { reason: String },
}

impl Worker {
    async fn run(self) {
        let mut pauses = Pauses::new(REOPEN);
        loop {
            let link = tokio::select! {
                biased; // all branches may be dropped at any point
                () = self.shared.closing() => return,
                () = self.deliveries.closed() => return,
                link = next_link(&self.shared) => link,
            };
            let begun = Instant::now();
            match self.consume_over(&link).await {
                Ended::ForGood => return,
                Ended::Broken { reason } => self.tell(reason, &link),
            }
            let pause = pauses.after(begun.elapsed());
            tokio::select! {
                biased; // all branches may be dropped at any point
                () = self.shared.closing() => return,
                () = self.deliveries.closed() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// A lost connection is told by the session; what is wrong with this queue only is told here.
    fn tell(&self, reason: String, link: &Link) {
        let of_session = self.shared.current_number() != Some(link.number);
        let news = self.problem.borrow().as_ref() != Some(&reason);
        if of_session || !news {
            tracing::debug!(queue = self.consume.queue, reason, "consuming ended, will retry");
        } else {
            tracing::warn!(queue = self.consume.queue, reason, "failed to consume, will retry");
        }
        self.problem.send_replace(Some(reason));
    }

    /// Takes one message at a time, until one comes that nobody had before: one of those that come again may have killed
    /// the process that had it, and at each death the broker counts a delivery of all that was in hand. Alone, it reaches
    /// the queue's limit alone.
    async fn consume_over(&self, link: &Link) -> Ended {
        match self.consume_until_ended(link).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn consume_until_ended(&self, link: &Link) -> Result<Infallible, Ended> {
        let (mut channel, mut incoming) = self.open(link, 1).await?;
        let mut is_careful = self.consume.prefetch > 1;
        self.problem.send_replace(None);
        loop {
            let next = tokio::select! {
                biased; // all branches may be dropped at any point: what lapin holds is requeued with its channel
                () = self.shared.closing() => return Err(Ended::ForGood),
                () = self.deliveries.closed() => return Err(Ended::ForGood),
                next = incoming.next() => next,
            };
            let next = next.ok_or_else(|| {
                let reason = format!("the broker cancelled the consumer of queue {}", self.consume.queue);
                Ended::Broken { reason }
            })?;
            let delivery = next.map_err(|error| self.broken(&error))?;
            let is_new = !delivery.redelivered;
            let held = Held {
                shared: Arc::clone(&self.shared),
                incoming: delivery,
                queue: self.consume.queue.clone(),
                number: link.number,
                _channel: channel.clone(),
            };
            if is_careful && is_new {
                is_careful = false;
                // Before the message is handed over: until it is settled the broker sends no other this way, so none is
                // overtaken; and there is no moment in which the queue has no consumer.
                let wide = self.open(link, self.consume.prefetch).await?;
                let (narrow, of_one) = (replace(&mut channel, wide.0), replace(&mut incoming, wide.1));
                self.answered(narrow.basic_cancel(of_one.tag(), BasicCancelOptions::default())).await?;
            }
            self.admit(held).await;
        }
    }

    async fn open(&self, link: &Link, prefetch: u16) -> Result<(Channel, lapin::Consumer), Ended> {
        let open = async {
            let channel = link.consuming.create_channel().await?;
            channel.basic_qos(prefetch.max(1), BasicQosOptions::default()).await?;
            let queue = short(&self.consume.queue);
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(queue, short(""), options, FieldTable::default()).await?;
            Ok((channel, consumer))
        };
        self.answered(open).await
    }

    async fn answered<T>(&self, call: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, Ended> {
        match timeout(RPC_TIMEOUT, call).await {
            Ok(answer) => answer.map_err(|error| self.broken(&error)),
            Err(_) => Err(Ended::Broken { reason: format!("the broker did not answer in {RPC_TIMEOUT:?}") }),
        }
    }

    fn broken(&self, error: &lapin::Error) -> Ended {
        Ended::Broken { reason: self.explain(error) }
    }

    /// Hands over what an accepted user sent well formed; the rest goes to the dead letters.
    async fn admit(&self, held: Held) {
        let verdict = envelope::parse(&held.incoming)
            .map_err(|malformed| malformed.to_string())
            .and_then(|envelope| self.check_sender(&envelope).map(|()| envelope));
        match verdict {
            Ok(envelope) => {
                // Fails when the consumer was dropped: the message goes back with its channel.
                let _ = self.deliveries.send(Delivery::new(envelope, held)).await;
            }
            Err(reason) => {
                // On a task of its own: while the broker is slow to confirm, good messages go on.
                self.shared.handle.spawn(async move { held.dead_letter(&reason).await });
            }
        }
    }

    fn check_sender(&self, envelope: &Envelope) -> Result<(), String> {
        match &envelope.user_id {
            None => {
                Err("NO_USER_ID: the message does not say who sent it; set the property user_id".to_owned())
            }
            Some(user) if self.consume.accept_from.accepts(user) => Ok(()),
            Some(user) => {
                Err(format!("FOREIGN_USER: {user} may not send messages to {}", self.consume.queue))
            }
        }
    }

    fn explain(&self, error: &lapin::Error) -> String {
        let queue = &self.consume.queue;
        match amqp_error_id(error) {
            Some(403) => {
                format!("the broker does not let user {} read queue {queue}", self.shared.config.user)
            }
            Some(404) => format!(
                "queue {queue} does not exist: enrol the host with `holdfast-controller host add`, or import bus-config/definitions.json"
            ),
            _ => format!("consuming from queue {queue} ended: {error}"),
        }
    }
}
