//! The calls.

use std::fmt;
use std::time::Duration;

use bus_config::{Permissions, Role, TopicPermission, Topology, VHOST, host_topology, pool_topology};
use model::{HostName, PoolName};
use reqwest::{Client, Method, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::Error;

/// A broker that works answers in milliseconds; declaring a quorum queue in a cluster takes tens of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What the broker tells of a queue. Counts are up to 5 s old: the node's interval of statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    pub name: String,
    pub messages_ready: u64,
    pub messages_unacknowledged: u64,
    pub consumers: u64,
    /// Whether the broker has counted: while it has not, for a queue that is seconds old, all counts are 0.
    pub is_counted: bool,
    /// Ever published to the queue, since the node started.
    pub published_total: u64,
    /// Ever delivered, again or not, since the node started.
    pub delivered_total: u64,
    pub redelivered_total: u64,
    pub acknowledged_total: u64,
}

/// A client of one broker's management API. Every call may be repeated: it makes things so, or finds them so.
#[derive(Clone)]
pub struct Admin {
    base: Url,
    user: String,
    password: SecretString,
    client: Client,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("base", &self.base.as_str())
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// A client for `http://host:15672`.
    ///
    /// Errors: `InvalidUrl`.
    pub fn new(base: &str, user: &str, password: SecretString) -> Result<Self, Error> {
        let invalid = |reason: String| Error::InvalidUrl { url: base.to_owned(), reason };
        let parsed = Url::parse(base).map_err(|error| invalid(error.to_string()))?;
        if parsed.scheme() != "http" || parsed.cannot_be_a_base() {
            return Err(invalid(
                "expected http://host:port; run it on a broker's host for a loopback address".to_owned(),
            ));
        }
        let client = Client::builder()
            .timeout(CALL_TIMEOUT)
            .no_proxy()
            // Calls are rare, and a kept connection would be one of a broker that has restarted since.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Self { base: parsed, user: user.to_owned(), password, client })
    }

    /// Asks whether the broker answers and takes the password.
    pub async fn check(&self) -> Result<(), Error> {
        self.call(Method::GET, &["overview"], None).await.map(drop)
    }

    /// Makes a vhost, its exchanges, queues, bindings and policies: what `bus_config::definitions` renders.
    pub async fn import_definitions(&self, definitions: &Value) -> Result<(), Error> {
        self.call(Method::POST, &["definitions"], Some(definitions)).await.map(drop)
    }

