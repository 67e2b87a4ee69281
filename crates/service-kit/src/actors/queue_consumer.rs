//! Takes the messages of one queue and hands each to a handler. The ack follows the handler's return: what it made
//! durable is durable by then. A panic in a handler gives the message back to the broker, which counts, and after a few
//! times puts it with the dead letters: one poisonous message does not stop a service.

use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext as _, Context, Handler, Message};
use async_trait::async_trait;
use bus::{Consume, Delivery, Envelope, Session};
use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Ping, Service, drill};

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// Its effect is durable: acknowledge it.
    Done,
    /// Not now: give it back to the broker.
    Retry,
    /// It makes no sense: to the dead letters, with this reason.
    Dead(String),
}

/// What a service does with the messages of one queue. It may be called twice with the same message.
#[async_trait]
pub trait MessageHandler: Send + Sync + 'static {
    /// Acts, makes durable, returns. Runs on the multi-thread runtime.
    async fn handle(&self, envelope: &Envelope) -> Handled;
}

/// Which queue, and how many messages at once.
#[derive(Debug)]
pub struct Consuming {
    /// For watchdog, drill and log, for example `command_consumer`.
    pub actor: String,
    pub consume: Consume,
    /// How many handlers may run at once; 1 keeps the order of the queue.
    pub concurrency: usize,
}

/// How many messages were handled, by outcome, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub done: u64,
    pub retried: u64,
    pub dead: u64,
    pub panicked: u64,
}

/// The actor: owns the counts and starts the handlers.
#[derive(Debug)]
pub struct QueueConsumer<H: MessageHandler> {
    name: String,
    handler: Arc<H>,
    counts: Counts,
}

/// Asks for the counts.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Counts")]
struct ReadCounts;

#[derive(Message)]
#[rtype(result = "()")]
struct Take(Delivery, OwnedSemaphorePermit);

#[derive(Message)]
#[rtype(result = "()")]
struct Ended(Outcome);

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Done,
    Retried,
    Dead,
    Panicked,
}

impl<H: MessageHandler + Unpin> QueueConsumer<H> {
    /// Starts to consume. In a drain it takes no more messages and waits for the handlers that run.
    pub fn start(service: &Service, session: &Session, consuming: Consuming, handler: Arc<H>) -> Addr<Self> {
        let Consuming { actor: name, consume, concurrency } = consuming;
        let actor = Self { name: name.clone(), handler, counts: Counts::default() };
        let address = Actor::start(actor);
        service.watchdog().watch(name.clone(), &address);
        let counted = address.clone();
        let read = move || {
            let counted = counted.clone();
            async move { Self::counts(&counted).await }.boxed()
        };
        service.health().pages().add_consumer(name.clone(), Arc::new(read));
        let mut consumer = session.consume(consume);
        let slots = Arc::new(Semaphore::new(concurrency));
        let all_slots = u32::try_from(concurrency).unwrap_or(u32::MAX);
        let (to, mut drain, free) = (address.clone(), service.drain(), Arc::clone(&slots));
        service.supervise(format!("{name}_loop"), async move {
            loop {
                let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
                let delivery = tokio::select! {
                    biased; // both are cancel safe
                    () = drain.begun() => return,
                    delivery = consumer.next() => delivery,
                };
                let Some(delivery) = delivery else { return };
                // An error: the actor is gone, and its watchdog tells.
                if to.send(Take(delivery, permit)).await.is_err() {
                    return;
                }
            }
        });
        service.on_drain(name, async move {
            // Permits come back when handlers end, or with the loop.
            drop(slots.acquire_many(all_slots).await);
        });
        address
    }

    /// Reads the counts of the consumer at `address`; `None` when it is gone.
    async fn counts(address: &Addr<Self>) -> Option<Counts> {
        address.send(ReadCounts).await.ok()
    }
}

impl<H: MessageHandler + Unpin> Actor for QueueConsumer<H> {
    type Context = Context<Self>;
}

impl<H: MessageHandler + Unpin> Handler<Take> for QueueConsumer<H> {
    type Result = ();
    fn handle(&mut self, Take(delivery, permit): Take, ctx: &mut Self::Context) {
        drill::maybe_panic(&self.name);
        let (handler, actor) = (Arc::clone(&self.handler), self.name.clone());
        let to = ctx.address();
        tokio::spawn(async move {
            let outcome = carry(handler, delivery, &actor).await;
            drop(permit);
            // An error: the actor is gone; nobody counts any more.
            let _ = to.send(Ended(outcome)).await;
        });
    }
}

/// Runs the handler in a task of its own, so that its panic is an answer, and settles the delivery.
async fn carry<H: MessageHandler>(handler: Arc<H>, delivery: Delivery, actor: &str) -> Outcome {
    let envelope = delivery.envelope().clone();
    let type_name = envelope.type_name.clone();
    let message_id = envelope.message_id;
    let drilled = actor.to_owned();
    let handled = tokio::spawn(async move {
        drill::maybe_break_handler(&drilled);
        handler.handle(&envelope).await
    });
    match handled.await {
        Ok(Handled::Done) => {
            delivery.ack().await;
            Outcome::Done
        }
        Ok(Handled::Retry) => {
            delivery.retry().await;
            Outcome::Retried
        }
        Ok(Handled::Dead(reason)) => {
            tracing::warn!(actor, type_name, %message_id, reason, "a message makes no sense and goes to the dead letters");
            delivery.dead_letter(&reason).await;
            Outcome::Dead
        }
        Err(_) => {
            tracing::error!(actor, type_name, %message_id, "a handler panicked, its message goes back to the broker");
            delivery.retry().await;
            Outcome::Panicked
        }
    }
}

impl<H: MessageHandler + Unpin> Handler<Ended> for QueueConsumer<H> {
    type Result = ();
    fn handle(&mut self, Ended(outcome): Ended, _ctx: &mut Self::Context) {
        let count = match outcome {
            Outcome::Done => &mut self.counts.done,
            Outcome::Retried => &mut self.counts.retried,
            Outcome::Dead => &mut self.counts.dead,
            Outcome::Panicked => &mut self.counts.panicked,
        };
        *count += 1;
    }
}

impl<H: MessageHandler + Unpin> Handler<ReadCounts> for QueueConsumer<H> {
    type Result = actix::MessageResult<ReadCounts>;
    fn handle(&mut self, _: ReadCounts, _ctx: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.counts)
    }
}

impl<H: MessageHandler + Unpin> Handler<Ping> for QueueConsumer<H> {
    type Result = ();
    fn handle(&mut self, _: Ping, _ctx: &mut Self::Context) {}
}
