//! Listening to a broker that is not ours, such as OpenStack's: a bounded queue of our own, bound to the exchanges of
//! others, of which nothing is ever declared, changed or published to. Lossy on purpose: whoever listens must also look.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use runtime::RetryPolicy;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::envelope::short;
use crate::link::{Link, RPC_TIMEOUT};
use crate::session::{Inner, Pauses, Shared, amqp_error_id, next_link};

/// The pause after a failure.
const REOPEN: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(400), cap: Duration::from_secs(30), attempts_max: None };
const PREFETCH: u16 = 16;
/// A queue that nobody read for this long goes: whoever stops using us is left with nothing of ours.
const EXPIRY: Duration = Duration::from_secs(3_600);

/// What to listen to.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Our own queue, made if missing. Those who name the same one share its messages.
    pub queue: String,
    /// Of others. One is made by its first sender, which may start long after us.
    pub exchanges: Vec<String>,
    /// How often one that is missing is looked for.
    pub look_interval: Duration,
    pub routing_keys: Vec<String>,
    /// What the queue holds at most; beyond it, the oldest go.
    pub messages_max: u32,
}

/// A message of somebody else's, as it came.
#[derive(Debug)]
pub struct Heard {
    pub exchange: String,
    pub routing_key: String,
    pub body: Bytes,
    incoming: lapin::message::Delivery,
    /// Keeps the channel open until the message is settled.
    _channel: Channel,
}

impl Heard {
    /// Settles it. What is dropped unsettled comes again over the next connection.
    pub async fn done(self) {
        // A goodbye that does not arrive: it comes again, and is handled as of once.
        let _ = timeout(RPC_TIMEOUT, self.incoming.acker.ack(BasicAckOptions::default())).await;
    }
}

/// A stream of messages. Dropping it ends the listening.
#[derive(Debug)]
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    problem: watch::Receiver<Option<String>>,
    _session: Arc<Inner>,
}

impl Listener {
    pub(crate) fn start(session: Arc<Inner>, listen: Listen) -> Self {
        let (heard_tx, heard) = mpsc::channel(usize::from(PREFETCH));
        let (problem_tx, problem) = watch::channel(Some("not connected to the broker yet".to_owned()));
        let shared = Arc::clone(&session.shared);
        let worker = Worker { shared, listen, heard: heard_tx, problem: problem_tx };
        session.shared.handle.spawn(worker.run());
        Self { heard, problem, _session: session }
    }

    /// Waits for the next message; `None` after the session's close.
    ///
    /// Cancel safe: yes.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Why less than all is heard at the moment; `None`: all is well.
    #[must_use]
    pub fn problem(&self) -> watch::Receiver<Option<String>> {
        self.problem.clone()
    }
}

struct Worker {
    shared: Arc<Shared>,
    listen: Listen,
    heard: mpsc::Sender<Heard>,
    problem: watch::Sender<Option<String>>,
}

