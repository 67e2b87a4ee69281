//! `register`: the entries of Holdfast in Keystone. Makes service, endpoints, roles, the service user and its roles so, or finds them
//! so; repeating it changes nothing but what was changed in the arguments. A dry run looks and touches nothing.

use std::path::PathBuf;

use openstack::{Auth, Config, Entry, Interface, Keystone, Named, Scope, Session};
use secrecy::SecretString;
use service_kit::StartError;

use crate::enroll::password;

/// What is to be there.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The type under which clients look for it.
    pub service_type: String,
    pub service_name: String,
    /// None: the only one there is.
    pub region: Option<String>,
    /// The controllers' addresses, without the version.
    pub public_url: String,
    pub internal_url: String,
    pub admin_url: String,
    /// Without it no user may use Holdfast.
    pub trustee_role: String,
    pub user: String,
    /// What the service user needs in its project.
    pub user_roles: Vec<String>,
    pub user_domain: String,
    pub project: String,
    pub project_domain: String,
    /// Read when it is there, else made.
    pub password_file: PathBuf,
    /// How the controller reaches the services.
    pub interface: Interface,
    pub is_dry_run: bool,
}

/// A line for each thing that is there now, or would be; then the section of the controllers' config.
///
/// Errors: the settings of the administrator, Keystone's refusals, what only an operator can decide.
pub async fn register(administrator: Config, order: &Registration) -> Result<String, StartError> {
    let auth_url = administrator.auth.url().to_string();
    let ca_file = administrator.ca_file.clone();
    let session = Session::new(administrator).map_err(|error| refusal(&error))?;
    let mut run = Run { keystone: session.keystone(), session, order, told: String::new() };
    let region = run.region().await?;
    let service = run.service().await?;
    run.endpoints(service.as_deref(), &region).await?;
    run.role(&order.trustee_role).await?;
    let domain_id = run.domain(&order.user_domain).await?;
    let project_id = run.project().await?;
    let user_id = run.user(&domain_id).await?;
    for role in &order.user_roles {
        let role_id = run.role(role).await?;
        run.grant(role, role_id, user_id.as_deref(), &project_id).await?;
    }
    let mut text = run.told;
    if user_id.is_some() && !order.is_dry_run {
        check_login(&run.session, order).await?;
        text.push_str("the service user logs in\n");
    }
    let ca_file = ca_file.map(|path| format!("ca_file = {:?}\n", path.display().to_string()));
    text.push_str(&section(order, &auth_url, &region, &ca_file.unwrap_or_default()));
    Ok(text)
}

struct Run<'a> {
    session: Session,
    keystone: Keystone,
    order: &'a Registration,
    told: String,
}

