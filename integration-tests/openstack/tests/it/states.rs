//! docs/instance-states.md on a real cloud: each row as Nova tells it, the states that users bring about as the whole product
//! answers to them, and instances of things that cannot be saved. What was seen is printed, row by row.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use cloud::Cloud as _;
use integration_tests::wait;
use model::{Failure, InstanceId, WorkloadId};
use openstack::Service::Compute;
use openstack_tests::account::Account;
use openstack_tests::flavor::Flavor;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::Site;
use runtime::Entropy;
use serde_json::json;

const TABLE: &str = include_str!("../../../../docs/instance-states.md");
const STATE_MAX: Duration = Duration::from_secs(240);
/// Of a workload that is refused since another has the instance: its state was no hindrance.
const TAKEN: &str = "INSTANCE_ALREADY_PROTECTED";

/// One row of the table by state.
struct Row {
    state: &'static str,
    vm_state: &'static str,
    task_state: &'static str,
    verdict: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 7);
    let cells =
        lines.map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>());
    let rows = cells.filter(|cells| cells[1] != "State");
    rows.map(|cells| Row { state: cells[1], vm_state: cells[2], task_state: cells[3], verdict: cells[4] })
        .collect()
}

fn say(what: &str, seen: &str) {
    // Not by `println!`: the harness would keep it until the test fails.
    let _ = writeln!(std::io::stdout(), "     seen  {what}: {seen}");
}

