use std::os::unix::fs::PermissionsExt as _;

use chunk_store::{Error, FileKeys, KeySource as _, LineageKey, Opened};
use model::LineageId;
use runtime::Entropy;

use crate::world::{World, make_noise, new_snapshot};

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    assert!(matches!(FileKeys::open(&path), Err(Error::KeyFileMissing { .. })));
    FileKeys::create(&path, &Entropy).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(matches!(FileKeys::create(&path, &Entropy), Err(Error::KeyFileExists { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    for mode in [0o640, 0o604, 0o644, 0o700] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = FileKeys::open(&path).unwrap_err();
        assert_eq!(error.failure().code, "KEY_FILE_MODE");
        assert!(error.to_string().contains("chmod 0600"), "{error}");
    }
}

#[test]
fn what_is_no_key_file_is_refused_without_showing_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let hex = "ab".repeat(32);
    for text in [
        "",
        "holdfast-key 0",
        "holdfast-key 0\nabc",
        &format!("holdfast-key 1\n{hex}\n"),
        &format!("{hex}\n"),
        &format!("holdfast-key 0\n{hex}\nmore"),
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let failure = FileKeys::open(&path).unwrap_err().failure();
        assert_eq!(failure.code, "KEY_FILE_INVALID", "{text:?}");
        assert!(!failure.message.contains("abab"));
    }
    std::fs::write(&path, format!("holdfast-key 0\n{hex}\n")).unwrap();
    FileKeys::open(&path).unwrap();
}

#[tokio::test]
async fn every_lineage_has_a_key_of_its_own_and_the_same_after_a_restart() {
    let mut world = World::new();
    let path = world.folder.path().join("key");
    let keys = FileKeys::create(&path, &Entropy).unwrap();
    world.key = keys.lineage_key(world.lineage).unwrap();
    let disk = make_noise(10_000, 1);
    let (snapshot, _) = world.back_up(&disk, None).await;
    let reopened = FileKeys::open(&path).unwrap();
    world.key = reopened.lineage_key(world.lineage).unwrap();
    assert!(world.restore(snapshot).await.unwrap() == disk);
    world.key = reopened.lineage_key(LineageId::from_uuid(Entropy.uuid())).unwrap();
    assert_eq!(world.restore(snapshot).await.unwrap_err().failure().code, "KEY_WRONG");
}

#[tokio::test]
async fn another_key_is_named_and_not_taken_for_damage() {
    let mut world = World::new();
    let disk = make_noise(10_000, 1);
    let (snapshot, _) = world.back_up(&disk, None).await;
    world.key = LineageKey::new([8; 32]);
    for outcome in [
        world.restore(snapshot).await.map(|_| ()),
        world.open(new_snapshot(), Some(snapshot), 10_000).await.map(|_| ()),
        world.open(snapshot, None, 10_000).await.map(|_| ()),
    ] {
        assert_eq!(outcome.unwrap_err().failure().code, "KEY_WRONG");
    }
}

#[tokio::test]
async fn equal_bytes_have_other_digests_under_another_key() {
    let mut world = World::new();
    let disk = make_noise(4096, 1);
    let (_, first) = world.back_up(&disk, None).await;
    let plain_digest = *blake3::hash(&disk).as_bytes();
    let holds_digest = |world: &World| {
        world
            .packs()
            .iter()
            .any(|pack| std::fs::read(pack).unwrap().windows(32).any(|bytes| bytes == plain_digest))
    };
    assert!(!holds_digest(&world), "an unkeyed digest of the content lies on the target");
    world.lineage = LineageId::from_uuid(Entropy.uuid());
    world.key = LineageKey::new([8; 32]);
    let (_, second) = world.back_up(&disk, None).await;
    assert_ne!(first.manifest_digest, second.manifest_digest);
    let debug = format!("{:?} {:?}", world.key, Opened::AlreadyComplete(second));
    assert!(debug.contains("LineageKey(..)") && !debug.contains("[8, 8"), "{debug}");
}
