//! Users of a test's own in the real Keystone: two projects, a role that writes, and a service identity. It leaves nothing behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::wait;
use openstack::{Auth, Config, Domain, Named, Scope, Service, Session};
use runtime::Entropy;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::lab::Lab;

/// Of all users here.
const PASSWORD: &str = "of-a-test-0123456789";
const SERVER_MAX: Duration = Duration::from_secs(300);
const PROJECTS: [&str; 3] = ["a", "b", "service"];

/// Who there is. All names begin with one mark; ids are kept by the word that follows it.
#[derive(Debug)]
pub struct People {
    auth_url: String,
    admin: Session,
    mark: String,
    /// By noun and word.
    ids: BTreeMap<(&'static str, String), String>,
    runtime: tokio::runtime::Runtime,
    is_open: bool,
}

impl People {
    /// Makes the projects `a`, `b` and `service`, the role, and the service identity.
    pub fn create(lab: &Lab) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut people = Self {
            auth_url: lab.admin.get("OS_AUTH_URL").context("the cloud has no OS_AUTH_URL")?.clone(),
            admin: Session::new(Config::from_variables(lab.admin.clone())?)?,
            mark: format!("holdfast-test-{}", Entropy.uuid().simple()),
            ids: BTreeMap::new(),
            runtime,
            is_open: true,
        };
        for project in PROJECTS {
            people.make("project", project, json!({ "domain_id": "default" }))?;
        }
        people.make("role", "trustee", json!({}))?;
        people.add("holdfast", "service", &["service"])?;
        Ok(people)
    }

    /// The role that writes.
    #[must_use]
    pub fn role(&self) -> String {
        self.name("trustee")
    }

    /// Makes a user with roles in a project.
    pub fn add(&mut self, user: &str, project: &str, roles: &[&str]) -> Result<()> {
        self.make("user", user, json!({ "domain_id": "default", "password": PASSWORD }))?;
        roles.iter().try_for_each(|role| self.give_role(user, project, role))
    }

    /// Gives a user a role in a project.
    pub fn give_role(&self, user: &str, project: &str, role: &str) -> Result<()> {
        let path = self.assignment(user, project, role)?;
        Ok(self.runtime.block_on(self.admin.put(Service::Identity, &path, &json!({})).done())?)
    }

    /// Takes a role of a user in a project.
    pub fn take_role(&self, user: &str, project: &str, role: &str) -> Result<()> {
        let path = self.assignment(user, project, role)?;
        Ok(self.runtime.block_on(self.admin.delete(Service::Identity, &path).done())?)
    }

    /// Deletes a user, as the operator would.
    pub fn delete_user(&mut self, user: &str) -> Result<()> {
        let id = self.ids.remove(&("user", user.to_owned())).context("there is no such user")?;
        self.remove("user", &id)
    }

    /// The id of a project.
    pub fn project_id(&self, project: &str) -> Result<&str> {
        self.id("project", project)
    }

    /// Starts a server of a user, on a local disk and without a network, and waits until it is active; gives its id.
    pub fn boot(&self, lab: &Lab, user: &str, project: &str) -> Result<String> {
        let session = self.session(user, Some(project))?;
        let image = self.find(&session, Service::Image, "images", &lab.image)?;
        let flavor = self.find(&session, Service::Compute, "flavors", &lab.flavor)?;
        let body =
            json!({ "server": { "name": user, "imageRef": image, "flavorRef": flavor, "networks": "none" } });
        let made: Value = self.runtime.block_on(session.post(Service::Compute, "/servers", &body).json())?;
        let id = made["server"]["id"].as_str().context("the server has no id")?.to_owned();
        let path = format!("/servers/{id}");
        wait::until(SERVER_MAX, &format!("server {id} is active"), || {
            let shown: Value = self.runtime.block_on(session.get(Service::Compute, &path).json())?;
            let status = shown["server"]["status"].as_str().unwrap_or_default();
            ensure!(status != "ERROR", "server {id} is in error: {}", shown["server"]["fault"]);
            Ok((status == "ACTIVE").then_some(()))
        })?;
        Ok(id)
    }

    /// Deletes all servers of the projects, and waits until they are gone.
    fn delete_servers(&self) -> Result<()> {
        for project in PROJECTS {
            let path = format!("/servers?all_tenants=1&project_id={}", self.id("project", project)?);
            wait::until(SERVER_MAX, &format!("project {project} has no servers"), || {
                let servers =
                    self.runtime.block_on(self.admin.list::<Value>(Service::Compute, &path, "servers"))?;
                for id in servers.iter().filter_map(|server| server["id"].as_str()) {
                    let path = format!("/servers/{id}");
                    self.runtime.block_on(self.admin.delete_if_there(Service::Compute, &path))?;
                }
                Ok(servers.is_empty().then_some(()))
            })?;
        }
        Ok(())
    }

    /// Neutron gives each project that looks at its networks a security group.
    fn delete_security_groups(&self) -> Result<()> {
        for project in PROJECTS {
            let path = format!("/security-groups?project_id={}", self.id("project", project)?);
            let groups = self.runtime.block_on(self.admin.list::<Value>(
                Service::Network,
                &path,
                "security_groups",
            ))?;
            for id in groups.iter().filter_map(|group| group["id"].as_str()) {
                let path = format!("/security-groups/{id}");
                self.runtime.block_on(self.admin.delete_if_there(Service::Network, &path))?;
            }
        }
        Ok(())
    }