/// What a snapshot of the instance would meet now: a code, or Nova's word for a state that is no hindrance.
async fn judge(account: &Account, id: &str) -> Result<String> {
    let outcome = account.cloud().describe_instance(&account.owner, id.parse()?).await;
    Ok(outcome.map_or_else(|Failure { code, .. }| code, |described| described.server.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_the_table_is_what_nova_tells_of_it() -> Result<()> {
    let lab = Lab::from_env()?;
    let (project, database) = (Project::create(&lab)?, lab.database()?.clone());
    let account = Account::of(&project).await?;
    let phase = Phase::begin("states: each row, written into Nova's own database for a stopped server");
    let id = project.create_local_server("rows")?;
    project.stop(&id)?;
    let set = |vm_state: &str, task_state: &str| {
        let task = if task_state.is_empty() { "NULL".to_owned() } else { format!("'{task_state}'") };
        database.run(&format!(
            "UPDATE nova.instances SET vm_state = '{vm_state}', task_state = {task} WHERE uuid = '{id}'"
        ))
    };
    let rows = rows();
    ensure!(rows.len() > 30, "the table was read: {} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        set(row.vm_state, row.task_state)?;
        let seen = judge(&account, &id).await?;
        let is_taken = ["live", "silent"].contains(&row.verdict);
        // Nova does not show what is deleted.
        let gone = row.vm_state == "deleted" && seen == "INSTANCE_NOT_FOUND";
        let as_told = if is_taken { !seen.contains('_') } else { seen == row.verdict || gone };
        say(&format!("{} ({}/{})", row.state, row.vm_state, row.task_state), &seen);
        if !as_told {
            wrong.push(format!("{} is {seen} and not {}", row.state, row.verdict));
        }
    }
    set("stopped", "")?;
    ensure!(wrong.is_empty(), "{wrong:?}");
    drop(phase);
    project.close()
}

/// A workload of an instance, and what becomes of requests for both.
struct Asker<'a> {
    site: &'a Site,
    instance: InstanceId,
    workload: WorkloadId,
}

impl Asker<'_> {
    fn refusal(error: &anyhow::Error) -> Result<String> {
        match error.downcast_ref::<rest_api::Error>() {
            Some(rest_api::Error::Refused { detail, .. }) => {
                say("in words", &detail.message);
                Ok(detail.error_code.clone())
            }
            _ => anyhow::bail!("no refusal: {error:#}"),
        }
    }

    /// Both requests are refused with this code.
    fn assert_refused(&self, what: &str, code: &str) -> Result<()> {
        let added = self.site.world.create_workload("another", &[self.instance]).unwrap_err();
        let added = Self::refusal(&added)?;
        let taken = Self::refusal(&self.site.world.start_snapshot(self.workload, true).unwrap_err())?;
        say(what, &format!("workload create {added}, snapshot create {taken}"));
        ensure!((added.as_str(), taken.as_str()) == (code, code), "{what}: {added}, {taken}, not {code}");
        Ok(())
    }

    /// A snapshot is taken; no guest answered.
    fn assert_taken(&self, what: &str, consistency: &str) -> Result<()> {
        let added = self.site.world.create_workload("another", &[self.instance]).unwrap_err();
        let added = Self::refusal(&added)?;
        ensure!(added == TAKEN, "{what}: its state is no hindrance, and yet: {added}");
        let snapshot = self.site.world.take_snapshot(self.workload, true)?;
        let seen = snapshot.instances[0].consistency.clone().unwrap_or_default();
        say(what, &format!("snapshot {}, {seen}", snapshot.summary.status));
        ensure!(seen == consistency, "{what}: {seen} and not {consistency}");
        Ok(())
    }
}

/// Codes that are met from now on, until one of `last` is.
async fn watch(account: &Account, id: &str, last: &[&str]) -> Result<Vec<String>> {
    let mut seen: Vec<String> = Vec::new();
    wait::until_async(STATE_MAX, &format!("instance {id} is judged {last:?}"), async || {
        let code = judge(account, id).await?;
        if seen.last() != Some(&code) {
            seen.push(code.clone());
        }
        Ok(last.contains(&code.as_str()).then_some(()))
    })
    .await?;
    Ok(seen)
}

#[test]
fn states_that_users_bring_about_have_the_answer_of_the_table() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("states: building, then active, and a Holdfast");
    let site = Site::open(&lab, &project)?;
    let account = site.world.block_on(Account::of(&project))?;
    let (image, flavor) = (lab.image.clone(), lab.flavor.clone());
    let create = ["server", "create", "states", "--image", &image, "--flavor", &flavor, "--nic", "none"];
    let id = project.create_one(&create)?;
    let seen = site.world.block_on(watch(&account, &id, &["ACTIVE"]))?;
    say("building", &seen.join(", "));
    ensure!(seen.iter().any(|code| code == "INSTANCE_BUILDING"), "{seen:?}");
    Guest::wait_for(&id)?;
    let instance: InstanceId = id.parse()?;
    let workload = site.world.create_workload("states", &[instance])?;
    let asker = Asker { site: &site, instance, workload };
    asker.assert_taken("active", "filesystem")?;
    drop(phase);

    let phase = Phase::begin("states: paused, suspended, shut off");
    for (verb, status, back) in [("pause", "PAUSED", "unpause"), ("suspend", "SUSPENDED", "resume")] {
        project.run(&["server", verb, &id])?;
        project.wait_for_status(&["server"], &id, status)?;
        asker.assert_taken(status, "crash")?;
        project.run(&["server", back, &id])?;
        project.wait_for_status(&["server"], &id, "ACTIVE")?;
    }
    drop(phase);

    let phase = Phase::begin("states: rescued");
    project.run(&["server", "rescue", &id])?;
    project.wait_for_status(&["server"], &id, "RESCUE")?;
    asker.assert_refused("rescued", "INSTANCE_RESCUED")?;
    project.run(&["server", "unrescue", &id])?;
    project.wait_for_status(&["server"], &id, "ACTIVE")?;
    drop(phase);

    let phase = Phase::begin("states: shut off, resized where the cloud can, shelved");
    project.stop(&id)?;
    asker.assert_taken("shut off", "crash")?;
    resize(&lab, &project, &asker, &id)?;
    project.run(&["server", "shelve", &id])?;
    project.wait_for_status(&["server"], &id, "SHELVED_OFFLOADED")?;
    asker.assert_refused("shelved", "INSTANCE_SHELVED")?;
    drop(phase);

    let phase = Phase::begin("states: deleted");
    project.run(&["server", "delete", &id])?;
    let seen = site.world.block_on(watch(&account, &id, &["INSTANCE_NOT_FOUND"]))?;
    say("deleted under way", &seen.join(", "));
    asker.assert_refused("deleted", "INSTANCE_NOT_FOUND")?;
    drop(phase);
    site.close()?;
    project.close()
}

