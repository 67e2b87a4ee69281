//! What Nova and Cinder tell is shown on the workload; what we tell is heard by a listener of oslo.messaging.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::wait;
use model::{CloudChange, InstanceId, WorkloadId};
use openstack_tests::broker_user::{BrokerUser, Rights};
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::oslo_listener::OsloListener;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::Site;
use runtime::Entropy;
use secrecy::ExposeSecret as _;

const HEARD_MAX: Duration = Duration::from_secs(60);

/// Waits until the workload shows it; gives the words for people.
fn wait_for_change(site: &Site, workload: WorkloadId, change: CloudChange, subject: &str) -> Result<String> {
    wait::until(HEARD_MAX, &format!("the workload shows that {subject} was {change}"), || {
        let shown = site.world.block_on(site.world.client.show_workload(workload))?;
        let found = shown
            .notifications
            .into_iter()
            .find(|told| told.change == change && told.subject_id.to_string() == subject);
        Ok(found.map(|told| told.detail))
    })
}

fn assert_shown(
    project: &Project,
    site: &Site,
    workload: WorkloadId,
    (server, volume): (&str, &str),
) -> Result<()> {
    let phase = Phase::begin("notifications: a volume grows, another comes and goes");
    project.run(&["--os-volume-api-version", "3.42", "volume", "set", "--size", "2", volume])?;
    let detail = wait_for_change(site, workload, CloudChange::Extended, volume)?;
    ensure!(detail == "to 2 GiB", "{detail}");
    let other = project.create_one(&["volume", "create", "--size", "1", "other"])?;
    project.wait_for_status(&["volume"], &other, "available")?;
    project.run(&["server", "add", "volume", server, &other])?;
    let detail = wait_for_change(site, workload, CloudChange::VolumeAttached, server)?;
    ensure!(detail.contains(&other), "{detail}");
    project.run(&["server", "remove", "volume", server, &other])?;
    let detail = wait_for_change(site, workload, CloudChange::VolumeDetached, server)?;
    ensure!(detail.contains(&other), "{detail}");
    drop(phase);

    let phase = Phase::begin("notifications: the server is shelved, and then deleted");
    project.run(&["server", "shelve", "--offload", "--wait", server])?;
    wait_for_change(site, workload, CloudChange::Shelved, server)?;
    project.run(&["server", "delete", "--wait", server])?;
    wait_for_change(site, workload, CloudChange::Deleted, server)?;
    let shown = site.world.cli(&["workload", "show", "web"]).output()?;
    let shown = String::from_utf8(shown.stdout)?;
    let line = shown.lines().find(|line| line.contains("deleted") && line.contains(server));
    line.context("`workload show` says that the server was deleted")?;
    drop(phase);
    Ok(())
}

#[test]
fn what_happens_in_the_cloud_is_shown_and_what_happens_here_is_told() -> Result<()> {
    let lab = Lab::from_env()?;
    let broker = lab.broker()?;
    let project = Project::create(&lab)?;
    let folder = tempfile::tempdir()?;
    let word = Entropy.uuid().simple().to_string();
    let (queue, exchange) = (format!("holdfast.heard-{word}"), format!("holdfast-{word}"));

    let phase =
        Phase::begin("notifications: a server, a Holdfast, and somebody who listens by oslo.messaging");
    // As docs/operations.md says it, with names of our own.
    let ours = BrokerUser::create(
        broker,
        Rights {
            configure: &format!("^{queue}$"),
            write: &format!("^({queue}|{exchange})$"),
            read: &format!("^({queue}|nova|openstack)$"),
        },
    )?;
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, ours.password.expose_secret())?;
    let section = format!(
        "[notifications]\nbrokers = [\"amqp://{}\"]\nuser = \"{}\"\npassword_file = {password_file:?}\nqueue = \"{queue}\"\n\
         emit_exchange = \"{exchange}\"\n",
        broker.address, ours.name
    );
    let somebody = BrokerUser::create(broker, Rights::ALL)?;
    let mut listener = OsloListener::start(broker, &somebody, &exchange, "notifications")?;
    let image = lab.image.clone();
    let server = project.create_volume_server("web", &["--image", &image, "--boot-from-volume", "1"])?;
    Guest::wait_for(&server)?;
    let volume = project.volume_of(&server)?;
    let site = Site::open_telling(&lab, &project, section)?;
    let instance: InstanceId = server.parse()?;
    let workload = site.world.create_workload("web", &[instance])?;
    drop(phase);

    let phase = Phase::begin("notifications: a snapshot is heard of by oslo.messaging");
    let snapshot = site.world.take_snapshot(workload, true)?;
    let told = listener.wait_for("the snapshot", |told| told.event_type == "holdfast.snapshot.available")?;
    ensure!(told.payload["snapshot_id"] == snapshot.summary.id.to_string(), "{told:?}");
    ensure!(told.payload["workload_id"] == workload.to_string(), "{told:?}");
    let project_id = snapshot.summary.project_id.to_string();
    ensure!(
        told.project_id.as_deref() == Some(&project_id) && told.payload["tenant_id"] == project_id,
        "{told:?}"
    );
    ensure!(told.priority == "info" && told.publisher_id.starts_with("holdfast."), "{told:?}");
    drop(phase);

    assert_shown(&project, &site, workload, (&server, &volume))?;
    site.close()?;
    // What the cloud's broker is left with: nothing of ours.
    let events = listener.finish()?;
    ensure!(events.iter().all(|told| told.publisher_id.starts_with("holdfast.")), "{events:?}");
    broker.control(&["delete_queue", "-p", "/", &queue], "")?;
    let left = broker.control(&["list_queues", "-p", "/", "name"], "")?;
    ensure!(!left.contains(&word), "{left}");
    project.close()
}