    fn find(&self, session: &Session, service: Service, key: &str, name: &str) -> Result<String> {
        let rows = self.runtime.block_on(session.list::<Value>(service, &format!("/{key}"), key))?;
        let row = rows.iter().find(|row| row["name"] == name);
        let id = row.with_context(|| format!("none of the {key} is {name}"))?["id"].as_str();
        Ok(id.context("there is no id")?.to_owned())
    }

    /// A token of a user, for a project or for none.
    pub fn token(&self, user: &str, project: Option<&str>) -> Result<SecretString> {
        let token = self.runtime.block_on(self.session(user, project)?.token())?;
        Ok(token.secret().clone())
    }

    fn session(&self, user: &str, project: Option<&str>) -> Result<Session> {
        let named =
            |word: &str| Named::Name { name: self.name(word), domain: Domain::Id("default".to_owned()) };
        let scope = project.map_or(Scope::Default, |project| Scope::Project(named(project)));
        let auth = Auth::password(&self.auth_url, named(user), PASSWORD.to_owned().into(), scope)?;
        Ok(self.admin.with_auth(auth))
    }

    /// Makes the tokens of a user end, as a new password does.
    pub fn end_tokens(&self, user: &str) -> Result<()> {
        let path = format!("/users/{}", self.id("user", user)?);
        let body = json!({ "user": { "password": format!("{PASSWORD}-anew") } });
        Ok(self.runtime.block_on(self.admin.patch(Service::Identity, &path, &body).done())?)
    }

    /// The ids of all trusts that the service identity was given, as Keystone tells them.
    pub fn trusts(&self) -> Result<Vec<String>> {
        let trustee = self.id("user", "holdfast")?;
        let trusts = self.runtime.block_on(self.admin.keystone().trusts_of_trustee(trustee))?;
        Ok(trusts.into_iter().map(|trust| trust.id).collect())
    }

    /// The controller's `[auth]` and `[openstack]`; the password goes into a file in `folder`.
    pub fn auth(&self, folder: &Path) -> Result<String> {
        self.auth_with(folder, &self.role())
    }

    /// The same with another role that writes.
    pub fn auth_with(&self, folder: &Path, trustee_role: &str) -> Result<String> {
        let password_file = folder.join("openstack.password");
        std::fs::write(&password_file, PASSWORD)?;
        Ok(format!(
            "[auth]\nkind = \"keystone\"\n\n[auth.keystone]\ntrustee_role = \"{trustee_role}\"\ntoken_cache_ms = 1000\n\n\
             [openstack]\nauth_url = \"{}\"\nuser = \"{}\"\npassword_file = {password_file:?}\nproject = \"{}\"\n",
            self.auth_url,
            self.name("holdfast"),
            self.name("service"),
        ))
    }

    /// Removes all of it.
    pub fn close(mut self) -> Result<()> {
        self.is_open = false;
        self.delete_all()
    }

    fn name(&self, word: &str) -> String {
        format!("{}-{word}", self.mark)
    }

    fn id(&self, noun: &'static str, word: &str) -> Result<&str> {
        let id = self.ids.get(&(noun, word.to_owned()));
        id.map(String::as_str).with_context(|| format!("there is no {noun} {word}"))
    }

    fn make(&mut self, noun: &'static str, word: &str, mut body: Value) -> Result<()> {
        body["name"] = self.name(word).into();
        let request = self.admin.post(Service::Identity, &format!("/{noun}s"), &json!({ noun: body }));
        let made: Value = self.runtime.block_on(request.json())?;
        let id = made[noun]["id"].as_str().context("what was made has no id")?;
        self.ids.insert((noun, word.to_owned()), id.to_owned());
        Ok(())
    }

    fn assignment(&self, user: &str, project: &str, role: &str) -> Result<String> {
        let found = self
            .runtime
            .block_on(self.admin.get(Service::Identity, "/roles").query("name", role).json::<Value>())?;
        let role_id = found["roles"][0]["id"]
            .as_str()
            .with_context(|| format!("Keystone has no role {role}"))?
            .to_owned();
        let (user, project) = (self.id("user", user)?, self.id("project", project)?);
        Ok(format!("/projects/{project}/users/{user}/roles/{role_id}"))
    }

    fn remove(&self, noun: &str, id: &str) -> Result<()> {
        let path = format!("/{noun}s/{id}");
        Ok(self.runtime.block_on(self.admin.delete_if_there(Service::Identity, &path))?)
    }

    fn delete_all(&self) -> Result<()> {
        self.delete_servers()?;
        self.delete_security_groups()?;
        for ((noun, _), id) in self.ids.iter().rev() {
            self.remove(noun, id)?;
        }
        let left = self.runtime.block_on(self.admin.list::<Value>(Service::Identity, "/users", "users"))?;
        ensure!(
            !left.iter().any(|user| user["name"].to_string().contains(&self.mark)),
            "a user is still there"
        );
        Ok(())
    }
}

impl Drop for People {
    /// After a failure; what is still in the way of it is said, and the listing at the end shows it.
    fn drop(&mut self) {
        if self.is_open
            && let Err(error) = self.delete_all()
        {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "the users of {} were not removed: {error:#}", self.mark);
        }
    }
}
