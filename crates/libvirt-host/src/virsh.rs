//! libvirt, by its own `virsh`: each call one short process.
//!
//! The crate `virt` has no safe calls for backups and checkpoints, and holds the whole workspace to one version of `libc`.
//! What this costs: some 20 ms for each call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{ByteCount, InstanceId};
use serde_json::Value;

use crate::Error;
use crate::domain::{self, Domain};
use crate::tool::Tool;

/// libvirt gives up waiting for another job on the domain after 30 s; we do before.
const CALL_MAX: Duration = Duration::from_secs(20);
const ANSWER_MAX: ByteCount = ByteCount(domain::LENGTH_MAX as u64);

/// libvirt of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Virsh {
    /// The program, and what comes before all other arguments.
    program: &'static str,
    leading: Vec<PathBuf>,
    uri: String,
}

impl Virsh {
    pub(crate) const fn new(uri: String) -> Self {
        Self { program: "virsh", leading: Vec::new(), uri }
    }

    /// Another program in its place.
    #[cfg(test)]
    pub(crate) fn fake(program: &'static str, leading: Vec<PathBuf>) -> Self {
        Self { program, leading, ..Self::new("fake:///".to_owned()) }
    }

    /// Which hypervisor this is, of which version.
    pub(crate) async fn version(&self) -> Result<String, Error> {
        let lines = self.call(&["version"]).await?;
        let version = |line: &str| line.strip_prefix("Running hypervisor: ").map(str::to_owned);
        Ok(lines.lines().find_map(version).unwrap_or_default())
    }

    /// The instances that run here.
    pub(crate) async fn running(&self) -> Result<BTreeSet<InstanceId>, Error> {
        self.list(&[]).await
    }

    /// The instances that libvirt knows, running or not.
    pub(crate) async fn defined(&self) -> Result<BTreeSet<InstanceId>, Error> {
        self.list(&["--all"]).await
    }

