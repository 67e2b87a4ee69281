//! A project of a test's own, as an ordinary member of it. It leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::wait;
use runtime::Entropy;
use serde_json::Value;

use crate::lab::Lab;
use crate::tool;

const STATE_MAX: Duration = Duration::from_secs(300);
/// What a member makes in a project, in the order in which it goes.
const NOUNS: [&[&str]; 5] = [&["server"], &["volume", "snapshot"], &["volume"], &["image"], &["port"]];

/// A project and its only user.
#[derive(Debug)]
pub struct Project {
    lab: Lab,
    name: String,
    environment: BTreeMap<String, String>,
    /// Beside the first.
    roles: Mutex<Vec<String>>,
    is_open: bool,
}

impl Project {
    /// Makes both.
    pub fn create(lab: &Lab) -> Result<Self> {
        let name = format!("holdfast-test-{}", Entropy.uuid().simple());
        let password = Entropy.uuid().to_string();
        let mut environment = lab.admin.clone();
        environment.insert("OS_USERNAME".to_owned(), name.clone());
        environment.insert("OS_PASSWORD".to_owned(), password.clone());
        environment.insert("OS_PROJECT_NAME".to_owned(), name.clone());
        let project = Self { lab: lab.clone(), name, environment, roles: Mutex::default(), is_open: true };
        let name = &project.name;
        lab.admin(
            &[],
            &format!(
                "project create {name} --domain default\n\
                 user create {name} --domain default --password {password}\n\
                 role add --project {name} --user {name} member\n"
            ),
        )?;
        // The client reads on after a command that failed: whether all went well is seen by what the user may do.
        ensure!(project.list(&["server"])?.is_empty(), "a new project is empty");
        Ok(project)
    }

