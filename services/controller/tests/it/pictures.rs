//! The pictures in `docs/sagas` are those that the definitions and the machine give now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use saga::render::{Format, draw};

use crate::harness::Harness;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sagas")
}

/// What should be there, by file name.
async fn make_pictures() -> BTreeMap<String, String> {
    let harness = Harness::start().await;
    let mut pictures = BTreeMap::new();
    for shape in harness.engine.shapes() {
        for format in Format::ALL {
            let name = format!("{}.{}", shape.kind, format.extension());
            pictures.insert(name, draw(shape, None, format));
        }
    }
    pictures
}

/// `UPDATE=1` writes them.
#[tokio::test]
async fn the_pictures_of_all_sagas_are_fresh() {
    let pictures = make_pictures().await;
    if std::env::var_os("UPDATE").is_some() {
        for (name, text) in &pictures {
            std::fs::write(folder().join(name), text).unwrap();
        }
    }
    for (name, text) in &pictures {
        let committed = std::fs::read_to_string(folder().join(name)).unwrap_or_default();
        assert!(committed == *text, "docs/sagas/{name} is stale: run make update");
    }
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, pictures.into_keys().collect(), "a picture of a saga that is no more");
}