/// A cloud of one host can resize only where Nova's `allow_resize_to_same_host` is set.
fn resize(lab: &Lab, project: &Project, asker: &Asker<'_>, id: &str) -> Result<()> {
    let flavor = Flavor::create(lab, &["--ram", "320"])?;
    let asked = project.run(&["server", "resize", "--flavor", flavor.name(), id]);
    let settled = wait::until(STATE_MAX, "the resize is done, or refused", || {
        let shown = project.json(&["server", "show", id])?;
        let (status, task) = (shown["status"].as_str(), shown["OS-EXT-STS:task_state"].as_str());
        Ok(task.is_none().then(|| status.unwrap_or_default().to_owned()))
    })?;
    if settled == "VERIFY_RESIZE" {
        asker.assert_refused("resized, not confirmed", "INSTANCE_RESIZED")?;
        project.run(&["server", "resize", "revert", id])?;
        return project.wait_for_status(&["server"], id, "SHUTOFF");
    }
    let answer = asked.map_or_else(|error| format!("{error:#}"), |_| format!("the server is {settled}"));
    say("resized, not confirmed: NOT SEEN, this cloud resizes nothing", &answer);
    Ok(())
}

fn added(site: &Site, what: &str, id: &str) -> Result<String> {
    let seen = match site.world.create_workload(what, &[id.parse()?]) {
        Ok(_) => "is taken".to_owned(),
        Err(error) => Asker::refusal(&error)?,
    };
    say(what, &seen);
    Ok(seen)
}

#[test]
fn what_cannot_be_saved_is_refused_and_what_nova_makes_anew_is_not_missed() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let site = Site::open(&lab, &project)?;
    let image = lab.image.clone();
    let admin = site.world.block_on(Account::admin(&lab))?;

    let phase = Phase::begin("parts: swap disk and config drive");
    let swap = Flavor::create(&lab, &["--ram", "256", "--swap", "64"])?;
    let of_swap = ["--image", &image, "--flavor", swap.name(), "--nic", "none", "--config-drive", "True"];
    let id = project.create_one(&[&["server", "create", "swap", "--wait"], &of_swap[..]].concat())?;
    project.wait_for_status(&["server"], &id, "ACTIVE")?;
    let workload = site.world.create_workload("swap", &[id.parse()?])?;
    let snapshot = site.world.take_snapshot(workload, true)?;
    let disks: Vec<_> = snapshot.instances[0].vdisks.iter().map(|disk| disk.label.clone()).collect();
    say("swap disk and config drive", &format!("taken, with disks {disks:?}"));
    ensure!(disks == ["vda"], "{disks:?}");
    project.run(&["server", "delete", "--wait", &id])?;
    drop((swap, phase));

    let phase = Phase::begin("parts: ephemeral disk");
    let flavor = Flavor::create(&lab, &["--ram", "256", "--ephemeral", "1"])?;
    let of_flavor = ["--image", &image, "--flavor", flavor.name(), "--nic", "none"];
    let id = project.create_one(&[&["server", "create", "ephemeral", "--wait"], &of_flavor[..]].concat())?;
    project.wait_for_status(&["server"], &id, "ACTIVE")?;
    ensure!(added(&site, "ephemeral disk", &id)? == "INSTANCE_HAS_EPHEMERAL_DISK");
    project.run(&["server", "delete", "--wait", &id])?;
    drop((flavor, phase));

    let phase = Phase::begin("parts: vTPM by flavor, which no host here has");
    let tpm = ["--ram", "256", "--property", "hw:tpm_version=2.0"];
    let flavor = Flavor::create(&lab, &tpm)?;
    let of_flavor = ["--image", &image, "--flavor", flavor.name(), "--nic", "none"];
    let id = project.create_one(&[&["server", "create", "tpm"], &of_flavor[..]].concat())?;
    project.wait_for_status(&["server"], &id, "ERROR")?;
    ensure!(added(&site, "never placed", &id)? == "INSTANCE_IN_ERROR");
    let reset = json!({"os-resetState": {"state": "active"}});
    site.world.block_on(admin.act(Compute, &format!("/servers/{id}/action"), reset))?;
    ensure!(added(&site, "vTPM by flavor", &id)? == "INSTANCE_HAS_VTPM");
    project.run(&["server", "delete", "--wait", &id])?;
    drop((flavor, phase));

    let phase = Phase::begin("parts: vTPM by image property, encrypted volume");
    let id = project.create_volume_server("volume", &["--image", &image, "--boot-from-volume", "1"])?;
    Guest::wait_for(&id)?;
    let volume = project.volume_of(&id)?;
    project.run(&["volume", "set", "--image-property", "hw_tpm_version=2.0", &volume])?;
    ensure!(added(&site, "vTPM by image property", &id)? == "INSTANCE_HAS_VTPM");
    project.run(&["volume", "unset", "--image-property", "hw_tpm_version", &volume])?;
    encrypt(&lab, &project, &site, &id)?;
    drop(phase);
    site.close()?;
    project.close()
}

