//! Effects of a snapshot that fail for real, because the cloud is as it is: each is refused or taken back with a code and a
//! sentence, and what is around the instances is as before.

use anyhow::{Context as _, Result, ensure};
use openstack_tests::estate::Estate;
use openstack_tests::guest::Guest;
use openstack_tests::phase::Phase;

/// Something that is wrong with the cloud.
struct Trouble {
    name: &'static str,
    begin: fn(&Estate) -> Result<()>,
    end: fn(&Estate) -> Result<()>,
    /// The code by which the snapshot, or its refusal, says it.
    codes: &'static [&'static str],
}

/// Runs `openstack` as the administrator.
fn admin(estate: &Estate, arguments: &[&str]) -> Result<()> {
    estate.lab.admin(arguments, "").map(drop)
}

const TROUBLES: [Trouble; 3] = [
    Trouble {
        name: "no room for a volume snapshot in the quota",
        begin: |estate| admin(estate, &["quota", "set", "--snapshots", "0", estate.project.name()]),
        end: |estate| admin(estate, &["quota", "set", "--snapshots", "10", estate.project.name()]),
        codes: &["QUOTA_TOO_SMALL"],
    },
    Trouble {
        name: "a volume in error",
        begin: |estate| admin(estate, &["volume", "set", "--state", "error", &estate.volume]),
        end: |estate| admin(estate, &["volume", "set", "--state", "in-use", &estate.volume]),
        codes: &["VOLUME_IN_ERROR"],
    },
    Trouble {
        name: "an instance in error",
        begin: |estate| admin(estate, &["server", "set", "--state", "error", &estate.db]),
        end: |estate| admin(estate, &["server", "set", "--state", "active", &estate.db]),
        codes: &["INSTANCE_IN_ERROR"],
    },
];

#[test]
fn what_the_cloud_refuses_is_said_and_nothing_is_left() -> Result<()> {
    let phase = Phase::begin("failing: two servers and a Holdfast");
    let estate = Estate::make()?;
    let before = estate.ledger()?;
    drop(phase);
    for Trouble { name, begin, end, codes } in TROUBLES {
        let phase = Phase::begin(format!("failing: {name}; code and ledger compared"));
        begin(&estate)?;
        let said = snapshot_that_fails(&estate);
        end(&estate)?;
        let said = said.with_context(|| name.to_owned())?;
        ensure!(codes.iter().any(|code| said.contains(code)), "{name}: {said}");
        estate.assert_as_before(&before, name)?;
        drop(phase);
    }
    let phase = Phase::begin("failing: when all is well again, it works; read back, guests compared");
    let snapshot = estate.site.world.take_snapshot(estate.workload, true)?;
    estate.assert_readable(&snapshot)?;
    for server in [&estate.web, &estate.db] {
        ensure!(Guest::wait_for(server)?.frozen_status()? == "thawed", "{server} is thawed");
    }
    drop(phase);
    estate.close()
}

/// What is said of a snapshot: when it is asked for, or when it ended.
fn snapshot_that_fails(estate: &Estate) -> Result<String> {
    let world = &estate.site.world;
    let id = match world.start_snapshot(estate.workload, true) {
        Ok(id) => id,
        // Its text is for people; the code is beside it.
        Err(refusal) => return Ok(format!("{:?}", refusal.downcast_ref::<rest_api::Error>())),
    };
    let snapshot = world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.status == "error", "it is {}", snapshot.summary.status);
    let saga = world.block_on(world.client.show_saga(snapshot.summary.saga_id))?;
    Ok(format!("{saga:?}"))
}
