use std::sync::Arc;

use backup_target::{BackupTarget, Faulty};
use bytes::Bytes;
use model::{ErrorClass, ObjectName};
use runtime::FaultTable;

use crate::conforms::make_target;

async fn perform(
    target: &dyn BackupTarget,
    effect: &str,
    name: &ObjectName,
) -> Result<(), backup_target::Error> {
    match effect {
        "target_put" => target.put(name, Bytes::from_static(b"x")).await,
        "target_get" => target.get(name).await.map(drop),
        "target_list" => target.list(None).await.map(drop),
        _ => target.delete(name).await,
    }
}

#[tokio::test]
async fn each_effect_fails_as_the_table_says() {
    for effect in ["target_put", "target_get", "target_list", "target_delete"] {
        for (fail, class) in [
            ("transient", Some(ErrorClass::Transient)),
            ("permanent", Some(ErrorClass::Permanent)),
            ("indeterminate", Some(ErrorClass::Indeterminate)),
            ("delay", None),
        ] {
            let (folder, inner) = make_target();
            let name: ObjectName = "a/b".parse().unwrap();
            if effect != "target_put" {
                inner.put(&name, Bytes::from_static(b"x")).await.unwrap();
            }
            let table = folder.path().join(".faults.toml");
            let text =
                format!("[[fault]]\neffect = \"{effect}\"\nfail = \"{fail}\"\ntimes = 1\ndelay_ms = 1\n");
            std::fs::write(&table, text).unwrap();
            let inner = Arc::new(inner);
            let target = Faulty::new(Arc::clone(&inner), Arc::new(FaultTable::from_file(&table)));
            let outcome = perform(&target, effect, &name).await;
            assert_eq!(outcome.as_ref().err().map(backup_target::Error::class), class, "{effect} {fail}");
            let happened = inner.size(&name).await.unwrap().is_some() == (effect != "target_delete");
            match (effect, fail) {
                ("target_put" | "target_delete", "transient" | "permanent") => {
                    assert!(!happened, "{effect} {fail}")
                }
                _ => assert!(happened, "{effect} {fail}"),
            }
            perform(&target, effect, &name).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_broken_table_is_a_failure_that_names_it() {
    let (folder, inner) = make_target();
    let table = folder.path().join(".faults.toml");
    std::fs::write(&table, "[[fault]]\nefect = 1\n").unwrap();
    let target = Faulty::new(inner, Arc::new(FaultTable::from_file(&table)));
    let failure = target.list(None).await.unwrap_err().failure();
    assert_eq!(failure.code, "DRILL_TABLE_INVALID");
    assert!(failure.message.contains(".faults.toml"), "{failure}");
}
