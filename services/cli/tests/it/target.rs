//! Targets and keys, made on this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::command::{Ran, run};

fn init(path: &Path, more: &[&str]) -> Ran {
    let mut arguments = vec!["target", "init", path.to_str().unwrap(), "-f", "value", "-c", "id"];
    arguments.extend_from_slice(more);
    run(&[], &arguments)
}

#[test]
fn a_target_is_initialised_once_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let first = init(dir.path(), &[]);
    assert_eq!(first.exit, 0, "{first:?}");
    let second = init(dir.path(), &[]);
    assert_eq!((second.exit, second.stdout), (0, first.stdout));
    assert!(dir.path().join("repo.json").is_file());
}

#[test]
fn a_folder_with_other_things_in_it_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("holiday.jpg"), "x").unwrap();
    init(dir.path(), &[]).check_refused(4, "not empty");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_key_is_drawn_once_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (key, target) = (dir.path().join("master.key"), dir.path().join("target"));
    std::fs::create_dir(&target).unwrap();
    let key_text = key.to_str().unwrap();
    assert_eq!(init(&target, &["--key-file", key_text]).exit, 0);
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let content = std::fs::read(&key).unwrap();
    assert_eq!(init(&target, &["--key-file", key_text]).exit, 0, "a key that is there is kept");
    run(&[], &["key", "create", key_text]).check_refused(4, key_text);
    assert_eq!(std::fs::read(&key).unwrap(), content);
    let second = dir.path().join("second.key");
    let made = run(&[], &["key", "create", second.to_str().unwrap()]);
    assert!(made.exit == 0 && made.stderr.contains("safe place"), "{made:?}");
    assert_ne!(std::fs::read(&second).unwrap(), content);
}
