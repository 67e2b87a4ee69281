use std::path::Path;

use chunk_store::{Level, verify};
use model::SnapshotId;

use crate::world::{CHUNK, World, make_noise};

fn flip(path: &Path, place: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[place] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

/// Noise, text and holes in three packs or more, segment included.
async fn make_world() -> (World, SnapshotId) {
    let mut world = World::new();
    world.pack_length = 8 << 10;
    let mut disk = make_noise(5 * CHUNK, 1);
    disk.extend(std::iter::repeat_n(b"Holdfast ", 2000).flatten().take(4 * CHUNK));
    disk.extend(vec![0; 3 * CHUNK]);
    disk.extend(make_noise(77, 2));
    let (snapshot, _) = world.back_up(&disk, None).await;
    assert!(world.packs().len() >= 3);
    (world, snapshot)
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_a_pack_fails_the_restore_and_names_the_pack() {
    let (world, snapshot) = make_world().await;
    for pack in world.packs() {
        let length = usize::try_from(pack.metadata().unwrap().len()).unwrap();
        // Every header and footer byte, and one in 37 of the rest.
        let in_body = |place: &usize| (64..length - 300).contains(place);
        for place in (0..length).filter(|place| !in_body(place) || place % 37 == 0) {
            flip(&pack, place);
            let failure =
                world.restore(snapshot).await.expect_err(&format!("byte {place} is flipped")).failure();
            assert_eq!(failure.code, "PACK_DAMAGED", "byte {place}: {failure}");
            let name = pack.file_name().unwrap().to_str().unwrap();
            assert!(failure.message.contains(name), "byte {place} of {name}: {failure}");
            flip(&pack, place);
        }
    }
    world.restore(snapshot).await.unwrap();
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_a_pack_fails_verify_with_and_without_the_key() {
    let (world, snapshot) = make_world().await;
    for pack in world.packs() {
        let length = usize::try_from(pack.metadata().unwrap().len()).unwrap();
        for place in (0..length).step_by(101) {
            flip(&pack, place);
            for level in [Level::Digests, Level::Full(&world.key)] {
                let failure =
                    verify(&world.target, world.lineage, snapshot, level).await.unwrap_err().failure();
                assert_eq!(failure.code, "PACK_DAMAGED", "byte {place}: {failure}");
            }
            verify(&world.target, world.lineage, snapshot, Level::Presence).await.unwrap();
            flip(&pack, place);
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_the_manifest_is_found() {
    let (world, snapshot) = make_world().await;
    let manifest = world.everything().into_iter().find(|path| path.ends_with("manifest")).unwrap();
    let length = usize::try_from(manifest.metadata().unwrap().len()).unwrap();
    for place in 0..length {
        flip(&manifest, place);
        let failure = world.restore(snapshot).await.expect_err(&format!("byte {place} is flipped")).failure();
        assert_eq!(failure.code, "MANIFEST_DAMAGED", "byte {place}: {failure}");
        flip(&manifest, place);
    }
}

#[tokio::test]
async fn a_missing_a_shortened_and_a_misplaced_pack_are_named() {
    let (world, snapshot) = make_world().await;
    let packs = world.packs();
    let content = std::fs::read(&packs[0]).unwrap();
    let name = packs[0].file_name().unwrap().to_str().unwrap();
    let altered = [
        (Some(content[..content.len() - 1].to_vec()), "PACK_DAMAGED"),
        (Some(Vec::new()), "PACK_DAMAGED"),
        (Some(std::fs::read(&packs[1]).unwrap()), "PACK_DAMAGED"),
        (None, "PACK_MISSING"),
    ];
    for (bytes, code) in altered {
        match bytes {
            Some(bytes) => std::fs::write(&packs[0], bytes).unwrap(),
            None => std::fs::remove_file(&packs[0]).unwrap(),
        }
        for failure in [
            world.restore(snapshot).await.unwrap_err().failure(),
            verify(&world.target, world.lineage, snapshot, Level::Digests).await.unwrap_err().failure(),
        ] {
            assert_eq!(failure.code, code, "{failure}");
            assert!(failure.message.contains(name), "{failure}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_named() {
    let (world, snapshot) = make_world().await;
    world.purge(snapshot).await;
    let failure = world.restore(snapshot).await.unwrap_err().failure();
    assert_eq!(failure.code, "MANIFEST_MISSING");
    assert!(failure.message.contains(&snapshot.to_string()), "{failure}");
    let error = world.open(crate::world::new_snapshot(), Some(snapshot), CHUNK).await.unwrap_err();
    assert_eq!(error.failure().code, "PARENT_MISSING");
}

#[tokio::test]
async fn another_manifest_in_the_place_of_one_is_refused() {
    let (world, first) = make_world().await;
    let (second, _) = world.back_up(&make_noise(CHUNK, 9), None).await;
    let path = |snapshot: SnapshotId| {
        let found =
            world.everything().into_iter().find(|path| path.ends_with(format!("{snapshot}/manifest")));
        found.unwrap()
    };
    std::fs::copy(path(first), path(second)).unwrap();
    assert_eq!(world.restore(second).await.unwrap_err().failure().code, "MANIFEST_FOREIGN");
}