impl Run<'_> {
    fn tell(&mut self, what: &str, outcome: Outcome) {
        let word = match (outcome, self.order.is_dry_run) {
            (Outcome::Found, _) => "is there",
            (Outcome::Made, false) => "made",
            (Outcome::Made, true) => "would be made",
            (Outcome::Changed, false) => "changed",
            (Outcome::Changed, true) => "would be changed",
        };
        self.told.push_str(&format!("{what}: {word}\n"));
    }

    async fn region(&self) -> Result<String, StartError> {
        let regions = self.keystone.regions().await.map_err(|error| refusal(&error))?;
        let all = regions.join(", ");
        match (&self.order.region, regions.as_slice()) {
            (Some(region), all) if all.contains(region) => Ok(region.clone()),
            (None, [only]) => Ok(only.clone()),
            (Some(region), _) => {
                Err(StartError::usage(format!("there is no region {region}; there are: {all}")))
            }
            (None, _) => Err(StartError::usage(format!("name one of the regions with --region: {all}"))),
        }
    }

    async fn service(&mut self) -> Result<Option<String>, StartError> {
        let Registration { service_type, service_name, .. } = self.order;
        let found = self.keystone.services(service_type).await.map_err(|error| refusal(&error))?;
        let what = format!("service {service_name} of type {service_type}");
        if let Some(other) = found.iter().find(|service| service.name != *service_name) {
            // Two of a type: clients take any of them.
            return Err(StartError::refused(format!(
                "Keystone has a service of type {service_type} already, {:?} ({}): remove it, take it over with --service-name, or name another --service-type",
                other.name, other.id
            )));
        }
        if let [found, rest @ ..] = found.as_slice() {
            if !rest.is_empty() {
                return Err(StartError::refused(format!(
                    "Keystone has several of {what}: leave one of them"
                )));
            }
            self.tell(&what, Outcome::Found);
            return Ok(Some(found.id.clone()));
        }
        self.tell(&what, Outcome::Made);
        if self.order.is_dry_run {
            return Ok(None);
        }
        let made = self.keystone.create_service(service_type, service_name, DESCRIPTION).await;
        made.map(|service| Some(service.id)).map_err(|error| refusal(&error))
    }

    async fn endpoints(&mut self, service_id: Option<&str>, region: &str) -> Result<(), StartError> {
        let found = match service_id {
            Some(id) => self.keystone.endpoints(id, region).await.map_err(|error| refusal(&error))?,
            None => Vec::new(),
        };
        let Registration { public_url, internal_url, admin_url, is_dry_run, .. } = self.order;
        for (interface, url) in [
            (Interface::Public, public_url),
            (Interface::Internal, internal_url),
            (Interface::Admin, admin_url),
        ] {
            let url = format!("{}/v1/$(project_id)s", url.trim_end_matches('/'));
            let what = format!("endpoint {interface} in {region}, {url}");
            let mut same = found.iter().filter(|endpoint| endpoint.interface == interface.as_str());
            let first = same.next();
            if let Some(second) = same.next() {
                return Err(StartError::refused(format!(
                    "Keystone has a second {interface} endpoint in {region}, {} ({}): remove one",
                    second.url, second.id
                )));
            }
            let outcome = match first {
                Some(endpoint) if endpoint.url == url && endpoint.enabled => Outcome::Found,
                Some(_) => Outcome::Changed,
                None => Outcome::Made,
            };
            self.tell(&what, outcome);
            let done = match (first, service_id) {
                _ if *is_dry_run || outcome == Outcome::Found => Ok(()),
                (Some(endpoint), _) => self.keystone.change_endpoint(&endpoint.id, &url).await,
                (None, Some(id)) => {
                    self.keystone.create_endpoint(id, region, interface, &url).await.map(drop)
                }
                (None, None) => Ok(()),
            };
            done.map_err(|error| refusal(&error))?;
        }
        Ok(())
    }

    async fn role(&mut self, name: &str) -> Result<Option<String>, StartError> {
        let what = format!("role {name}");
        if let Some(role) = self.keystone.role(name).await.map_err(|error| refusal(&error))? {
            self.tell(&what, Outcome::Found);
            return Ok(Some(role.id));
        }
        self.tell(&what, Outcome::Made);
        if self.order.is_dry_run {
            return Ok(None);
        }
        let made = self.keystone.create_role(name).await.map_err(|error| refusal(&error))?;
        Ok(Some(made.id))
    }

    async fn domain(&self, name: &str) -> Result<String, StartError> {
        let found = self.keystone.domain(name).await;
        needed(found, || format!("there is no domain {name}: name another"))
    }

    async fn project(&self) -> Result<String, StartError> {
        let Registration { project, project_domain, .. } = self.order;
        let domain_id = self.domain(project_domain).await?;
        let found = self.keystone.project(project, &domain_id).await;
        needed(found, || {
            format!(
                "there is no project {project} in domain {project_domain}, where the services' users are: name it with --service-project"
            )
        })
    }

    /// The password file belongs to the user: whichever of them is missing is made, and they are made to fit.
    async fn user(&mut self, domain_id: &str) -> Result<Option<String>, StartError> {
        let Registration { user, user_domain, password_file, is_dry_run, .. } = self.order;
        let what = format!("user {user} in domain {user_domain}, password in {}", password_file.display());
        let found = self.keystone.user(user, domain_id).await.map_err(|error| refusal(&error))?;
        let has_file = password_file.try_exists().unwrap_or(false);
        let Some(found) = found else {
            self.tell(&what, Outcome::Made);
            if *is_dry_run {
                return Ok(None);
            }
            let made = self.keystone.create_user(user, domain_id, &password(password_file)?).await;
            return made.map(|user| Some(user.id)).map_err(|error| refusal(&error));
        };
        if !has_file {
            return Err(StartError::refused(format!(
                "{what}: the user is there and the file is not: bring the file from where it was made, or write a password into it, \
                 which then becomes the user's"
            )));
        }
        let password = password(password_file)?;
        let fits = self.logs_in(&found.id, password.clone()).await?;
        self.tell(&what, if fits { Outcome::Found } else { Outcome::Changed });
        if !fits && !is_dry_run {
            let changed = self.keystone.change_password(&found.id, &password).await;
            changed.map_err(|error| refusal(&error))?;
        }
        Ok(Some(found.id))
    }

    /// Whether the password is the user's: for no project, since he may have no role yet.
    async fn logs_in(&self, user_id: &str, password: SecretString) -> Result<bool, StartError> {
        let url = self.session.auth().url().as_str();
        let auth = Auth::password(url, Named::Id(user_id.to_owned()), password, Scope::Default);
        let session = self.session.with_auth(auth.map_err(|error| refusal(&error))?);
        match session.token().await {
            Ok(_) => Ok(true),
            Err(openstack::Error::LoginRefused { .. }) => Ok(false),
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn grant(
        &mut self,
        role: &str,
        role_id: Option<String>,
        user_id: Option<&str>,
        project_id: &str,
    ) -> Result<(), StartError> {
        let Registration { user, project, is_dry_run, .. } = self.order;
        let what = format!("role {role} of user {user} in project {project}");
        let (Some(role_id), Some(user_id)) = (role_id, user_id) else {
            self.tell(&what, Outcome::Made);
            return Ok(());
        };
        let has =
            self.keystone.has_role(user_id, project_id, &role_id).await.map_err(|error| refusal(&error))?;
        self.tell(&what, if has { Outcome::Found } else { Outcome::Made });
        if has || *is_dry_run {
            return Ok(());
        }
        self.keystone.grant_role(user_id, project_id, &role_id).await.map_err(|error| refusal(&error))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Found,
    Made,
    Changed,
}

/// Shown by `openstack service list --long`.
const DESCRIPTION: &str = "Backup and recovery of workloads";

fn needed(
    found: Result<Option<Entry>, openstack::Error>,
    otherwise: impl FnOnce() -> String,
) -> Result<String, StartError> {
    match found {
        Ok(Some(entry)) => Ok(entry.id),
        Ok(None) => Err(StartError::usage(otherwise())),
        Err(error) => Err(refusal(&error)),
    }
}

/// Logs in as the controllers will.
async fn check_login(session: &Session, order: &Registration) -> Result<(), StartError> {
    let named = |name: &str, domain: &str| Named::Name {
        name: name.to_owned(),
        domain: openstack::Domain::Name(domain.to_owned()),
    };
    let scope = Scope::Project(named(&order.project, &order.project_domain));
    let user = named(&order.user, &order.user_domain);
    let auth = Auth::password(session.auth().url().as_str(), user, password(&order.password_file)?, scope);
    let session = session.with_auth(auth.map_err(|error| refusal(&error))?);
    session.token().await.map(drop).map_err(|error| refusal(&error))
}

fn refusal(error: &openstack::Error) -> StartError {
    let failure = error.failure();
    match failure.code.as_str() {
        "OPENSTACK_LOGIN_REFUSED" | "OPENSTACK_FORBIDDEN" => StartError::refused(failure.to_string()),
        "OPENSTACK_CONFIG_INVALID" => StartError::usage(failure.to_string()),
        _ => StartError::failed(failure.to_string()),
    }
}

fn section(order: &Registration, auth_url: &str, region: &str, ca_file: &str) -> String {
    let Registration { user, user_domain, project, project_domain, interface, .. } = order;
    let path = std::path::absolute(&order.password_file).unwrap_or_else(|_| order.password_file.clone());
    let (password_file, trustee_role) = (path.display().to_string(), &order.trustee_role);
    format!(
        r#"
# For the config of every controller. Copy the password file there, for the controller's user only.
[openstack]
auth_url = {auth_url:?}
user = {user:?}
password_file = {password_file:?}
project = {project:?}
user_domain = {user_domain:?}
project_domain = {project_domain:?}
region = {region:?}
interface = "{interface}"
{ca_file}
[auth]
kind = "keystone"

[auth.keystone]
trustee_role = {trustee_role:?}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_sections_are_ones_that_the_controller_takes() {
        let order = Registration {
            service_type: "workloads".to_owned(),
            service_name: "holdfast".to_owned(),
            region: None,
            public_url: String::new(),
            internal_url: String::new(),
            admin_url: String::new(),
            trustee_role: "backup \"lead\"".to_owned(),
            user: "holdfast".to_owned(),
            user_roles: Vec::new(),
            user_domain: "Default".to_owned(),
            project: "service".to_owned(),
            project_domain: "Default".to_owned(),
            password_file: PathBuf::from("password"),
            interface: Interface::Internal,
            is_dry_run: false,
        };
        let printed = section(&order, "https://k.example/v3", "here", "ca_file = \"/etc/ca.pem\"\n");
        let (before, rest) = crate::config::EXAMPLE.split_once("[auth]").unwrap();
        let (_, after) = rest.split_once("[cloud]").unwrap();
        let config: crate::config::Config =
            toml::from_str(&format!("{before}{printed}[cloud]{after}")).unwrap();
        config.check().unwrap();
        assert_eq!(config.auth.keystone.trustee_role, order.trustee_role);
        let section = config.openstack.unwrap();
        assert!(section.password_file.unwrap().is_absolute());
        assert_eq!(
            (section.region.as_deref(), section.interface.as_deref()),
            (Some("here"), Some("internal"))
        );
    }
}
