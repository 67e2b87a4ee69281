//! Other services at the broker: enrolled, listed and removed, each call as often as one likes.

use bus_config::{Enrolment, VHOST, exchange, queue, user};
use model::ServiceName;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{Admin, Error};

/// A service as the broker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledService {
    pub service: ServiceName,
    /// Routing keys of the facts that it gets, in order.
    pub facts: Vec<String>,
    /// Facts and answers that it did not take yet. Up to 5 s old; `None` when its queue is missing.
    pub messages_ready: Option<u64>,
}

#[derive(Deserialize)]
struct BindingRow {
    source: String,
    routing_key: String,
    properties_key: String,
}

impl Admin {
    /// Enrols another service: queue, facts, user, rights. Repeating it changes password, kinds and projects to these: what
    /// was granted before and is not named now is taken back, and the queue keeps its messages.
    pub async fn enroll_service(&self, enrolment: &Enrolment, password: &SecretString) -> Result<(), Error> {
        let topology = enrolment.topology();
        // Before anything new is given: a service that loses a project must not get its facts for a moment longer.
        for binding in self.fact_bindings(&enrolment.service).await? {
            if !topology.bindings.iter().any(|wanted| wanted.routing_key == binding.routing_key) {
                let queue = queue::subscriber(enrolment.service.as_str());
                let path =
                    ["bindings", VHOST, "e", exchange::EVT, "q", &queue, binding.properties_key.as_str()];
                self.delete(&path).await?;
            }
        }
        self.declare(&topology).await?;
        self.put_role(&enrolment.role(), password).await
    }

    /// Removes a service: user, then queue with what it holds.
    pub async fn remove_service(&self, service: &ServiceName) -> Result<(), Error> {
        self.delete_user(&user::intake(service.as_str())).await?;
        self.delete_queue(&queue::subscriber(service.as_str())).await
    }

    /// Lists the enrolled services, by their users.
    pub async fn services(&self) -> Result<Vec<EnrolledService>, Error> {
        let names = self.users().await?;
        let mut names: Vec<ServiceName> =
            names.iter().filter_map(|user| user::service_of_intake(user)).collect();
        names.sort();
        let queues = self.queues().await?;
        let mut services = Vec::new();
        for service in names {
            let queue = queue::subscriber(service.as_str());
            let info = queues.iter().find(|info| info.name == queue);
            let mut facts: Vec<String> =
                self.fact_bindings(&service).await?.into_iter().map(|row| row.routing_key).collect();
            facts.sort();
            services.push(EnrolledService {
                service,
                facts,
                messages_ready: info.map(|info| info.messages_ready),
            });
        }
        Ok(services)
    }

    /// How facts get to a service; none when it has no queue (yet).
    async fn fact_bindings(&self, service: &ServiceName) -> Result<Vec<BindingRow>, Error> {
        let queue = queue::subscriber(service.as_str());
        let rows: Result<Vec<BindingRow>, Error> = self.read(&["queues", VHOST, &queue, "bindings"]).await;
        match rows {
            Ok(rows) => Ok(rows.into_iter().filter(|row| row.source == exchange::EVT).collect()),
            Err(Error::Answered { status: 404, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
