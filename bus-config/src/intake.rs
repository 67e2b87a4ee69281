//! What another service has at the broker: rights for exactly the kinds of jobs that it may submit, and a queue of its own
//! for answers and for the facts of exactly the projects that it may know of.

use model::{JobKind, ProjectId, ServiceName};

use crate::{Role, Topology, exchange, key, queue, subscriber_topology};

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
    /// Its user and its rights.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::Intake(self.service.to_string(), self.kinds.clone())
    }

    /// Its queue, and how facts get there.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let service = self.service.as_str();
        match &self.subscription {
            Subscription::Projects(projects) => subscriber_topology(service, projects),
            Subscription::AllProjects => Topology::default().with(
                exchange::EVT,
                queue::subscriber(service),
                key::FACTS_OF_ALL_PROJECTS,
            ),
        }
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
        assert_eq!(one.role().topic_permissions()[0].write, r"^job\.(snapshot)$");
        assert_eq!(one.role().permissions().write, r"^(holdfast\.intake)$");
        let listener = make(&[], Subscription::AllProjects);
        assert_eq!(listener.role().topic_permissions()[0].write, "^$");
        assert_eq!(listener.role().permissions().write, "^$");
        assert_eq!(listener.role().permissions().read, r"^(holdfast\.q\.sub\.billing)$");
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