impl Worker {
    async fn run(self) {
        let mut pauses = Pauses::new(REOPEN);
        loop {
            let listened = async {
                let link = next_link(&self.shared).await;
                let begun = Instant::now();
                let reason = self.listen_over(&link).await;
                (reason, begun.elapsed())
            };
            let (reason, lasted) = tokio::select! {
                biased; // what is dropped half way comes again
                () = self.is_over() => return,
                ended = listened => ended,
            };
            tracing::debug!(queue = self.listen.queue, reason, "listening ended, will retry");
            self.problem.send_replace(Some(reason));
            let pause = pauses.after(lasted);
            tokio::select! {
                biased; // both may be dropped at any point
                () = self.is_over() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Returns when nobody listens any more. Cancel safe: yes.
    async fn is_over(&self) {
        tokio::select! {
            biased; // both may be dropped at any point
            () = self.shared.closing() => {}
            () = self.heard.closed() => {}
        }
    }

    /// Listens until the link or the channel breaks; gives the reason.
    async fn listen_over(&self, link: &Link) -> String {
        match self.listen_until_broken(link).await {
            Ok(()) => format!("the broker cancelled the consumer of queue {}", self.listen.queue),
            Err(reason) => reason,
        }
    }

    async fn listen_until_broken(&self, link: &Link) -> Result<(), String> {
        let (channel, mut incoming) = answered(self.open(link)).await?;
        let mut missing = self.bind(link, &channel, &self.listen.exchanges).await?;
        loop {
            self.problem.send_replace(tell_missing(&missing));
            let look_again = Instant::now() + self.listen.look_interval;
            loop {
                let next = tokio::select! {
                    next = incoming.next() => next,
                    () = sleep_until(look_again), if !missing.is_empty() => break,
                };
                let Some(next) = next else { return Ok(()) };
                let incoming = next.map_err(|error| self.explain(&error))?;
                let heard = Heard {
                    exchange: incoming.exchange.as_str().to_owned(),
                    routing_key: incoming.routing_key.as_str().to_owned(),
                    body: Bytes::copy_from_slice(&incoming.data),
                    incoming,
                    _channel: channel.clone(),
                };
                // Fails when nobody listens any more: the message goes back with its channel.
                let _ = self.heard.send(heard).await;
            }
            missing = self.bind(link, &channel, &missing).await?;
        }
    }

    async fn open(&self, link: &Link) -> Result<(Channel, lapin::Consumer), String> {
        let told = |error: lapin::Error| self.explain(&error);
        let channel = link.consuming.create_channel().await.map_err(told)?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(told)?;
        let mut arguments = FieldTable::default();
        let expiry = u32::try_from(EXPIRY.as_millis()).unwrap_or(u32::MAX);
        arguments.insert(short("x-max-length"), AMQPValue::LongUInt(self.listen.messages_max));
        arguments.insert(short("x-overflow"), AMQPValue::LongString("drop-head".into()));
        arguments.insert(short("x-expires"), AMQPValue::LongUInt(expiry));
        // Durable: RabbitMQ 4 refuses others that are not exclusive.
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(short(&self.listen.queue), options, arguments).await.map_err(told)?;
        let consumer = channel
            .basic_consume(
                short(&self.listen.queue),
                short(""),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(told)?;
        Ok((channel, consumer))
    }

    /// Binds the queue to those exchanges that are there; gives the others.
    async fn bind(
        &self,
        link: &Link,
        channel: &Channel,
        exchanges: &[String],
    ) -> Result<Vec<String>, String> {
        let mut missing = Vec::new();
        for exchange in exchanges {
            if !answered(self.is_there(link, exchange)).await? {
                missing.push(exchange.clone());
                continue;
            }
            for key in &self.listen.routing_keys {
                let bound = async {
                    let (queue, exchange) = (short(&self.listen.queue), short(exchange));
                    let options = QueueBindOptions::default();
                    let bound =
                        channel.queue_bind(queue, exchange, short(key), options, FieldTable::default()).await;
                    bound.map_err(|error| self.explain(&error))
                };
                answered(bound).await?;
            }
        }
        Ok(missing)
    }

    /// Asked on a channel of its own: the broker closes the one on which one asks for what is not there.
    async fn is_there(&self, link: &Link, exchange: &str) -> Result<bool, String> {
        let told = |error: lapin::Error| self.explain(&error);
        let channel = link.consuming.create_channel().await.map_err(told)?;
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let asked = channel
            .exchange_declare(short(exchange), ExchangeKind::Topic, passive, FieldTable::default())
            .await;
        match asked {
            Ok(()) => {
                let _ = channel.close(200, short("asked")).await;
                Ok(true)
            }
            Err(error) if amqp_error_id(&error) == Some(404) => Ok(false),
            Err(error) => Err(told(error)),
        }
    }

    fn explain(&self, error: &lapin::Error) -> String {
        let queue = &self.listen.queue;
        match amqp_error_id(error) {
            Some(403) => {
                let user = &self.shared.config.user;
                let exchanges = self.listen.exchanges.join("|");
                let own = queue.replace('.', "\\.");
                format!(
                    "the broker does not let user {user} listen ({error}): it needs the rights configure ^{own}$, write ^{own}$, \
                     read ^({own}|{exchanges})$"
                )
            }
            Some(406) => format!(
                "queue {queue} is there and was made otherwise ({error}): delete it, and it is made anew"
            ),
            _ => format!("listening with queue {queue} ended: {error}"),
        }
    }
}

fn tell_missing(missing: &[String]) -> Option<String> {
    (!missing.is_empty()).then(|| {
        format!(
            "no exchange {} at the broker: nobody sends there yet, or it is named otherwise",
            missing.join(", ")
        )
    })
}

async fn answered<T>(call: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(RPC_TIMEOUT, call)
        .await
        .unwrap_or_else(|_| Err(format!("the broker did not answer in {RPC_TIMEOUT:?}")))
}
