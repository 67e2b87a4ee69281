//! A controller, a datamover's host of its own, and sessions to a broker.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bus::{
    AcceptFrom, BusConfig, Consume, Consumer, Delivery, Envelope, Letter, Publisher, Session, Verdict,
};
use bus_config::{Class, Role, exchange, key, queue, user};
use lapin::{Connection, ConnectionProperties};
use model::{HostName, MessageId};
use runtime::Entropy;
use sandbox::Broker;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

/// Long, because a machine may run many brokers at once; what works takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// One host of the shared broker, with a session of the controller and one of the host's datamover.
pub(crate) struct Bench {
    pub(crate) broker: Arc<Broker>,
    pub(crate) host: HostName,
    pub(crate) controller: Session,
    pub(crate) mover: Session,
    pub(crate) mover_password: SecretString,
}

impl Bench {
    pub(crate) async fn make() -> Self {
        Self::make_on(Broker::shared().await.unwrap(), None).await
    }

    /// With a broker that no other test uses.
    pub(crate) async fn make_apart() -> Self {
        let password = SecretString::from(Entropy.uuid().simple().to_string());
        Self::make_on(Arc::new(Broker::start().await.unwrap()), Some(password)).await
    }

    async fn make_on(broker: Arc<Broker>, own_password: Option<SecretString>) -> Self {
        let controller_password = match own_password {
            Some(password) => {
                broker.admin().put_role(&Role::Controller, &password).await.unwrap();
                password
            }
            None => shared_controller_password(&broker).await,
        };
        let host: HostName = format!("host-{}", Entropy.uuid().simple()).parse().unwrap();
        let mover_password = broker.enroll_host(&host, &[]).await.unwrap();
        let controller = start_session(&broker, user::CONTROLLER, &controller_password).await;
        let mover = start_session(&broker, &user::mover(&host), &mover_password).await;
        Self { broker, host, controller, mover, mover_password }
    }

    /// The datamover's consumer of its jobs, as a datamover makes it.
    pub(crate) fn consumer(&self) -> Consumer {
        self.mover.consume(jobs_of(&self.host))
    }

    /// A consumer with the password that the host has now.
    pub(crate) async fn consumer_anew(&self) -> Consumer {
        let password = self.broker.enroll_host(&self.host, &[]).await.unwrap();
        start_session(&self.broker, &user::mover(&self.host), &password).await.consume(jobs_of(&self.host))
    }

    pub(crate) async fn send(&self, envelope: &Envelope) {
        send(&self.controller.publisher(), &self.host, envelope).await;
    }
}

pub(crate) fn jobs_of(host: &HostName) -> Consume {
    Consume {
        queue: queue::mover_host(host),
        prefetch: 8,
        accept_from: AcceptFrom::users([user::DMAPI, user::CONTROLLER]),
    }
}

pub(crate) async fn send(publisher: &Publisher, host: &HostName, envelope: &Envelope) {
    publisher.publish(exchange::CMD, &key::mover_host(host, "freeze_guest"), envelope).await.unwrap();
}

/// The password of the controller's user on the shared broker: one for all tests.
async fn shared_controller_password(broker: &Broker) -> SecretString {
    static PASSWORD: OnceCell<SecretString> = OnceCell::const_new();
    let password = PASSWORD
        .get_or_init(|| async { SecretString::from(Entropy.uuid().simple().to_string()) })
        .await
        .clone();
    // Tests that begin after the last of the former let go get a new broker.
    broker.admin().put_role(&Role::Controller, &password).await.unwrap();
    password
}

pub(crate) fn config(broker: &Broker, user: &str, password: &SecretString) -> BusConfig {
    BusConfig {
        brokers: vec![broker.amqp_url()],
        vhost: bus_config::VHOST.to_owned(),
        user: user.to_owned(),
        password: password.clone(),
        connection_name: format!("test of {user}"),
    }
}

pub(crate) async fn start_session(broker: &Broker, user: &str, password: &SecretString) -> Session {
    let session = Session::start(config(broker, user, password)).unwrap();
    session.wait_ready(PATIENCE).await.unwrap();
    session
}

/// A bare connection, for what our own publisher never does.
pub(crate) async fn connect_raw(broker: &Broker, user: &str, password: &SecretString) -> Connection {
    let url = broker.amqp_url().replace("amqp://", &format!("amqp://{user}:{}@", password.expose_secret()));
    Connection::connect(&format!("{url}/{}", bus_config::VHOST), ConnectionProperties::default())
        .await
        .unwrap()
}

pub(crate) fn message(body: &'static str) -> Envelope {
    Envelope::new(MessageId::from_uuid(Entropy.uuid()), "holdfast.cmd.v1.FreezeGuest", body)
}

pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("no message came").expect("the session is open")
}

/// Polls until `probe` gives something.
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let polling = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits for the dead letter with this id, and takes it away; others are left where they are.
pub(crate) async fn wait_for_dead_letter(bench: &Bench, class: Class, id: MessageId) -> Letter {
    let (id, letters) = (id.to_string(), bench.controller.dead_letters());
    wait_for("the dead letter", || async {
        let mut found = None;
        let decide = |letter: &Letter| {
            if letter.id != id {
                return Verdict::Keep;
            }
            found = Some(letter.clone());
            Verdict::Drop
        };
        letters.look(class, decide, |_| {}).await.unwrap();
        found
    })
    .await
}
