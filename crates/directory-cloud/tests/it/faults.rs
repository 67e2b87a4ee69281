//! Every effect fails in every way that the fault table knows.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use cloud::{Cloud as _, Host as _, Placement as _};
use model::{DiskFormat, ErrorClass, Failure, InstanceId, VolumeId};

use crate::toy::{self, Toy, owner, tag};

/// Effects that leave a line, with the line.
const CHANGING: [(&str, &str); 10] = [
    ("cut", "cut"),
    ("end_cut", "end_cut"),
    ("create_volume_snapshot", "create_volume_snapshot"),
    ("create_volume", "create_volume"),
    ("create_instance", "create_instance"),
    ("delete_instances", "delete_instance"),
    ("delete_volumes", "delete_volume"),
    ("delete_volume_snapshots", "delete_volume_snapshot"),
    ("freeze", "freeze"),
    ("thaw", "thaw"),
];
const READING: [&str; 6] = [
    "describe_instance",
    "list_instances",
    "source_disk",
    "check_moment",
    "destination_disk",
    "locate_instance",
];

/// A cloud in which each effect has something to do: things to delete, a frozen guest, a free volume.
struct Stage {
    toy: Toy,
    cut: model::VolumeSnapshotId,
    free_volume: VolumeId,
    frozen: InstanceId,
}

impl Stage {
    async fn new() -> Self {
        let toy = Toy::new();
        let cloud = toy.cloud();
        let cut = cloud.create_volume_snapshot(&owner(), toy.volume(0), &tag("old")).await.expect("is cut");
        cloud.create_volume(&owner(), &toy::make_volume("old", DiskFormat::Raw)).await.expect("is made");
        let free = toy::make_volume("free", DiskFormat::Raw);
        let free_volume = cloud.create_volume(&owner(), &free).await.expect("is made");
        let new = toy::make_instance(toy.describe(toy.web.id).await, vec![], "old");
        cloud.create_instance(&owner(), &new).await.expect("is made");
        toy.host("host-a").cut(&toy::make_cut(toy.web.id, toy::snapshot(1))).await.expect("is cut");
        toy.host("host-a").freeze(toy.other.id).await.expect("is frozen");
        std::fs::remove_file(toy.path().join("effects.log")).expect("is there");
        let frozen = toy.other.id;
        Self { toy, cut, free_volume, frozen }
    }

    fn run<'a>(&'a self, effect: &'a str) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>> {
        let (cloud, host) = (self.toy.cloud(), self.toy.host("host-a"));
        let (web, volume) = (self.toy.web.id, self.toy.volume(0));
        Box::pin(async move {
            match effect {
                "describe_instance" => cloud.describe_instance(&owner(), web).await.map(drop),
                "list_instances" => cloud.list_instances(&owner()).await.map(drop),
                "create_volume_snapshot" => {
                    cloud.create_volume_snapshot(&owner(), volume, &tag("new")).await.map(drop)
                }
                "delete_volume_snapshots" => cloud.delete_volume_snapshots(&owner(), &tag("old")).await,
                "create_volume" => {
                    let volume = toy::make_volume("new", DiskFormat::Qcow2);
                    cloud.create_volume(&owner(), &volume).await.map(drop)
                }
                "delete_volumes" => cloud.delete_volumes(&owner(), &tag("old")).await,
                "create_instance" => {
                    let description = self.toy.describe(web).await;
                    let new = toy::make_instance(description, vec![self.free_volume], "new");
                    cloud.create_instance(&owner(), &new).await.map(drop)
                }
                "delete_instances" => cloud.delete_instances(&owner(), &tag("old")).await,
                "freeze" => host.freeze(web).await.map(drop),
                "thaw" => host.thaw(self.frozen).await.map(drop),
                "source_disk" => {
                    let disk = volume.to_string().parse().expect("is a disk id");
                    host.source_disk(&toy::at_volume_snapshot(web, &disk, self.cut)).await.map(drop)
                }
                "check_moment" => {
                    let disk = volume.to_string().parse().expect("is a disk id");
                    host.check_moment(&toy::at_volume_snapshot(web, &disk, self.cut)).await
                }
                "cut" => host.cut(&toy::make_cut(web, toy::snapshot(2))).await.map(drop),
                "end_cut" => host.end_cut(web, toy::snapshot(1), false).await,
                "destination_disk" => host.destination_disk(self.free_volume).await.map(drop),
                "locate_instance" => self.toy.placement().locate_instance(web).await.map(drop),
                other => panic!("no effect {other}"),
            }
        })
    }

    fn strike(&self, effect: &str, fail: &str, delay_ms: u64) {
        let table = format!("[[fault]]\neffect = \"{effect}\"\nfail = \"{fail}\"\ndelay_ms = {delay_ms}\n");
        self.toy.write("faults.toml", &table);
    }

    fn calm(&self) {
        std::fs::remove_file(self.toy.path().join("faults.toml")).expect("is there");
    }
}

/// Those that only read come first: what they read is then still there.
fn all_effects() -> impl Iterator<Item = &'static str> {
    READING.into_iter().chain(CHANGING.map(|(effect, _)| effect))
}

#[tokio::test]
async fn before_its_effect_each_fails_cleanly_and_works_when_the_fault_is_gone() {
    let stage = Stage::new().await;
    for effect in all_effects() {
        let done = stage.toy.effects().len();
        for (fail, class) in [("transient", ErrorClass::Transient), ("permanent", ErrorClass::Permanent)] {
            stage.strike(effect, fail, 0);
            let failure = stage.run(effect).await.expect_err(effect);
            assert_eq!((failure.class, failure.code.as_str()), (class, "CLOUD_FAULT"), "{effect}");
            assert!(failure.message.contains(effect), "{failure}");
        }
        assert_eq!(stage.toy.effects().len(), done, "{effect} happened all the same");
        stage.calm();
        stage.run(effect).await.expect(effect);
    }
    assert_eq!(stage.toy.effect_names(), CHANGING.map(|(_, line)| line));
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect_and_repeating_it_makes_no_second() {
    let stage = Stage::new().await;
    for (effect, line) in CHANGING {
        stage.strike(effect, "indeterminate", 0);
        for _ in 0..2 {
            let failure = stage.run(effect).await.expect_err(effect);
            assert_eq!((failure.class, failure.code.as_str()), (ErrorClass::Indeterminate, "CLOUD_FAULT"));
        }
        stage.calm();
        stage.run(effect).await.expect(effect);
        let happened = stage.toy.effect_names().iter().filter(|name| *name == line).count();
        assert_eq!(happened, 1, "{effect}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_comes_before_the_effect() {
    let stage = Stage::new().await;
    for effect in all_effects() {
        stage.strike(effect, "delay", 60_000);
        let (start, real_start) = (tokio::time::Instant::now(), Instant::now());
        stage.run(effect).await.expect(effect);
        assert!(start.elapsed() >= Duration::from_secs(60), "{effect} did not wait");
        assert!(real_start.elapsed() < Duration::from_secs(60), "{effect} held its thread");
        stage.calm();
    }
}

#[tokio::test]
async fn a_broken_fault_table_is_named() {
    let stage = Stage::new().await;
    stage.toy.write("faults.toml", "[[fault]]\nefect = \"freeze\"\n");
    let failure = stage.run("freeze").await.unwrap_err();
    assert_eq!(failure.code, "DRILL_INVALID");
    assert!(failure.message.contains("faults.toml") && failure.message.contains("efect"), "{failure}");
}
