//! The committed descriptor is what other programs compile against, and what a change is compared with.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/holdfast.binpb");

/// Field number to name and type, by message.
type Fields = BTreeMap<String, BTreeMap<i32, (String, i32, i32, String)>>;

fn fields_of(set: &FileDescriptorSet) -> Fields {
    fn walk(prefix: &str, message: &DescriptorProto, fields: &mut Fields) {
        let name = format!("{prefix}.{}", message.name());
        let own = message.field.iter().map(|field| {
            let shape = (field.name().to_owned(), field.r#type, field.label, field.type_name().to_owned());
            (field.number(), (shape.0, shape.1.unwrap_or(0), shape.2.unwrap_or(0), shape.3))
        });
        fields.insert(name.clone(), own.collect());
        for nested in &message.nested_type {
            walk(&name, nested, fields);
        }
    }
    let mut fields = Fields::new();
    for file in &set.file {
        for message in &file.message_type {
            walk(file.package(), message, &mut fields);
        }
    }
    fields
}

/// What a receiver of the older version would misread.
fn breaking_changes(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<String> {
    let new_fields = fields_of(new);
    let mut changes = Vec::new();
    for (message, old_fields) in fields_of(old) {
        for (number, old_field) in old_fields {
            match new_fields.get(&message).and_then(|fields| fields.get(&number)) {
                Some(new_field) if *new_field == old_field => {}
                Some(new_field) => {
                    changes.push(format!("{message} field {number}: {old_field:?} became {new_field:?}"))
                }
                None => changes.push(format!("{message} field {number} ({}) is gone", old_field.0)),
            }
        }
    }
    changes
}

#[test]
fn the_committed_descriptor_is_the_one_this_build_speaks() {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(GOLDEN, proto::DESCRIPTOR).unwrap();
    }
    let golden =
        std::fs::read(Path::new(GOLDEN)).expect("proto/holdfast.binpb is committed; UPDATE=1 writes it");
    let old = FileDescriptorSet::decode(golden.as_slice()).unwrap();
    let new = FileDescriptorSet::decode(proto::DESCRIPTOR).unwrap();
    let changes = breaking_changes(&old, &new);
    assert!(changes.is_empty(), "a receiver of the committed version would misread:\n{}", changes.join("\n"));
    assert!(golden == proto::DESCRIPTOR, "proto/holdfast.binpb is stale: run `make update` and commit it");
}

#[test]
fn a_renumbered_field_is_a_breaking_change() {
    let old = FileDescriptorSet::decode(proto::DESCRIPTOR).unwrap();
    let mut new = old.clone();
    let message =
        new.file.iter_mut().flat_map(|file| &mut file.message_type).find(|m| m.name() == "FreezeGuest");
    message.unwrap().field[2].number = Some(9);
    assert_eq!(breaking_changes(&old, &new).len(), 1);
}

#[test]
fn every_command_to_a_datamover_can_be_read_as_a_placed_command() {
    let set = FileDescriptorSet::decode(proto::DESCRIPTOR).unwrap();
    let file = set.file.iter().find(|file| file.name().ends_with("mover.proto")).unwrap();
    assert!(file.message_type.len() > 5);
    for message in &file.message_type {
        let names: Vec<_> = message.field.iter().take(2).map(|f| (f.number(), f.name())).collect();
        assert_eq!(names, [(1, "header"), (2, "placement")], "{}", message.name());
    }
}
