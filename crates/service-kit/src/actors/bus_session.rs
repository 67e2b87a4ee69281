//! Watches the session with the broker: tells health and log how it is, and ends the process when the broker refuses us
//! before it ever took us.

use actix::{Actor, Addr, Context, Handler, Message};
use bus::{Session, SessionState};

use crate::{BusHealth, Ping, Service, StartError, drill};

/// The actor's name for watchdog and drill.
const NAME: &str = "bus_session";

/// Owns what is known about the session.
#[derive(Debug)]
pub struct BusSession {
    service: Service,
    ready_once: bool,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Changed(SessionState);

impl BusSession {
    /// Starts watching `session`, and closes it at the end of a drain.
    pub fn start(service: &Service, session: &Session) -> Addr<Self> {
        let actor = Self { service: service.clone(), ready_once: false };
        service.health().set_bus(BusHealth::Connecting(None));
        let address = actor.start();
        service.watchdog().watch(NAME, &address);
        let mut states = session.state();
        let to = address.clone();
        service.supervise("bus_session_states", async move {
            loop {
                let state = states.borrow_and_update().clone();
                let closed = matches!(state, SessionState::Closed);
                if to.send(Changed(state)).await.is_err() || closed || states.changed().await.is_err() {
                    return;
                }
            }
        });
        let session = session.clone();
        service.on_drain("bus session", async move {
            session.close().await;
        });
        address
    }
}

impl Actor for BusSession {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(16); // states are few: one per connect and disconnect
    }
}

impl Handler<Changed> for BusSession {
    type Result = ();
    fn handle(&mut self, Changed(state): Changed, _ctx: &mut Self::Context) {
        drill::maybe_panic(NAME);
        let health = match state {
            SessionState::Connecting { last_error } => {
                if let Some(error) = &last_error {
                    tracing::warn!(error = %error, "not connected to the broker, will try again");
                }
                BusHealth::Connecting(last_error.map(|error| error.to_string()))
            }
            SessionState::Ready { number } => {
                self.ready_once = true;
                tracing::info!(session = number, "connected to the broker");
                BusHealth::Ready(number)
            }
            SessionState::Refused { reason } => {
                if !self.ready_once {
                    self.service.fail(StartError::refused(format!("the broker refused us: {reason}")));
                }
                BusHealth::Refused(reason.to_string())
            }
            SessionState::Closed => BusHealth::Closed,
        };
        self.service.health().set_bus(health);
    }
}

impl Handler<Ping> for BusSession {
    type Result = ();
    fn handle(&mut self, _: Ping, _ctx: &mut Self::Context) {}
}
