//! `broker init`, `host add` and `intake add`: make everything at the broker so, or find it so. Repeating them changes nothing but what was
//! changed in the arguments.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use broker_admin::Admin;
use bus_config::{Enrolment, Role, Subscription};
use model::{Check, HostName, PoolName, ServiceName};
use runtime::Entropy;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::StartError;
use service_kit::config::read_secret;

/// Who may make users, at which broker.
#[derive(Debug)]
pub struct Administrator {
    pub management_url: String,
    pub user: String,
    pub password_file: PathBuf,
}

impl Administrator {
    fn admin(&self) -> Result<Admin, StartError> {
        let password =
            read_secret(&self.password_file).map_err(|error| StartError::usage(error.to_string()))?;
        Admin::new(&self.management_url, &self.user, password)
            .map_err(|error| StartError::usage(error.to_string()))
    }
}

/// Makes vhost, exchanges, queues and policies, and the users of controllers and dmapi with their rights. Tells what it made.
///
/// Errors: the password files or the broker's management API.
pub async fn broker_init(administrator: &Administrator, password_dir: &Path) -> Result<String, StartError> {
    let admin = administrator.admin()?;
    admin
        .import_definitions(&bus_config::definitions())
        .await
        .map_err(|error| answer("the definitions", &error))?;
    let mut made = String::new();
    for role in [Role::Controller, Role::Dmapi, Role::Monitor] {
        let user = role.user();
        let password_file = password_dir.join(format!("{user}.password"));
        admin.put_role(&role, &password(&password_file)?).await.map_err(|error| answer(&user, &error))?;
        made.push_str(&format!("user {user}, password in {}\n", password_file.display()));
    }
    Ok(made)
}

/// Looks whether every user of ours has the rights of its role. Codes: `BROKER_ADMIN_…`, `BROKER_USER_MISSING`,
/// `BROKER_RIGHTS_DIFFER`.
pub async fn broker_check(administrator: &Administrator) -> Vec<Check> {
    let admin = match administrator.admin() {
        Ok(admin) => admin,
        Err(error) => return vec![Check::fail("broker", "BROKER_ADMIN_INVALID", error.reason)],
    };
    let hosts = match admin.hosts().await {
        Ok(hosts) => hosts,
        Err(error) => return vec![Check::of("broker", Err::<String, _>(error.failure()))],
    };
    let mut checks = Vec::new();
    for role in [Role::Controller, Role::Dmapi, Role::Monitor] {
        checks.push(check_rights(&admin, role, "holdfast-controller broker init").await);
    }
    for host in hosts {
        let advice = format!("holdfast-controller host add {host}, with its pools");
        checks.push(check_rights(&admin, Role::Mover(host, Vec::new()), &advice).await);
    }
    checks
}

async fn check_rights(admin: &Admin, role: Role, advice: &str) -> Check {
    let subject = format!("rights of {}", role.user());
    let seen = match admin.rights(&role.user()).await {
        Ok(seen) => seen,
        Err(error) => return Check::of(subject, Err::<String, _>(error.failure())),
    };
    let Some(found) = &seen.permissions else {
        return Check::fail(
            subject,
            "BROKER_USER_MISSING",
            format!("the broker does not let it in: run {advice}"),
        );
    };
    // Which pools a host serves is known to the broker only, by what its user may read.
    let role = match role {
        Role::Mover(host, _) => Role::Mover(host, bus_config::pools_of(found)),
        other => other,
    };
    let mut topics: Vec<_> = role
        .topic_permissions()
        .into_iter()
        .map(|topic| (topic.exchange.to_owned(), topic.write, topic.read))
        .collect();
    topics.sort();
    if *found == role.permissions() && seen.topics == topics {
        return Check::ok(subject, "as they should be");
    }
    let message = format!(
        "they are {found:?} {:?}, and should be {:?} {topics:?}: run {advice}",
        seen.topics,
        role.permissions()
    );
    Check::fail(subject, "BROKER_RIGHTS_DIFFER", message)
}

fn answer(what: &str, error: &broker_admin::Error) -> StartError {
    match error {
        broker_admin::Error::Refused { .. } => StartError::refused(error.to_string()),
        _ => StartError::failed(format!("failed to make {what} at the broker: {error}")),
    }
}

/// Which host, at which broker.
#[derive(Debug)]
pub struct HostOrder {
    pub host: HostName,
    pub pools: Vec<PoolName>,
    pub administrator: Administrator,
    /// Read when it is there, else made.
    pub password_file: PathBuf,
    /// For the printed config.
    pub brokers: Vec<String>,
}

/// Makes queues, user and rights, and gives the datamover's config.
///
/// Errors: the password files or the broker's management API.
pub async fn host_add(order: &HostOrder) -> Result<String, StartError> {
    let admin = order.administrator.admin()?;
    let password = password(&order.password_file)?;
    let enrolled = admin.enroll_host(&order.host, &order.pools, &password).await;
    enrolled.map_err(|error| answer(order.host.as_str(), &error))?;
    Ok(datamover_config(order))
}

/// Makes another service's queue, user and rights, and gives the grant that the controllers' config needs.
///
/// Errors: the password files or the broker's management API.
pub async fn intake_add(
    administrator: &Administrator,
    enrolment: &Enrolment,
    password_file: &Path,
) -> Result<String, StartError> {
    let admin = administrator.admin()?;
    let password = password(password_file)?;
    let enrolled = admin.enroll_service(enrolment, &password).await;
    enrolled.map_err(|error| answer(&enrolment.role().user(), &error))?;
    Ok(intake_grant(enrolment, password_file))
}