    /// Makes a user, or gives it this password and these tags.
    pub async fn put_user(&self, name: &str, password: &SecretString, tags: &[&str]) -> Result<(), Error> {
        let body = json!({ "password": password.expose_secret(), "tags": tags.join(",") });
        let path = ["users", name];
        let put = || self.call(Method::PUT, &path, Some(&body));
        match put().await {
            // The broker looks and then creates: of two calls at once one is told so, and the user is there to be changed.
            Err(Error::Answered { reason, .. }) if reason.contains("user_already_exists") => {
                put().await.map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    /// Removes a user and its rights; its connections are closed by the broker.
    pub async fn delete_user(&self, name: &str) -> Result<(), Error> {
        self.delete(&["users", name]).await
    }

    /// Closes all connections of a user: a right taken back may work on over what is open.
    pub async fn close_connections(&self, user: &str) -> Result<(), Error> {
        self.delete(&["connections", "username", user]).await
    }

    /// Sets a user's rights on the vhost of Holdfast.
    pub async fn put_permissions(&self, user: &str, permissions: &Permissions) -> Result<(), Error> {
        let body = json!({
            "configure": permissions.configure,
            "write": permissions.write,
            "read": permissions.read,
        });
        self.call(Method::PUT, &["permissions", VHOST, user], Some(&body)).await.map(drop)
    }

    /// Sets a user's rights on routing keys. A topic exchange without one is not narrowed, so none is taken away before its
    /// successor is there; one from before on an exchange that is not named narrows still, which gives nobody more.
    pub async fn put_topic_permissions(
        &self,
        user: &str,
        permissions: &[TopicPermission],
    ) -> Result<(), Error> {
        for permission in permissions {
            let body = json!({
                "exchange": permission.exchange,
                "write": permission.write,
                "read": permission.read,
            });
            self.call(Method::PUT, &["topic-permissions", VHOST, user], Some(&body)).await?;
        }
        Ok(())
    }

    /// Makes the user of a role with its password and rights.
    pub async fn put_role(&self, role: &Role, password: &SecretString) -> Result<(), Error> {
        let user = role.user();
        self.put_user(&user, password, role.tags()).await?;
        // Routing keys first: without them the rights on the exchange would be wider for a moment.
        self.put_topic_permissions(&user, &role.topic_permissions()).await?;
        self.put_permissions(&user, &role.permissions()).await
    }

    /// Declares queues and bindings.
    pub async fn declare(&self, topology: &Topology) -> Result<(), Error> {
        for queue in &topology.queues {
            let body =
                json!({ "durable": true, "auto_delete": false, "arguments": bus_config::Queue::arguments() });
            self.call(Method::PUT, &["queues", VHOST, &queue.name], Some(&body)).await?;
        }
        for binding in &topology.bindings {
            let body = json!({ "routing_key": binding.routing_key, "arguments": {} });
            let path = ["bindings", VHOST, "e", binding.exchange, "q", &binding.queue];
            self.call(Method::POST, &path, Some(&body)).await?;
        }
        Ok(())
    }

    /// Deletes a queue with what it holds. Its consumers must be gone before it is declared again: RabbitMQ 3.10 would take
    /// them over into the new queue and keep its first messages from them.
    pub async fn delete_queue(&self, name: &str) -> Result<(), Error> {
        self.delete(&["queues", VHOST, name]).await
    }

    /// Deletes a policy: what it ruled is without rules then.
    pub async fn delete_policy(&self, name: &str) -> Result<(), Error> {
        self.delete(&["policies", VHOST, name]).await
    }

    /// Enrols a host: queues of the host and its pools, user, rights. Repeating it changes password and pools.
    pub async fn enroll_host(
        &self,
        host: &HostName,
        pools: &[PoolName],
        password: &SecretString,
    ) -> Result<(), Error> {
        self.declare(&host_topology(host)).await?;
        for pool in pools {
            self.declare(&pool_topology(pool)).await?;
        }
        self.put_role(&Role::Mover(host.clone(), pools.to_vec()), password).await
    }

    /// Removes a host: user, then queues. Pools stay. What its queues hold is deleted: drain the host first.
    pub async fn remove_host(&self, host: &HostName) -> Result<(), Error> {
        self.delete_user(&bus_config::user::mover(host)).await?;
        for queue in host_topology(host).queues {
            self.delete_queue(&queue.name).await?;
        }
        Ok(())
    }

    /// Lists the enrolled hosts, by their users.
    pub async fn hosts(&self) -> Result<Vec<HostName>, Error> {
        let users = self.users().await?;
        Ok(users.iter().filter_map(|user| bus_config::user::host_of_mover(user)).collect())
    }

    /// Lists the names of all users of the broker.
    pub(crate) async fn users(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct User {
            name: String,
        }
        let users: Vec<User> = self.read(&["users"]).await?;
        Ok(users.into_iter().map(|user| user.name).collect())
    }

    /// Lists the queues of the vhost of Holdfast.
    pub async fn queues(&self) -> Result<Vec<QueueInfo>, Error> {
        let rows: Vec<QueueRow> = self.read(&["queues", VHOST]).await?;
        Ok(rows.into_iter().map(QueueInfo::from).collect())
    }

    pub(crate) async fn read<T: for<'de> Deserialize<'de>>(&self, path: &[&str]) -> Result<T, Error> {
        let response = self.call(Method::GET, path, None).await?;
        let url = response.url().to_string();
        response.json().await.map_err(|source| Error::Decode { url, source })
    }

    /// Deletes what may be gone already.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), Error> {
        match self.call(Method::DELETE, path, None).await {
            Err(Error::Answered { status, .. }) if status == StatusCode::NOT_FOUND.as_u16() => Ok(()),
            other => other.map(drop),
        }
    }

    async fn call(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Response, Error> {
        let mut url = self.base.clone();
        // Escapes each part: a vhost or a queue may hold anything.
        url.path_segments_mut().expect("checked by `new`").pop_if_empty().push("api").extend(path);
        let mut request = self
            .client
            .request(method.clone(), url.clone())
            .basic_auth(&self.user, Some(self.password.expose_secret()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let url = url.to_string();
        let response = match request.send().await {
            Ok(response) => response,
            Err(source) => return Err(Error::Unreachable { url, source }),
        };
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Error::Refused { url, user: self.user.clone() })
            }
            status => {
                let reason = response.text().await.unwrap_or_default().chars().take(300).collect();
                Err(Error::Answered { method: method.to_string(), url, status: status.as_u16(), reason })
            }
        }
    }
}

/// A queue as the management API tells it; numbers are missing until it has gathered some.
#[derive(Deserialize)]
struct QueueRow {
    name: String,
    messages_ready: Option<u64>,
    #[serde(default)]
    messages_unacknowledged: u64,
    #[serde(default)]
    consumers: u64,
    #[serde(default)]
    message_stats: MessageStats,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageStats {
    publish: u64,
    deliver_get: u64,
    redeliver: u64,
    ack: u64,
}

impl From<QueueRow> for QueueInfo {
    fn from(row: QueueRow) -> Self {
        Self {
            name: row.name,
            is_counted: row.messages_ready.is_some(),
            messages_ready: row.messages_ready.unwrap_or_default(),
            messages_unacknowledged: row.messages_unacknowledged,
            consumers: row.consumers,
            published_total: row.message_stats.publish,
            delivered_total: row.message_stats.deliver_get,
            redelivered_total: row.message_stats.redeliver,
            acknowledged_total: row.message_stats.ack,
        }
    }
}
