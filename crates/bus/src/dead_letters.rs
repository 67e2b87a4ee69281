//! Looking through the dead letters, and settling some of them.
//!
//! A look takes every letter of a class off its queue without acknowledging any, settles those that are to go, and gives
//! the rest back in one stroke: what is kept keeps its order. When we die in between, all of it comes back, what was in our
//! hands behind the rest (measured on RabbitMQ 3.10), which is why lists go by the time of death. The queue's delivery limit is out of reach (`bus_config`), so looking destroys nothing. One look at a time; a letter that another
//! controller looks at right now is not seen.

use std::sync::Arc;

use bus_config::{Class, queue};
use lapin::Channel;
use lapin::message::Delivery as Incoming;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::envelope::short;
use crate::letter::{Letter, NotRetriable};
use crate::link::RPC_TIMEOUT;
use crate::publisher::{Address, publish};
use crate::session::Inner;
use crate::{Error, PublishError};

/// A look is bounded; whoever has more letters than this settles some, and looks again.
const LOOK_MAX: usize = 5_000;

/// What is to become of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes back to where it came from.
    Retry,
    /// It is destroyed.
    Drop,
}

/// Why a letter stayed that should have gone.
#[derive(Debug, thiserror::Error)]
pub enum Stayed {
    #[error("the letter cannot be sent again: {0}")]
    NotRetriable(#[from] NotRetriable),
    #[error("the letter was not sent again and stays")]
    NotSent(#[source] PublishError),
    #[error("the broker did not hear that the letter is settled: {reason}")]
    NotSettled { reason: String },
}

/// What became of a letter that was to go.
#[derive(Debug)]
pub struct Settled {
    pub id: String,
    pub class: Class,
    pub verdict: Verdict,
    pub outcome: Result<(), Stayed>,
}

/// The dead letters of the bus. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    inner: Arc<Inner>,
    turn: Arc<Mutex<()>>,
}

impl DeadLetters {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, turn: Arc::default() }
    }

    /// Looks at each letter of `class`, in the order of its queue, and does with it what `decide` says.
    /// Letters that arrive meanwhile are for the next look. What became of those that were to go is told at once.
    ///
    /// A letter that is sent again leaves only after the broker's confirm that its queue has it.
    /// Errors: `NotConnected`, `Look`: nothing was settled but what was told, and every other letter is where it was.
    pub async fn look<D, T>(&self, class: Class, mut decide: D, mut tell: T) -> Result<(), Error>
    where
        D: FnMut(&Letter) -> Verdict + Send,
        T: FnMut(Settled) + Send,
    {
        let _turn = self.turn.lock().await;
        let channel = self.open_channel(class).await?;
        let mut left_count = LOOK_MAX;
        while left_count > 0 {
            let Some(got) = self.get(class, &channel).await? else { break };
            let remaining = usize::try_from(got.message_count).unwrap_or(usize::MAX);
            // The first answer says how many there are: a letter that dies again at once is not met twice.
            left_count = (left_count - 1).min(remaining);
            let letter = Letter::read(class, &got.delivery);
            let verdict = decide(&letter);
            let outcome = match verdict {
                Verdict::Keep => continue,
                Verdict::Retry => self.send_again(&letter, &got.delivery).await,
                Verdict::Drop => ack(&got.delivery).await,
            };
            tell(Settled { id: letter.id, class, verdict, outcome });
        }
        give_back(class, &channel).await
    }

    async fn open_channel(&self, class: Class) -> Result<Channel, Error> {
        let shared = &self.inner.shared;
        let not_connected = || Error::NotConnected { reason: shared.why_not_connected() };
        let link = shared.current_link().ok_or_else(not_connected)?;
        answered(class, link.consuming.create_channel()).await
    }

    async fn get(
        &self,
        class: Class,
        channel: &Channel,
    ) -> Result<Option<lapin::message::BasicGetMessage>, Error> {
        let queue = queue::dead(class);
        answered(class, channel.basic_get(short(&queue), BasicGetOptions::default())).await
    }

    async fn send_again(&self, letter: &Letter, incoming: &Incoming) -> Result<(), Stayed> {
        let origin = letter.origin()?;
        let shared = &self.inner.shared;
        let properties = letter.retry_properties(&incoming.properties, &origin, &shared.config.user);
        let address = Address { exchange: &origin.exchange, routing_key: &origin.routing_key };
        publish(shared, address, properties, &incoming.data).await.map_err(Stayed::NotSent)?;
        ack(incoming).await
    }
}

/// Everything on the channel that is not settled goes back, in order; closing waits until the broker has heard that.
async fn give_back(class: Class, channel: &Channel) -> Result<(), Error> {
    let everything = BasicNackOptions { multiple: true, requeue: true };
    answered(class, async {
        channel.basic_nack(0, everything).await?;
        channel.close(200, "done looking".into()).await
    })
    .await
}

async fn ack(incoming: &Incoming) -> Result<(), Stayed> {
    let not_settled = |reason: String| Stayed::NotSettled { reason };
    match timeout(RPC_TIMEOUT, incoming.acker.ack(BasicAckOptions::default())).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(not_settled("its channel is closed".to_owned())),
        Ok(Err(error)) => Err(not_settled(error.to_string())),
        Err(_) => Err(not_settled(format!("no answer in {RPC_TIMEOUT:?}"))),
    }
}

async fn answered<T>(class: Class, call: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, Error> {
    let queue = queue::dead(class);
    match timeout(RPC_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Look { queue, source }),
        Err(_) => {
            Err(Error::NotConnected { reason: format!("the broker did not answer in {RPC_TIMEOUT:?}") })
        }
    }
}