/// Lists the services that are enrolled: name, whose facts, how many messages wait.
///
/// Errors: the password file or the broker's management API.
pub async fn intake_list(administrator: &Administrator) -> Result<String, StartError> {
    let services = administrator.admin()?.services().await;
    let services = services.map_err(|error| answer("the list of services", &error))?;
    let mut text = format!("{:<24} {:>8}  FACTS\n", "SERVICE", "WAITING");
    for service in services {
        let waiting = service.messages_ready.map_or_else(|| "no queue".to_owned(), |count| count.to_string());
        text.push_str(&format!(
            "{:<24} {waiting:>8}  {}\n",
            service.service.as_str(),
            service.facts.join(" ")
        ));
    }
    Ok(text)
}

/// Removes a service's user and queue.
///
/// Errors: the password file or the broker's management API.
pub async fn intake_remove(
    administrator: &Administrator,
    service: &ServiceName,
) -> Result<String, StartError> {
    let removed = administrator.admin()?.remove_service(service).await;
    removed.map_err(|error| answer(service.as_str(), &error))?;
    Ok(format!(
        "{} and its queue are gone. Take its [[intake_grant]] out of the controllers' config as well.\n",
        bus_config::user::intake(service.as_str())
    ))
}

fn intake_grant(enrolment: &Enrolment, password_file: &Path) -> String {
    let (user, service) = (enrolment.role().user(), &enrolment.service);
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let mut text = format!(
        "# {user}: password in {}, answers and facts in {}.\n",
        password_file.display(),
        bus_config::queue::subscriber(service.as_str())
    );
    if enrolment.kinds.is_empty() {
        text.push_str("# It only listens: the controllers' config needs no grant.\n");
        return text;
    }
    let projects = match &enrolment.subscription {
        Subscription::AllProjects => vec!["\"*\"".to_owned()],
        Subscription::Projects(projects) => projects.iter().map(|project| format!("\"{project}\"")).collect(),
    };
    let kinds = enrolment.kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
    text.push_str(
        "# Put this into the config of every controller, and start them again, one after the other.\n",
    );
    text.push_str(&format!(
        "[[intake_grant]]\nservice = \"{service}\"\nkinds = {}\nprojects = {}\n",
        list(kinds),
        list(projects)
    ));
    text
}

/// Reads a user's password, or draws one and keeps it for its owner's eyes.
pub(crate) fn password(path: &Path) -> Result<SecretString, StartError> {
    match path.try_exists() {
        Ok(true) => return read_secret(path).map_err(|error| StartError::usage(error.to_string())),
        Ok(false) => {}
        Err(error) => return Err(StartError::usage(format!("failed to read {}: {error}", path.display()))),
    }
    let password: String = Entropy.key().iter().map(|byte| format!("{byte:02x}")).collect();
    let password = SecretString::from(password);
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", password.expose_secret()))
        .map_err(|error| StartError::failed(format!("failed to write {}: {error}", path.display())))?;
    Ok(password)
}

fn datamover_config(order: &HostOrder) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let brokers = list(order.brokers.iter().map(|broker| format!("{broker:?}")).collect());
    let pools = list(order.pools.iter().map(|pool| format!("{:?}", pool.as_str())).collect());
    let (host, user) = (&order.host, bus_config::user::mover(&order.host));
    let cloud = crate::wiring::CLOUD_SECTION_EXAMPLE;
    let password_file = order.password_file.display().to_string();
    format!(
        r#"# Config of the datamover of {host}. Copy the password file there, for the datamover's user only.
host = "{host}"
state_dir = "/var/lib/holdfast/datamover"
key_file = "/etc/holdfast/lineage.key"
pools = {pools}

[bus]
brokers = {brokers}
user = "{user}"
password_file = {password_file:?}

{cloud}
[[target]]
path = "/srv/holdfast/target"
"#
    )
}

#[cfg(test)]
mod tests {
    use model::JobKind;

    use super::*;

    #[test]
    fn a_password_is_made_once_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let first = password(&path).unwrap();
        assert_eq!(password(&path).unwrap().expose_secret(), first.expose_secret());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_printed_grant_is_one_that_the_controller_takes() {
        let enrolment = Enrolment {
            service: "billing".parse().unwrap(),
            kinds: JobKind::ALL.to_vec(),
            subscription: Subscription::Projects(vec!["acme".parse().unwrap()]),
        };
        let printed = intake_grant(&enrolment, Path::new("p"));
        let rest = crate::config::EXAMPLE.split("[[intake_grant]]").next().unwrap();
        let config: crate::config::Config =
            toml::from_str(&format!("{rest}{}{printed}", "[timing]\n")).unwrap();
        assert!(config.intake_grants[0].allows("billing", JobKind::Restore, &"acme".parse().unwrap()));
        let listener = Enrolment { kinds: Vec::new(), ..enrolment };
        assert!(!intake_grant(&listener, Path::new("p")).contains("[["));
    }

    #[test]
    fn the_printed_config_is_toml_with_the_hosts_user_and_without_its_password() {
        let order = HostOrder {
            host: "node-1.rack2".parse().unwrap(),
            pools: vec!["fast".parse().unwrap()],
            administrator: Administrator {
                management_url: String::new(),
                user: String::new(),
                password_file: PathBuf::new(),
            },
            password_file: PathBuf::from("/etc/holdfast/bus-password"),
            brokers: vec!["amqp://rabbit:5672".to_owned()],
        };
        let config: toml::Table = datamover_config(&order).parse().unwrap();
        assert_eq!(config["host"].as_str(), Some("node-1.rack2"));
        assert_eq!(config["bus"]["user"].as_str(), Some("holdfast-mover-node-1.rack2"));
        assert_eq!(config["pools"][0].as_str(), Some("fast"));
    }
}
