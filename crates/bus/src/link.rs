//! One session's pair of connections, from its opening until either breaks.

use std::time::Duration;

use futures::StreamExt as _;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use runtime::Entropy;
use tokio::sync::{Notify, watch};
use tokio::time::{interval, timeout};

use crate::connect::{ConnectError, connect};
use crate::{BusConfig, config};

/// Events tell of a break at once; this is for the one they might miss.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Opening or closing a channel or a connection on a broker that answers.
pub(crate) const RPC_TIMEOUT: Duration = Duration::from_secs(10);

/// Two connections to one broker: the broker blocks publishers when it runs out of memory, and acks must pass even then.
#[derive(Debug)]
pub(crate) struct Link {
    /// Of the session: grows with each link.
    pub(crate) number: u64,
    pub(crate) publishing: Connection,
    pub(crate) consuming: Connection,
    /// The channel for publishing. The broker closes it on a publish that it does not allow; then there is soon another.
    pub(crate) channel: watch::Sender<Channel>,
    /// Poked by a publisher that saw the channel end.
    pub(crate) channel_ended: Notify,
}

impl Link {
    /// Tries each broker once, in random order.
    ///
    /// Errors: of the brokers' answers the one that needs a human most: a refusal.
    pub(crate) async fn open(config: &BusConfig, number: u64) -> Result<Self, ConnectError> {
        let mut brokers: Vec<(f64, &String)> =
            config.brokers.iter().map(|broker| (Entropy.fraction(), broker)).collect();
        brokers.sort_by(|left, right| left.0.total_cmp(&right.0));
        let mut answer = ConnectError::Failed { reason: "the list of brokers is empty".to_owned() };
        for (_, broker) in brokers {
            match Self::open_one(config, broker, number).await {
                Ok(link) => return Ok(link),
                Err(error) if matches!(answer, ConnectError::Failed { .. }) => answer = error,
                Err(_) => {}
            }
        }
        Err(answer)
    }

    async fn open_one(config: &BusConfig, broker: &str, number: u64) -> Result<Self, ConnectError> {
        let failed = |reason: String| ConnectError::Failed { reason };
        let broker = config::parse_broker(broker).map_err(|error| failed(error.to_string()))?;
        let (publishing, consuming) =
            tokio::try_join!(connect(config, &broker, "publish"), connect(config, &broker, "consume"))?;
        let channel = open_publish_channel(&publishing).await.map_err(failed)?;
        let channel = watch::Sender::new(channel);
        Ok(Self { number, publishing, consuming, channel, channel_ended: Notify::new() })
    }

    /// Keeps the link until it breaks; gives the reason. Opens the publishing channel anew when the broker closed it.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn keep(&self) -> String {
        let mut publishing_events = self.publishing.events_listener();
        let mut consuming_events = self.consuming.events_listener();
        let mut tick = interval(CHECK_INTERVAL);
        let mut last_event = None;
        loop {
            let connected = self.publishing.status().connected() && self.consuming.status().connected();
            if !connected {
                return last_event.unwrap_or_else(|| "the connection to the broker was lost".to_owned());
            }
            if !self.channel.borrow().status().connected() {
                match open_publish_channel(&self.publishing).await {
                    Ok(channel) => drop(self.channel.send_replace(channel)),
                    Err(reason) => return reason,
                }
            }
            // Any order will do: whatever woke us, the state is looked at again.
            tokio::select! {
                event = publishing_events.next() => last_event = describe(event).or(last_event),
                event = consuming_events.next() => last_event = describe(event).or(last_event),
                () = self.channel_ended.notified() => {}
                _ = tick.tick() => {}
            }
        }
    }

    /// Says goodbye to the broker; what it does not hear, it finds out.
    pub(crate) async fn close(&self) {
        let goodbye = async {
            let (first, second) = tokio::join!(
                self.consuming.close(200, "closing".into()),
                self.publishing.close(200, "closing".into())
            );
            for error in [first.err(), second.err()].into_iter().flatten() {
                tracing::debug!(%error, "the connection was gone before its close");
            }
        };
        if timeout(RPC_TIMEOUT, goodbye).await.is_err() {
            tracing::debug!("the broker did not answer the close");
        }
    }
}

async fn open_publish_channel(connection: &Connection) -> Result<Channel, String> {
    let open = async {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok::<_, lapin::Error>(channel)
    };
    match timeout(RPC_TIMEOUT, open).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(format!("failed to open a channel for publishing: {error}")),
        Err(_) => Err(format!("the broker did not open a channel in {RPC_TIMEOUT:?}")),
    }
}

fn describe(event: Option<lapin::Event>) -> Option<String> {
    match event {
        Some(lapin::Event::Error(error)) => Some(format!("the connection to the broker was lost: {error}")),
        Some(lapin::Event::ConnectionBlocked(reason)) => {
            tracing::warn!(reason, "the broker blocks publishers");
            None
        }
        Some(lapin::Event::ConnectionUnblocked) => {
            tracing::info!("the broker takes messages again");
            None
        }
        _ => None,
    }
}
