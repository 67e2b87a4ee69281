use std::time::Duration;

use bus::{Envelope, Listen, Listener, PublishError, Session};
use bus_config::{Permissions, Role};
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, ExchangeKind};
use model::MessageId;
use runtime::Entropy;
use secrecy::SecretString;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, connect_raw, start_session};

/// A service of somebody else's, and us with the rights that we ask for and no more.
struct Elsewhere {
    bench: Bench,
    exchange: String,
    queue: String,
    session: Session,
    sender: Channel,
}

impl Elsewhere {
    async fn make() -> Self {
        let bench = Bench::make().await;
        let word = Entropy.uuid().simple().to_string();
        let (exchange, queue) = (format!("nova-{word}"), format!("heard-{word}"));
        let all = Permissions { configure: ".*".into(), write: ".*".into(), read: ".*".into() };
        let (sender, sender_password) = make_user(&bench, &format!("sender-{word}"), &all).await;
        let ours = Permissions {
            configure: format!("^{queue}$"),
            write: format!("^{queue}$"),
            read: format!("^({queue}|{exchange})$"),
        };
        let (user, password) = make_user(&bench, &format!("listener-{word}"), &ours).await;
        let session = start_session(&bench.broker, &user, &password).await;
        let sender =
            connect_raw(&bench.broker, &sender, &sender_password).await.create_channel().await.unwrap();
        Self { bench, exchange, queue, session, sender }
    }

    fn listen(&self) -> Listener {
        self.session.listen(Listen {
            queue: self.queue.clone(),
            exchanges: vec![self.exchange.clone()],
            look_interval: Duration::from_millis(200),
            routing_keys: vec!["notifications.info".to_owned()],
            messages_max: 3,
        })
    }

    async fn declare(&self) {
        // As oslo.messaging does: it does not survive the broker.
        let options = ExchangeDeclareOptions::default();
        let name = self.exchange.as_str().into();
        self.sender
            .exchange_declare(name, ExchangeKind::Topic, options, FieldTable::default())
            .await
            .unwrap();
    }

    async fn say(&self, key: &str, text: &str) {
        let (exchange, options) = (self.exchange.as_str().into(), BasicPublishOptions::default());
        let properties = BasicProperties::default();
        self.sender.basic_publish(exchange, key.into(), options, text.as_bytes(), properties).await.unwrap();
    }

    async fn wait_for_problem(&self, listener: &Listener, matches: impl Fn(Option<&str>) -> bool) {
        let mut problem = listener.problem();
        let found = problem.wait_for(|problem| matches(problem.as_deref()));
        timeout(PATIENCE, found).await.expect("in time").unwrap();
    }
}

async fn make_user(bench: &Bench, name: &str, rights: &Permissions) -> (String, SecretString) {
    let password = SecretString::from(Entropy.uuid().simple().to_string());
    // A role makes the user; its rights are replaced.
    let role = Role::Intake(name.to_owned(), Vec::new());
    bench.broker.admin().put_role(&role, &password).await.unwrap();
    bench.broker.admin().put_permissions(&role.user(), rights).await.unwrap();
    (role.user(), password)
}

async fn hear(listener: &mut Listener) -> bus::Heard {
    timeout(PATIENCE, listener.next()).await.expect("in time").expect("the session is open")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_made_later_is_heard_and_what_is_settled_is_gone() {
    let there = Elsewhere::make().await;
    let mut listener = there.listen();
    there
        .wait_for_problem(&listener, |problem| {
            problem.is_some_and(|problem| problem.contains(&there.exchange))
        })
        .await;
    there.declare().await;
    there.wait_for_problem(&listener, |problem| problem.is_none()).await;
    there.say("notifications.sample", "not for us").await;
    there.say("notifications.info", "hello").await;
    let heard = hear(&mut listener).await;
    assert_eq!((heard.exchange.as_str(), &heard.body[..]), (there.exchange.as_str(), &b"hello"[..]));
    assert_eq!(heard.routing_key, "notifications.info");
    heard.done().await;
    there.session.close().await;
    let left = there.bench.controller.inspect_queue(&there.queue).await.unwrap().unwrap();
    assert_eq!(left.messages, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_settled_comes_again_and_of_too_many_the_newest_are_kept() {
    let there = Elsewhere::make().await;
    there.declare().await;
    let mut listener = there.listen();
    there.wait_for_problem(&listener, |problem| problem.is_none()).await;
    there.say("notifications.info", "1").await;
    drop((hear(&mut listener).await, listener));
    let mut messages = 0;
    while messages == 0 {
        // The broker takes back what a channel held when it sees the channel's end.
        messages = there.bench.controller.inspect_queue(&there.queue).await.unwrap().unwrap().messages;
        tokio::task::yield_now().await;
    }
    for text in ["2", "3", "4"] {
        there.say("notifications.info", text).await;
    }
    let mut listener = there.listen();
    for text in ["2", "3", "4"] {
        let heard = hear(&mut listener).await;
        assert_eq!(&heard.body[..], text.as_bytes());
        heard.done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_listen_can_publish_nothing_there() {
    let there = Elsewhere::make().await;
    there.declare().await;
    let envelope = Envelope::new(MessageId::from_uuid(Entropy.uuid()), "x", "forged");
    let refused = there
        .session
        .publisher()
        .publish(&there.exchange, "notifications.info", &envelope)
        .await
        .unwrap_err();
    assert!(matches!(refused, PublishError::Refused { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_the_rights_is_told_which() {
    let there = Elsewhere::make().await;
    there.declare().await;
    let none = Permissions { configure: "^$".into(), write: "^$".into(), read: "^$".into() };
    there.bench.broker.admin().put_permissions(there.session.user(), &none).await.unwrap();
    let listener = there.listen();
    let wanted = format!("configure ^{}$", there.queue);
    there
        .wait_for_problem(&listener, |problem| problem.is_some_and(|problem| problem.contains(&wanted)))
        .await;
}