/// A volume type whose volumes are encrypted by the hypervisor; gone when dropped.
struct EncryptedType<'a> {
    lab: &'a Lab,
    name: String,
}

impl<'a> EncryptedType<'a> {
    fn create(lab: &'a Lab) -> Result<Self> {
        let made = Self { lab, name: format!("holdfast-test-{}", Entropy.uuid().simple()) };
        let encryption = ["--encryption-provider", "luks", "--encryption-cipher", "aes-xts-plain64"];
        let more = ["--encryption-key-size", "256", "--encryption-control-location", "front-end"];
        lab.admin(&[&["volume", "type", "create", &made.name], &encryption[..], &more].concat(), "")?;
        Ok(made)
    }
}

impl Drop for EncryptedType<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.lab.admin(&["volume", "type", "delete", &self.name], "") {
            let _ = writeln!(std::io::stderr(), "volume type {} was not removed: {error:#}", self.name);
        }
    }
}

fn encrypt(lab: &Lab, project: &Project, site: &Site, id: &str) -> Result<()> {
    let encrypted = EncryptedType::create(lab)?;
    let volume =
        project.create_one(&["volume", "create", "--size", "1", "--type", &encrypted.name, "luks"])?;
    project.wait_for_status(&["volume"], &volume, "available")?;
    project.run(&["server", "add", "volume", id, &volume])?;
    project.wait_for_status(&["volume"], &volume, "in-use")?;
    ensure!(added(site, "encrypted volume", id)? == "VOLUME_ENCRYPTED");

    project.run(&["volume", "set", "--property", "exclude_from_backup=True", &volume])?;
    let workload = site.world.create_workload("without the encrypted one", &[id.parse()?])?;
    let snapshot = site.world.take_snapshot(workload, true)?;
    let disks: Vec<_> = snapshot.instances[0].vdisks.iter().map(|disk| disk.label.clone()).collect();
    say("encrypted volume that is excluded", &format!("taken, with disks {disks:?}"));
    ensure!(disks == ["vda"], "{disks:?}");

    project.run(&["server", "remove", "volume", id, &volume])?;
    project.wait_for_status(&["volume"], &volume, "available")?;
    project.run(&["volume", "delete", &volume])?;
    // Its type can only go after it.
    wait::until(STATE_MAX, "the encrypted volume is gone", || {
        let volumes = project.json(&["volume", "list"])?;
        Ok((!volumes.to_string().contains(&volume)).then_some(()))
    })
}
