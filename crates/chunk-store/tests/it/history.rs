use std::collections::BTreeMap;

use bytes::Bytes;
use chunk_store::{Level, Opened, verify};
use model::SnapshotId;
use proptest::prelude::*;
use target_format::names;

use crate::world::{CHUNK, World, feed, make_noise, new_snapshot};

#[tokio::test]
async fn a_purge_leaves_every_other_snapshot_whole_and_the_last_leaves_nothing() {
    let world = World::new();
    let before = world.everything();
    world.target.put(&names::lineage_record(world.lineage), Bytes::from_static(b"{}")).await.unwrap();
    let mut disk = make_noise(64 * CHUNK, 1);
    let (first, _) = world.back_up(&disk, None).await;
    disk[..20 * CHUNK].copy_from_slice(&make_noise(20 * CHUNK, 2));
    let (second, _) = world.back_up(&disk, Some(first)).await;
    let marker = names::snapshot_marker(world.lineage, first);
    world.target.put(&marker, Bytes::from_static(b"{}")).await.unwrap();
    let purged = world.purge(first).await;
    assert!(purged.pack_count >= 1 && !purged.lineage_removed, "{purged:?}");
    assert!(!world.everything().iter().any(|path| path.to_str().unwrap().contains(&first.to_string())));
    assert!(world.restore(second).await.unwrap() == disk);
    assert_eq!(world.purge(first).await, chunk_store::PurgeSummary::default(), "once more changes nothing");
    assert!(world.restore(second).await.unwrap() == disk);
    assert!(world.purge(second).await.lineage_removed);
    assert_eq!(world.everything(), before);
    assert!(world.purge(second).await.lineage_removed);
}

#[tokio::test]
async fn a_purge_takes_temporary_files_of_a_killed_put_too() {
    let world = World::new();
    let before = world.everything();
    let (first, _) = world.back_up(&make_noise(CHUNK, 1), None).await;
    let folder = world.packs()[0].parent().unwrap().to_owned();
    std::fs::write(folder.join(".tmp-0190b7a0-0000-7000-8000-000000000000"), b"half").unwrap();
    world.purge(first).await;
    assert_eq!(world.everything(), before);
}

#[tokio::test]
async fn a_purge_removes_nothing_while_it_cannot_know_what_another_snapshot_needs() {
    let world = World::new();
    let disk = make_noise(8 * CHUNK, 1);
    let (first, _) = world.back_up(&disk, None).await;
    let (second, _) = world.back_up(&disk, Some(first)).await;
    let path =
        world.everything().into_iter().find(|path| path.ends_with(format!("{second}/manifest"))).unwrap();
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"rubbish").unwrap();
    let error = chunk_store::purge(&*world.target, world.lineage, first).await.unwrap_err();
    assert_eq!(error.failure().code, "MANIFEST_DAMAGED");
    assert!(world.restore(first).await.unwrap() == disk);
    std::fs::write(&path, good).unwrap();
    world.purge(first).await;
    assert!(world.restore(second).await.unwrap() == disk);
}

#[tokio::test]
async fn a_purge_of_an_unfinished_snapshot_leaves_the_target_as_before() {
    let world = World::new();
    let disk = make_noise(100 * CHUNK, 1);
    let (first, _) = world.back_up(&disk, None).await;
    let before = world.everything();
    let second = new_snapshot();
    let changed = make_noise(100 * CHUNK, 2);
    let Opened::New(mut session) = world.open(second, Some(first), changed.len()).await.unwrap() else {
        panic!()
    };
    feed(&mut session, &changed).await.unwrap();
    session.close().await;
    assert!(world.everything().len() > before.len());
    world.purge(second).await;
    assert_eq!(world.everything(), before);
    assert!(world.restore(first).await.unwrap() == disk);
}

