//! The guard at the end of every world: no dead letter that was not announced.

use std::time::Duration;

use anyhow::Result;
use bus::{BusConfig, Session};
use bus_config::{Class, VHOST, queue};
use rest_api::DeadLetterSummary;
use secrecy::SecretString;

use crate::world::World;

const LOOK_DEADLINE: Duration = Duration::from_secs(60);

impl World {
    /// Lists the dead letters, as an operator sees them.
    pub fn list_dead_letters(&self) -> Result<Vec<DeadLetterSummary>> {
        Ok(self.block_on(self.client.list_dead_letters(None, None))?)
    }

    /// Says that this world may end with dead letters.
    pub fn announce_dead_letters(&self) {
        self.dead_letters_announced.set(true);
    }

    /// Counts the dead letters with the broker itself: the controller may be what is broken.
    fn count_dead_letters(&self) -> Result<u32> {
        let password = std::fs::read_to_string(self.places.etc().join("monitor.password"))?;
        self.block_on(async {
            let session = self.session_as(bus_config::user::MONITOR, password.into())?;
            session.wait_ready(LOOK_DEADLINE).await?;
            let mut count = 0;
            for class in Class::ALL {
                count +=
                    session.inspect_queue(&queue::dead(class)).await?.map_or(0, |counts| counts.messages);
            }
            session.close().await;
            Ok(count)
        })
    }

    /// A session of a user of the broker.
    pub fn session_as(&self, user: &str, password: SecretString) -> Result<Session> {
        let config = BusConfig {
            brokers: vec![self.broker.amqp_url()],
            vhost: VHOST.to_owned(),
            user: user.to_owned(),
            password,
            connection_name: format!("{user} (test)"),
        };
        Ok(Session::start(config)?)
    }

    /// Panics when dead letters are left that nobody announced.
    pub(crate) fn require_no_dead_letters(&self) {
        if self.dead_letters_announced.get() || std::thread::panicking() {
            return;
        }
        match self.count_dead_letters() {
            Ok(0) => {}
            Ok(count) => {
                let letters = match self.list_dead_letters() {
                    Ok(letters) => letters.iter().map(describe).collect(),
                    Err(error) => format!("\n  the controller does not list them: {error:#}"),
                };
                panic!(
                    "this world ends with {count} dead letters that nobody announced:{letters}\n{}",
                    self.logs()
                );
            }
            Err(error) => panic!("whether this world ends with dead letters cannot be told: {error:#}"),
        }
    }
}

fn describe(letter: &DeadLetterSummary) -> String {
    let queue = letter.queue.as_deref().unwrap_or("an unknown queue");
    format!("\n  {} {} of {queue}: {}", letter.id, letter.kind, letter.reason)
}
