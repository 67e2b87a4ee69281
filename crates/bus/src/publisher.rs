//! Publishing: persistent, mandatory, confirmed.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind, PublisherConfirm};
use tokio::time::{Instant, timeout, timeout_at};

use crate::envelope::{BODY_SIZE_MAX, Envelope};
use crate::link::Link;
use crate::session::{Inner, Shared, WINDOW, amqp_error_id};
use crate::{PublishError, envelope};

/// Long enough for a broker's restart to show as a short delay, short enough for a caller to tell its user.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A quorum queue that elects a new leader confirms after seconds; measured at most 6.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes over whatever connection the session has. Cheap to clone; clones share the window of 200 unconfirmed.
#[derive(Debug, Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
}

impl Publisher {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Publishes and waits for the broker's confirm. While there is no connection, waits up to 5 s for one.
    ///
    /// Errors: see [`PublishError`]; after `Unknown` publish again with the same message id.
    /// Cancel safe: yes; the message may have been sent.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        envelope: &Envelope,
    ) -> Result<(), PublishError> {
        let size = envelope.body.len();
        if size > BODY_SIZE_MAX {
            return Err(PublishError::TooLarge { size, max: BODY_SIZE_MAX });
        }
        let shared = &self.inner.shared;
        let properties = envelope::properties(envelope, &shared.config.user);
        publish(shared, Address { exchange, routing_key }, properties, &envelope.body).await
    }
}

/// Publishes bytes with properties, of whatever size.
pub(crate) async fn publish(
    shared: &Shared,
    address: Address<'_>,
    properties: BasicProperties,
    body: &[u8],
) -> Result<(), PublishError> {
    let Ok(permit) = timeout(CONFIRM_TIMEOUT, shared.window.acquire()).await else {
        let reason = format!("{WINDOW} messages before this one are not confirmed after {CONFIRM_TIMEOUT:?}");
        return Err(PublishError::NotConnected { reason });
    };
    // Nobody closes the semaphore; were it closed, publishing without a window would be harmless.
    let _permit = permit.ok();
    let (link, confirm) = send(shared, address, properties, body).await?;
    let confirmation = timeout(CONFIRM_TIMEOUT, confirm).await;
    match confirmation {
        Ok(Ok(Confirmation::Ack(None))) => Ok(()),
        // The broker confirms what it threw away because no queue takes it.
        Ok(Ok(Confirmation::Ack(Some(_)))) => Err(PublishError::Unroutable {
            exchange: address.exchange.to_owned(),
            routing_key: address.routing_key.to_owned(),
        }),
        Ok(Ok(Confirmation::Nack(_))) => Err(PublishError::Nacked {
            exchange: address.exchange.to_owned(),
            routing_key: address.routing_key.to_owned(),
        }),
        Ok(Ok(Confirmation::NotRequested)) => {
            Err(PublishError::Unknown { reason: "the channel does not confirm".to_owned() })
        }
        Ok(Err(error)) => {
            link.channel_ended.notify_one();
            Err(explain(address, &error))
        }
        Err(_) => Err(PublishError::Unknown { reason: format!("no confirm in {CONFIRM_TIMEOUT:?}") }),
    }
}

/// Sends over the present channel; over the next one if the present one had ended before.
async fn send(
    shared: &Shared,
    address: Address<'_>,
    properties: BasicProperties,
    body: &[u8],
) -> Result<(Arc<Link>, PublisherConfirm), PublishError> {
    let short = |text: &str| {
        ShortString::try_new(text).map_err(|_| PublishError::Refused {
            exchange: address.exchange.to_owned(),
            routing_key: address.routing_key.to_owned(),
            reason: "a name is longer than 255 bytes".to_owned(),
        })
    };
    let (exchange, routing_key) = (short(address.exchange)?, short(address.routing_key)?);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let deadline = Instant::now() + CONNECT_WAIT;
    loop {
        let ready = timeout_at(deadline, ready_channel(shared)).await;
        let Ok(Some((link, channel))) = ready else {
            return Err(PublishError::NotConnected { reason: shared.why_not_connected() });
        };
        let sent =
            channel.basic_publish(exchange.clone(), routing_key.clone(), options, body, properties.clone());
        match timeout(CONFIRM_TIMEOUT, sent).await {
            Ok(Ok(confirm)) => return Ok((link, confirm)),
            Ok(Err(error)) if was_not_sent(&error) => {
                link.channel_ended.notify_one();
                // The channel may not know yet that its connection is gone: let that come through.
                tokio::task::yield_now().await;
            }
            Ok(Err(error)) => {
                link.channel_ended.notify_one();
                return Err(explain(address, &error));
            }
            Err(_) => {
                return Err(PublishError::Unknown { reason: format!("not sent in {CONFIRM_TIMEOUT:?}") });
            }
        }
    }
}

/// Waits for a link with a channel that works; `None` when the session closes. Cancel safe: yes.
async fn ready_channel(shared: &Shared) -> Option<(Arc<Link>, Channel)> {
    let mut links = shared.link.subscribe();
    loop {
        if shared.is_closing() {
            return None;
        }
        let link = links.borrow_and_update().clone();
        let Some(link) = link else {
            tokio::select! {
                biased; // both branches may be dropped at any point
                () = shared.closing() => return None,
                changed = links.changed() => changed.ok()?,
            }
            continue;
        };
        let mut channels = link.channel.subscribe();
        tokio::select! {
            biased; // both branches may be dropped at any point
            channel = channels.wait_for(|channel| channel.status().connected()) => {
                let channel = channel.ok()?.clone();
                return Some((link, channel));
            }
            changed = links.changed() => changed.ok()?,
        }
    }
}

/// lapin refuses to send on a channel or connection that is known to be gone.
fn was_not_sent(error: &lapin::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidChannel(_)
            | ErrorKind::InvalidChannelState(..)
            | ErrorKind::InvalidConnectionState(_)
    )
}

/// A refusal closes the channel, and with it all messages in flight end; the broker's text says which of them was meant:
/// it names the exchange, and the routing key if that was the reason.
fn explain(address: Address<'_>, error: &lapin::Error) -> PublishError {
    let reason = error.to_string();
    let names = |name: &str| reason.contains(&format!("'{name}'"));
    let meant =
        names(address.exchange) && (!reason.contains("access to topic") || names(address.routing_key));
    match amqp_error_id(error) {
        Some(403 | 404) if meant => PublishError::Refused {
            exchange: address.exchange.to_owned(),
            routing_key: address.routing_key.to_owned(),
            reason,
        },
        _ => PublishError::Unknown { reason },
    }
}
