//! Freezing and thawing real guests, and those that cannot be.

use std::time::{Duration, Instant};

use anyhow::Result;
use cloud::Host as _;
use model::InstanceId;
use openstack_tests::compute::Compute;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use runtime::Entropy;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_frozen_once_and_thawed_once_and_a_silent_one_never() -> Result<()> {
    let lab = Lab::from_env()?;
    let (project, compute) = (Project::create(&lab)?, Compute::open(&lab).await?);
    let host = compute.host();
    let phase = Phase::begin("guests: server from an image, booted");
    let instance = project.create_local_server("frozen")?;
    let (guest, id) = (Guest::wait_for(&instance)?, instance.parse::<InstanceId>()?);
    drop(phase);

    let phase = Phase::begin("guests: frozen twice, thawed twice");
    let frozen = host.freeze(id).await?.count;
    assert!(frozen >= 1, "{frozen}");
    assert_eq!(guest.frozen_status()?, "frozen");
    assert!(host.freeze(id).await?.count >= 1, "it is frozen already");
    assert_eq!(host.thaw(id).await?.count, frozen, "it had been frozen until now");
    assert_eq!(host.thaw(id).await?.count, 0, "nothing was frozen any more");
    assert_eq!(guest.frozen_status()?, "thawed");
    guest.write_file("/var/lib/after", 1)?;
    drop(phase);

    let phase = Phase::begin("guests: paused, then with an agent that hangs");
    project.run(&["server", "pause", &instance])?;
    project.wait_for_status(&["server"], &instance, "PAUSED")?;
    assert_eq!(host.freeze(id).await?.count, 0, "a paused guest");
    project.run(&["server", "unpause", &instance])?;
    project.wait_for_status(&["server"], &instance, "ACTIVE")?;
    guest.run("(sleep 1; kill -STOP $(pidof qemu-ga)) > /dev/null 2>&1 &")?;
    let hangs = || Ok(guest.frozen_status().err());
    integration_tests::wait::until(Duration::from_secs(60), "the agent hangs", hangs)?;
    let started_at = Instant::now();
    assert_eq!(host.freeze(id).await?.count, 0, "an agent that hangs");
    assert!(started_at.elapsed() < Duration::from_secs(15), "{:?}", started_at.elapsed());
    assert_eq!(host.thaw(id).await?.count, 0, "it was never told to freeze");
    drop(phase);
    project.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_an_agents_channel_is_not_frozen_and_a_foreign_one_is_refused() -> Result<()> {
    let lab = Lab::from_env()?;
    let (project, compute) = (Project::create(&lab)?, Compute::open(&lab).await?);
    let host = compute.host();
    let phase = Phase::begin("guests: server from an empty volume, without an agent's channel");
    let volume = project.create_one(&["volume", "create", "--size", "1", "--bootable", "empty"])?;
    project.wait_for_status(&["volume"], &volume, "available")?;
    let id = project.create_volume_server("silent", &["--volume", &volume])?.parse()?;
    assert_eq!(host.freeze(id).await?.count, 0);
    assert_eq!(host.thaw(id).await?.count, 0);
    let foreign = InstanceId::from_uuid(Entropy.uuid());
    assert_eq!(host.freeze(foreign).await.unwrap_err().code, "FOREIGN_INSTANCE");
    drop(phase);
    project.close()
}