#[derive(Debug, Clone)]
enum Act {
    /// Changes slots, and takes a snapshot on top of the `parent`-th of those that are left, or a full one.
    BackUp {
        changes: Vec<(usize, Option<u64>)>,
        parent: Option<prop::sample::Index>,
    },
    /// As `BackUp`, but gives up after some slots and starts again.
    BackUpTwice {
        seed: u64,
        fed: usize,
        parent: Option<prop::sample::Index>,
    },
    Purge(prop::sample::Index),
}

const SLOTS: usize = 24;

fn any_act() -> impl Strategy<Value = Act> {
    let change = (0..SLOTS, prop::option::weighted(0.8, any::<u64>()));
    let parent = || prop::option::weighted(0.85, any::<prop::sample::Index>());
    let back_up = (prop::collection::vec(change, 0..6), parent());
    prop_oneof![
        4 => back_up.prop_map(|(changes, parent)| Act::BackUp { changes, parent }),
        1 => (any::<u64>(), 0..SLOTS, parent()).prop_map(|(seed, fed, parent)| Act::BackUpTwice { seed, fed, parent }),
        3 => any::<prop::sample::Index>().prop_map(Act::Purge),
    ]
}

struct History {
    world: World,
    disk: Vec<u8>,
    left: BTreeMap<SnapshotId, Vec<u8>>,
}

impl History {
    fn parent(&self, index: Option<prop::sample::Index>) -> Option<SnapshotId> {
        index
            .filter(|_| !self.left.is_empty())
            .map(|index| *self.left.keys().nth(index.index(self.left.len())).unwrap())
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::BackUp { changes, parent } => {
                for (slot, seed) in changes {
                    let place = slot * CHUNK..((slot + 1) * CHUNK).min(self.disk.len());
                    match seed {
                        Some(seed) => {
                            self.disk[place.clone()].copy_from_slice(&make_noise(place.len(), seed))
                        }
                        None => self.disk[place].fill(0),
                    }
                }
                let (snapshot, _) = self.world.back_up(&self.disk, self.parent(parent)).await;
                self.left.insert(snapshot, self.disk.clone());
            }
            Act::BackUpTwice { seed, fed, parent } => {
                let (snapshot, parent) = (new_snapshot(), self.parent(parent));
                self.disk[..12 * CHUNK].copy_from_slice(&make_noise(12 * CHUNK, seed));
                let opened = self.world.open(snapshot, parent, self.disk.len()).await.unwrap();
                let Opened::New(mut session) = opened else { panic!() };
                feed(&mut session, &self.disk).await.unwrap();
                if fed % 2 == 0 {
                    session.close().await
                } else {
                    drop(session)
                }
                let opened = self.world.open(snapshot, parent, self.disk.len()).await.unwrap();
                let (Opened::New(mut session) | Opened::Resumed(mut session)) = opened else { panic!() };
                feed(&mut session, &self.disk).await.unwrap();
                session.finish().await.unwrap();
                self.left.insert(snapshot, self.disk.clone());
            }
            Act::Purge(index) => {
                if let Some(snapshot) = self.parent(Some(index)) {
                    self.world.purge(snapshot).await;
                    self.left.remove(&snapshot);
                }
            }
        }
    }

    async fn check(&self) {
        for (snapshot, disk) in &self.left {
            verify(&self.world.target, self.world.lineage, *snapshot, Level::Digests).await.unwrap();
            assert!(self.world.restore(*snapshot).await.unwrap() == *disk);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_backed_up_and_purged_in_any_order_what_is_left_always_restores(acts in prop::collection::vec(any_act(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            world.pack_length = 16 << 10;
            let before = world.everything();
            let mut history = History { world, disk: make_noise(SLOTS * CHUNK - 100, 0), left: BTreeMap::new() };
            for act in acts {
                history.act(act).await;
                history.check().await;
            }
            for snapshot in history.left.keys() {
                history.world.purge(*snapshot).await;
            }
            history.world.purge(new_snapshot()).await;
            assert_eq!(history.world.everything(), before);
        });
    }
}
