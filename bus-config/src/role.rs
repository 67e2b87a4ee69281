//! Who may do what. Only the controller may declare.

use model::{HostName, JobKind, PoolName};

use crate::{Class, exchange, key, queue, user};

/// A part that somebody plays on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Controller,
    Dmapi,
    /// The datamover of a host, and the pools it serves.
    Mover(HostName, Vec<PoolName>),
    /// Another service, by its name, and the kinds of jobs that it may submit; none: it only listens.
    Intake(String, Vec<JobKind>),
    /// Sees names and counts of queues by the management API: the controllers' status, people, monitoring.
    Monitor,
}

/// Regular expressions over names of exchanges and queues, as RabbitMQ takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// Regular expressions over the routing keys of one topic exchange. A topic exchange without one is not narrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPermission {
    pub exchange: &'static str,
    pub write: String,
    pub read: String,
}

/// Matches no name that exists.
const NOTHING: &str = "^$";

impl Role {
    /// The name of the AMQP user.
    #[must_use]
    pub fn user(&self) -> String {
        match self {
            Self::Controller => user::CONTROLLER.to_owned(),
            Self::Dmapi => user::DMAPI.to_owned(),
            Self::Mover(host, _) => user::mover(host),
            Self::Intake(service, _) => user::intake(service),
            Self::Monitor => user::MONITOR.to_owned(),
        }
    }

    /// Tags of the AMQP user: what it may do on the management API.
    #[must_use]
    pub const fn tags(&self) -> &'static [&'static str] {
        match self {
            Self::Monitor => &["monitoring"],
            _ => &[],
        }
    }

    /// Rights on exchanges and queues.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        let own = |write: String, read: String| Permissions { configure: NOTHING.to_owned(), write, read };
        match self {
            Self::Controller => Permissions {
                configure: r"^holdfast\.".to_owned(),
                // Answers to intake go to the caller's reply_to, which is a queue: that is the default exchange.
                write: r"^(holdfast\..*|amq\.default)$".to_owned(),
                read: r"^holdfast\.".to_owned(),
            },
            Self::Dmapi => {
                let exchanges = [exchange::CMD, exchange::REP, exchange::HB, exchange::DLX];
                own(one_of(&exchanges), one_of(&[queue::DMAPI]))
            }
            Self::Mover(host, pools) => {
                let mut queues = vec![queue::mover_host(host), queue::mover_host_ctl(host)];
                queues.extend(pools.iter().map(queue::mover_pool));
                own(one_of(&[exchange::REP, exchange::HB, exchange::DLX]), one_of(&queues))
            }
            Self::Intake(service, kinds) => {
                let write = if kinds.is_empty() { NOTHING.to_owned() } else { one_of(&[exchange::INTAKE]) };
                own(write, one_of(&[queue::subscriber(service)]))
            }
            // Reading a queue takes from it. Dead letters too are read through the controller, which keeps the record.
            // The tag alone lets it see names and counts; over AMQP it may do nothing.
            Self::Monitor => own(NOTHING.to_owned(), NOTHING.to_owned()),
        }
    }

    /// Rights on routing keys.
    #[must_use]
    pub fn topic_permissions(&self) -> Vec<TopicPermission> {
        let write_only =
            |exchange, write: String| TopicPermission { exchange, write, read: NOTHING.to_owned() };
        match self {
            Self::Controller | Self::Monitor => Vec::new(),
            Self::Dmapi => vec![
                write_only(exchange::CMD, r"^mover\..*".to_owned()),
                write_only(exchange::REP, r"^rep\.(job_failed|examined)$".to_owned()),
                write_only(exchange::HB, format!("^{}$", escape(key::DMAPI_HEARTBEAT))),
                dead_letters_of(Class::Dmapi),
            ],
            Self::Mover(host, _) => vec![
                write_only(exchange::REP, r"^rep\..*".to_owned()),
                write_only(exchange::HB, format!("^hb\\.{}$", escape(&host.routing_word()))),
                dead_letters_of(Class::Mover),
            ],
            // The controller looks into the message as well.
            Self::Intake(_, kinds) => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                let write = match kinds.as_slice() {
                    [] => NOTHING.to_owned(),
                    kinds => format!(r"^job\.({})$", kinds.join("|")),
                };
                vec![write_only(exchange::INTAKE, write)]
            }
        }
    }
}

/// The pools of a datamover with these rights.
#[must_use]
pub fn pools_of(permissions: &Permissions) -> Vec<PoolName> {
    let names = permissions.read.trim_start_matches("^(").trim_end_matches(")$").replace('\\', "");
    names.split('|').filter_map(|name| name.strip_prefix("holdfast.q.mover.pool.")?.parse().ok()).collect()
}

/// A consumer lays letters of its own class only.
fn dead_letters_of(class: Class) -> TopicPermission {
    let write = format!("^{}$", escape(&key::dead(class)));
    TopicPermission { exchange: exchange::DLX, write, read: NOTHING.to_owned() }
}

/// A regular expression that matches exactly these names.
fn one_of<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(|name| escape(name.as_ref())).collect();
    format!("^({})$", names.join("|"))
}

/// Takes its meaning from every character that has one in a regular expression: the dots of a name match dots only.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for letter in name.chars() {
        if !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '_') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_of_a_mover_name_its_queues_and_no_others() {
        let role = Role::Mover("node.1".parse().unwrap(), vec!["ceph".parse().unwrap()]);
        let rights = role.permissions();
        assert_eq!(rights.configure, "^$");
        assert_eq!(rights.write, r"^(holdfast\.rep|holdfast\.hb|holdfast\.dlx)$");
        assert_eq!(
            rights.read,
            r"^(holdfast\.q\.mover\.host\.node_1|holdfast\.q\.mover\.host\.node_1\.ctl|holdfast\.q\.mover\.pool\.ceph)$"
        );
        assert_eq!(role.topic_permissions()[1].write, "^hb\\.node_1$");
        assert_eq!(pools_of(&rights), ["ceph".parse().unwrap()]);
    }

    #[test]
    fn only_the_controller_may_declare() {
        let host: HostName = "h".parse().unwrap();
        let intake = Role::Intake("billing".to_owned(), JobKind::ALL.to_vec());
        for role in [Role::Dmapi, Role::Mover(host, vec![]), intake, Role::Monitor] {
            assert_eq!(role.permissions().configure, NOTHING, "{role:?}");
        }
        assert_eq!(Role::Controller.permissions().configure, r"^holdfast\.");
    }
}
