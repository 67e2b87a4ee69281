//! What users do to an instance in mid-transfer: it works, and the point in time is lost and never taken for another.

use anyhow::Result;
use openstack_tests::carrier::Carrier;
use openstack_tests::compute::Compute;
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{bitmaps, checkpoints};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;

const MIB: u64 = 1 << 20;

/// An action of a user, and by which words of the error they know it again.
struct Action {
    name: &'static str,
    run: fn(&Project, &str) -> Result<()>,
    words: &'static str,
}

const ACTIONS: [Action; 5] = [
    Action {
        name: "actions: image create in mid-transfer",
        run: |project, instance| {
            let image = project.create_one(&["server", "image", "create", "--name", "picture", instance])?;
            project.wait_for_status(&["image"], &image, "active")
        },
        words: "creation of an image",
    },
    Action { name: "actions: stop in mid-transfer", run: Project::stop, words: "the instance was stopped" },
    Action {
        name: "actions: hard reboot in mid-transfer",
        run: |project, instance| {
            project.run(&["server", "reboot", "--hard", "--wait", instance])?;
            project.wait_for_status(&["server"], instance, "ACTIVE")
        },
        words: "stopped and started again",
    },
    Action {
        name: "actions: rebuild in mid-transfer",
        run: |project, instance| {
            project.run(&["server", "rebuild", "--wait", instance])?;
            project.wait_for_status(&["server"], instance, "ACTIVE")
        },
        words: "stopped and started again",
    },
    Action {
        name: "actions: delete in mid-transfer",
        run: |project, instance| project.run(&["server", "delete", "--wait", instance]).map(|_| ()),
        words: "deleted",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_does_in_mid_transfer_works_and_the_point_in_time_is_lost() -> Result<()> {
    let (lab, carrier) = (Lab::from_env()?, Carrier::new()?);
    let (project, compute) = (Project::create(&lab)?, Compute::open(&lab).await?);
    let phase = Phase::begin("actions: server from an image, booted, cut once");
    let instance = project.create_local_server("busy")?;
    Guest::wait_for(&instance)?;
    let base = compute.cut(&instance, None).await?;
    compute.end(&base, true).await?;
    drop(phase);

    for Action { name, run, words } in ACTIONS {
        let phase = Phase::begin(name);
        let cut = compute.cut(&instance, Some(base.snapshot_id)).await?;
        let source = compute.source(&cut).await?;
        let reader = carrier.disks().read(&source.location, source.size).await?;
        reader.read(0, MIB).await?;
        run(&project, &instance)?;
        let loss = compute.loss(&cut).await?;
        assert_eq!(loss.code, "POINT_IN_TIME_LOST", "{name}: {loss}");
        assert!(loss.message.contains(words), "{name}: {loss}");
        let read = reader.read(0, MIB).await.unwrap_err().failure();
        assert_eq!(read.code, "POINT_IN_TIME_LOST", "{name}: {read}");
        compute.end(&cut, false).await?;
        assert!(compute.scratch()?.is_empty(), "{name}: {:?}", compute.scratch()?);
        if name.contains("stop") {
            project.start(&instance)?;
        }
        if !name.contains("delete") {
            Guest::wait_for(&instance)?.write_file("/var/lib/after", 1)?;
            assert_eq!(checkpoints(&instance)?, "", "{name}");
            assert!(bitmaps(&instance)?.len() <= 2, "{name}: {:?}", bitmaps(&instance)?);
        }
        drop(phase);
    }
    project.close()
}