    /// Its name, and that of its user.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's variables `OS_*`.
    #[must_use]
    pub const fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Runs `openstack` as the user; gives what it printed as JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.run(&[arguments, &["-f", "json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("not JSON: {printed}"))
    }

    /// Runs `openstack` as the user.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        tool::run(self.lab.command(&self.environment).args(arguments), "")
    }

    /// Creates something and gives its id.
    pub fn create_one(&self, arguments: &[&str]) -> Result<String> {
        id_of(&self.json(arguments)?)
    }

    /// Starts a server from the image, on a local disk, and waits until it is active.
    pub fn create_local_server(&self, name: &str) -> Result<String> {
        self.create_local_server_of(name, &self.lab.flavor)
    }

    /// The same, of another flavor.
    pub fn create_local_server_of(&self, name: &str, flavor: &str) -> Result<String> {
        self.create_server(name, &["--image", &self.lab.image, "--flavor", flavor, "--nic", "none"])
    }

    /// Starts a server without a local disk and with a port, and waits until it is active.
    pub fn create_volume_server(&self, name: &str, boot_from: &[&str]) -> Result<String> {
        let Lab { flavor_diskless, network, .. } = &self.lab;
        self.create_server(name, &[boot_from, &["--flavor", flavor_diskless, "--network", network]].concat())
    }

    fn create_server(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let id = self.create_one(&[&["server", "create", name], arguments].concat())?;
        self.wait_for_status(&["server"], &id, "ACTIVE")?;
        Ok(id)
    }

    /// Makes an empty volume and attaches it to a server.
    pub fn attach_new_volume(&self, server: &str, name: &str) -> Result<String> {
        self.attach_new_volume_of(server, name, None)
    }

    /// The same, of another volume type than the cloud's own choice.
    pub fn attach_new_volume_of(
        &self,
        server: &str,
        name: &str,
        volume_type: Option<&str>,
    ) -> Result<String> {
        let of_type = volume_type.map(|name| ["--type", name]);
        let of_type = of_type.as_ref().map_or(&[][..], |words| words);
        let volume = self.create_one(&[&["volume", "create", "--size", "1", name], of_type].concat())?;
        self.wait_for_status(&["volume"], &volume, "available")?;
        self.run(&["server", "add", "volume", server, &volume])?;
        self.wait_for_status(&["volume"], &volume, "in-use")?;
        Ok(volume)
    }

    /// Starts a server from a new volume that goes with it, and waits until it is active.
    pub fn create_server_with_its_volume(&self, name: &str) -> Result<String> {
        let image = self.lab.image.clone();
        let server = self.create_volume_server(name, &["--image", &image, "--boot-from-volume", "1"])?;
        let volume = self.volume_of(&server)?;
        self.run(&["server", "volume", "update", "--delete-on-termination", &server, &volume])?;
        Ok(server)
    }

    /// Gives the user another role in the project.
    pub fn give_role(&self, role: &str) -> Result<()> {
        let name = &self.name;
        self.roles().push(role.to_owned());
        self.lab.admin(&["role", "add", "--project", name, "--user", name, role], "").map(drop)
    }

    /// The only volume of a server.
    pub fn volume_of(&self, server: &str) -> Result<String> {
        let volumes = self.json(&["server", "volume", "list", server])?;
        let id = volumes[0]["Volume ID"].as_str().context("the server has no volume")?;
        Ok(id.to_owned())
    }

    /// Waits until a thing is in a state.
    pub fn wait_for_status(&self, noun: &[&str], id: &str, wanted: &str) -> Result<()> {
        let what = format!("{} {id} is {wanted}", noun.join(" "));
        let show = [noun, &["show", id]].concat();
        wait::until(STATE_MAX, &what, || {
            let shown = self.json(&show)?;
            let status = shown["status"].as_str().unwrap_or_default();
            let failed = status.to_lowercase().contains("error") && status != wanted;
            ensure!(!failed, "{} {id} is {status} and not {wanted}: {}", noun.join(" "), shown["fault"]);
            Ok((status == wanted).then_some(()))
        })
    }

    /// Stops a server, and waits until it is.
    pub fn stop(&self, server: &str) -> Result<()> {
        self.run(&["server", "stop", server])?;
        self.wait_for_status(&["server"], server, "SHUTOFF")
    }

    /// Starts a server, and waits until it runs.
    pub fn start(&self, server: &str) -> Result<()> {
        self.run(&["server", "start", server])?;
        self.wait_for_status(&["server"], server, "ACTIVE")
    }

    /// Deletes all that is in it, then the project, and sees that it is gone.
    pub fn close(mut self) -> Result<()> {
        self.is_open = false;
        self.delete_all()
    }

    fn delete_all(&self) -> Result<()> {
        // An administrator is shown ports and images of all projects.
        let name = &self.name;
        for role in std::mem::take(&mut *self.roles()) {
            self.lab.admin(&["role", "remove", "--project", name, "--user", name, &role], "")?;
        }
        for noun in NOUNS {
            let what = format!("project {} has no {} any more", self.name, noun.join(" "));
            wait::until(STATE_MAX, &what, || {
                let ids = self.list(noun)?;
                for id in &ids {
                    // A refusal is seen by the next listing: what is busy now may be deleted later.
                    let _ = self.run(&[noun, &["delete", id]].concat());
                }
                Ok(ids.is_empty().then_some(()))
            })?;
        }
        let mut commands = String::new();
        // Neutron gives each project a security group, which only the administrator may delete.
        let groups = ["security", "group", "list", "--project", &self.name, "-f", "value", "-c", "ID"];
        for id in self.lab.admin(&groups, "")?.lines() {
            writeln!(commands, "security group delete {id}")?;
        }
        for noun in ["user", "project"] {
            writeln!(commands, "{noun} delete {}", self.name)?;
        }
        self.lab.admin(&[], &commands)?;
        let left = self.lab.admin(&["project", "list", "-f", "value", "-c", "Name"], "")?;
        ensure!(!left.lines().any(|line| line == self.name), "project {} is still there", self.name);
        Ok(())
    }

    fn roles(&self) -> MutexGuard<'_, Vec<String>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of all things of a kind that are the project's own.
    fn list(&self, noun: &[&str]) -> Result<Vec<String>> {
        let own: &[&str] = match noun {
            ["image"] => &["--private"],
            _ => &[],
        };
        let rows = self.json(&[noun, &["list"], own].concat())?;
        rows.as_array().into_iter().flatten().map(id_of).collect()
    }
}

impl Drop for Project {
    /// After a failure; what is still in the way of it is said, and the listing at the end shows it.
    fn drop(&mut self) {
        if self.is_open
            && let Err(error) = self.delete_all()
        {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "project {} was not removed: {error:#}", self.name);
        }
    }
}

fn id_of(row: &Value) -> Result<String> {
    let id = row["id"].as_str().or_else(|| row["ID"].as_str()).context("there is no id")?;
    Ok(id.to_owned())
}