    async fn list(&self, which: &[&str]) -> Result<BTreeSet<InstanceId>, Error> {
        let ids = self.call(&[&["list", "--uuid"], which].concat()).await?;
        Ok(ids.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }

    /// The instance's domain.
    ///
    /// Errors: `ForeignInstance`.
    pub(crate) async fn domain(&self, instance: InstanceId) -> Result<Domain, Error> {
        let text = self.ask(instance, &["dumpxml".as_ref()]).await?;
        Domain::parse(instance, &text)
    }

    /// State and reason in libvirt's words: `running (booted)`.
    pub(crate) async fn state(&self, instance: InstanceId) -> Result<String, Error> {
        let state = self.ask(instance, &["domstate".as_ref(), "--reason".as_ref()]).await?;
        Ok(state.trim().to_owned())
    }

    /// The sizes of the disks that have one, by device.
    pub(crate) async fn sizes(&self, instance: InstanceId) -> Result<BTreeMap<String, ByteCount>, Error> {
        let table = self.ask(instance, &["domblkinfo".as_ref(), "--all".as_ref()]).await?;
        Ok(read_sizes(&table))
    }

    /// The socket of the backup job on the domain, whoever's it is.
    pub(crate) async fn backup_socket(&self, instance: InstanceId) -> Result<Option<PathBuf>, Error> {
        match self.ask(instance, &["backup-dumpxml".as_ref()]).await {
            Ok(xml) => Ok(Some(read_socket(&xml).unwrap_or_default())),
            Err(Error::ToolRefused { said, .. }) if is_no_job(&said) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins a backup that somebody else reads, and a checkpoint in the same moment.
    pub(crate) async fn begin_backup(
        &self,
        instance: InstanceId,
        backup: &Path,
        checkpoint: Option<&Path>,
    ) -> Result<(), Error> {
        let mut arguments = vec!["backup-begin".as_ref(), "--backupxml".as_ref(), backup];
        arguments.extend(checkpoint.into_iter().flat_map(|path| ["--checkpointxml".as_ref(), path]));
        self.order(instance, &arguments).await
    }

    /// Ends the job that is on the domain.
    pub(crate) async fn abort_job(&self, instance: InstanceId) -> Result<(), Error> {
        self.order(instance, &["domjobabort".as_ref()]).await
    }

    /// Lets a paused guest run.
    pub(crate) async fn resume(&self, instance: InstanceId) -> Result<(), Error> {
        self.order(instance, &["resume".as_ref()]).await
    }

    /// The checkpoints that libvirt keeps of the domain.
    pub(crate) async fn checkpoints(&self, instance: InstanceId) -> Result<Vec<String>, Error> {
        let names = self.ask(instance, &["checkpoint-list".as_ref(), "--name".as_ref()]).await?;
        Ok(names.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Tells libvirt of a checkpoint whose bitmap is in the disk's file.
    pub(crate) async fn redefine_checkpoint(&self, instance: InstanceId, xml: &Path) -> Result<(), Error> {
        let arguments = ["checkpoint-create".as_ref(), "--redefine".as_ref(), "--xmlfile".as_ref(), xml];
        self.order(instance, &arguments).await
    }

    /// What to tell libvirt of a checkpoint when it has forgotten it.
    pub(crate) async fn checkpoint_xml(&self, instance: InstanceId, name: &str) -> Result<String, Error> {
        let arguments =
            ["checkpoint-dumpxml", "--no-domain", "--checkpointname", name].map(AsRef::<Path>::as_ref);
        self.ask(instance, &arguments).await
    }

    /// Lets libvirt forget a checkpoint. The bitmap stays in the disk's file.
    pub(crate) async fn forget_checkpoint(&self, instance: InstanceId, name: &str) -> Result<(), Error> {
        let arguments =
            ["checkpoint-delete", "--metadata", "--checkpointname", name].map(AsRef::<Path>::as_ref);
        self.order(instance, &arguments).await
    }

    /// Removes a checkpoint with its bitmap.
    pub(crate) async fn delete_checkpoint(&self, instance: InstanceId, name: &str) -> Result<(), Error> {
        let arguments = ["checkpoint-delete", "--checkpointname", name].map(AsRef::<Path>::as_ref);
        self.order(instance, &arguments).await
    }

    /// Asks the guest's agent a question without arguments; gives its `return`.
    ///
    /// Errors: `AgentSilent`; a refusal of the agent's is a `ToolRefused`.
    pub(crate) async fn ask_agent(
        &self,
        instance: InstanceId,
        question: &str,
        patience: Duration,
    ) -> Result<Value, Error> {
        let seconds = patience.as_secs().max(1).to_string();
        let question = serde_json::json!({ "execute": question }).to_string();
        let arguments =
            ["qemu-agent-command", "--timeout", &seconds, "--cmd", &question].map(AsRef::<Path>::as_ref);
        let silent = |said: String| Error::AgentSilent { instance, said };
        let asked = tokio::time::timeout(patience, self.ask(instance, &arguments)).await;
        let answer = match asked {
            Ok(Err(Error::ToolRefused { said, .. })) if is_silence(&said) => return Err(silent(said)),
            Ok(answer) => answer?,
            Err(_) => return Err(silent(format!("not within {seconds} s"))),
        };
        let answer: Value =
            serde_json::from_str(&answer).map_err(|error| silent(format!("unreadably: {error}")))?;
        Ok(answer.get("return").cloned().unwrap_or_default())
    }

    async fn order(&self, instance: InstanceId, arguments: &[&Path]) -> Result<(), Error> {
        self.ask(instance, arguments).await.map(|_| ())
    }

    /// Runs one command about the instance, whose domain libvirt knows by the instance's id.
    async fn ask(&self, instance: InstanceId, arguments: &[&Path]) -> Result<String, Error> {
        let [command, options @ ..] = arguments else { unreachable!("a command has a name") };
        let tool = self.tool().args([command]).args(["--domain", &instance.to_string()]).args(options);
        tool.run().await.map_err(|error| match error {
            Error::ToolRefused { said, .. } if is_unknown(&said) => Error::ForeignInstance { instance },
            error => reach(error),
        })
    }

    /// Runs one command about no instance.
    async fn call(&self, arguments: &[&str]) -> Result<String, Error> {
        self.tool().args(arguments).run().await.map_err(reach)
    }

    fn tool(&self) -> Tool {
        Tool::new(self.program, CALL_MAX, ANSWER_MAX).args(&self.leading).args([
            "--quiet",
            "--connect",
            &self.uri,
        ])
    }
}

fn reach(error: Error) -> Error {
    match error {
        Error::ToolRefused { said, .. } if is_unreachable(&said) => Error::LibvirtUnreachable { said },
        error => error,
    }
}

/// libvirt's words for a domain that it does not have. They are those of `LC_ALL=C`.
fn is_unknown(said: &str) -> bool {
    said.starts_with("failed to get domain") || said.contains("Domain not found")
}

fn is_unreachable(said: &str) -> bool {
    said.contains("failed to connect to the hypervisor") || said.contains("Failed to connect socket")
}

fn is_no_job(said: &str) -> bool {
    said.contains("no domain backup job present") || said.contains("domain is not running")
}

fn is_silence(said: &str) -> bool {
    said.contains("Guest agent is not responding")
        || said.contains("guest agent is not connected")
        || said.contains("QEMU guest agent is not configured")
        || said.contains("domain is not running")
}

/// Lines of device, capacity, allocation, physical size; `-` for what has none.
fn read_sizes(table: &str) -> BTreeMap<String, ByteCount> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (device, capacity) = (words.next()?, words.next()?);
        Some((device.to_owned(), ByteCount(capacity.parse().ok()?)))
    };
    table.lines().filter_map(read).collect()
}

/// The Unix socket of a backup job.
fn read_socket(xml: &str) -> Option<PathBuf> {
    let document = domain::read(xml).ok()?;
    let server = domain::children(document.root_element(), "server").next()?;
    Some(server.attribute("socket")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_medium_has_no_size() {
        let sizes = read_sizes(" vda   1073741824   403750912    1073741824\n sda   -   -   -\n\n");
        assert_eq!(sizes, BTreeMap::from([("vda".to_owned(), ByteCount(1_073_741_824))]));
    }

    #[test]
    fn the_socket_tells_whose_a_job_is() {
        let xml = "<domainbackup mode='pull'><server transport='unix' socket='/s/nbd'/></domainbackup>";
        assert_eq!(read_socket(xml), Some("/s/nbd".into()));
        assert_eq!(read_socket("<domainbackup mode='push'/>"), None);
    }
}
