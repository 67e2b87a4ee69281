//! What another service has at the broker: rights for exactly the kinds of jobs that it may submit, and a queue of its own
//! for answers and for the facts of exactly the projects that it may know of.

use model::{JobKind, ProjectId, ServiceName};

use crate::{
    Binding, Permissions, Queue, Role, TopicPermission, Topology, exchange, key, queue, subscriber_topology,
};

/// What a service is enrolled for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    pub service: ServiceName,
    /// Empty: it only listens.
    pub kinds: Vec<JobKind>,
    pub subscription: Subscription,
}

/// Whose facts a service gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// Of these projects; none: answers only.
    Projects(Vec<ProjectId>),
    /// Of every project: an operator's own service.
    AllProjects,
}

impl Enrolment {
    /// The name of the AMQP user.
    #[must_use]
    pub fn user(&self) -> String {
        self.role().user()
    }

    /// Rights on exchanges and queues: those of the role, and without a kind no writing at all.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        let mut permissions = self.role().permissions();
        if self.kinds.is_empty() {
            crate::role::NOTHING.clone_into(&mut permissions.write);
        }
        permissions
    }

    /// Rights on routing keys: those of its kinds. The controller looks into the message as well.
    #[must_use]
    pub fn topic_permissions(&self) -> Vec<TopicPermission> {
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.as_str()).collect();
        let write = match kinds.as_slice() {
            [] => crate::role::NOTHING.to_owned(),
            kinds => format!(r"^job\.({})$", kinds.join("|")),
        };
        vec![TopicPermission { exchange: exchange::INTAKE, write, read: crate::role::NOTHING.to_owned() }]
    }

    /// Its queue, and how facts get there.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let service = self.service.as_str();
        match &self.subscription {
            Subscription::Projects(projects) => subscriber_topology(service, projects),
            Subscription::AllProjects => {
                let queue = queue::subscriber(service);
                let routing_key = key::FACTS_OF_ALL_PROJECTS.to_owned();
                Topology {
                    queues: vec![Queue { name: queue.clone() }],
                    bindings: vec![Binding { exchange: exchange::EVT, queue, routing_key }],
                    ..Topology::default()
                }
            }
        }
    }

    fn role(&self) -> Role {
        Role::Intake(self.service.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(kinds: &[JobKind], subscription: Subscription) -> Enrolment {
        Enrolment { service: "billing".parse().unwrap(), kinds: kinds.to_vec(), subscription }
    }

    #[test]
    fn a_service_may_write_the_keys_of_its_kinds_and_no_others() {
        let one = make(&[JobKind::Snapshot], Subscription::Projects(Vec::new()));
        assert_eq!(one.topic_permissions()[0].write, r"^job\.(snapshot)$");
        assert_eq!(one.permissions().write, r"^(holdfast\.intake)$");
        let listener = make(&[], Subscription::AllProjects);
        assert_eq!(listener.topic_permissions()[0].write, "^$");
        assert_eq!(listener.permissions().write, "^$");
        assert_eq!(listener.permissions().read, r"^(holdfast\.q\.sub\.billing)$");
    }

    #[test]
    fn a_service_gets_the_facts_of_its_projects_only() {
        let keys = |subscription| {
            let bindings = make(&[], subscription).topology().bindings;
            bindings.into_iter().map(|binding| binding.routing_key).collect::<Vec<_>>()
        };
        let acme: ProjectId = "acme".parse().unwrap();
        assert_eq!(keys(Subscription::Projects(vec![acme])), ["evt.acme.*.*"]);
        assert_eq!(keys(Subscription::AllProjects), ["evt.*.*.*"]);
        assert!(keys(Subscription::Projects(Vec::new())).is_empty());
    }
}
