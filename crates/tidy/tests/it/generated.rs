//! Files that are rendered are those that this build renders.

use tidy::{breaking_changes, render_schema};

use crate::world::{HOUSE, root};

const LOCK: &str = "proto/schema.lock";

#[test]
fn the_definitions_of_the_broker_are_fresh() {
    let committed = HOUSE.text("bus-config/definitions.json").unwrap_or_default();
    assert!(
        committed == bus_config::definitions_text(),
        "bus-config/definitions.json is stale: run UPDATE=1 cargo test -p bus-config"
    );
}

#[test]
fn the_asyncapi_document_is_fresh() {
    let committed = HOUSE.text("bus-config/asyncapi.json").unwrap_or_default();
    assert!(
        committed == bus_config::asyncapi_text(),
        "bus-config/asyncapi.json is stale: run UPDATE=1 cargo test -p bus-config"
    );
}

/// `UPDATE=1` adds what is new; it does not hide what breaks.
#[test]
fn every_number_on_the_wire_keeps_its_meaning() {
    let fresh = render_schema(proto::DESCRIPTOR).unwrap();
    let committed = HOUSE.text(LOCK).unwrap_or_default();
    let changes = breaking_changes(committed, &fresh);
    assert!(
        changes.is_empty(),
        "programs built before would misread this (reserve numbers that go, take new ones for what comes):\n{}",
        changes.join("\n")
    );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(LOCK), &fresh).unwrap();
    } else {
        assert!(committed == fresh, "{LOCK} is stale: run UPDATE=1 cargo test -p tidy");
    }
}

#[test]
fn the_schema_names_fields_words_and_their_types() {
    let schema = render_schema(proto::DESCRIPTOR).unwrap();
    for line in [
        "field holdfast.common.v1.JobHeader 3 attempt uint32",
        "field holdfast.cmd.v1.LeaseExtend 3 jobs repeated holdfast.cmd.v1.JobLease",
        "field holdfast.common.v1.Placement 1 instance_id string oneof",
        "word holdfast.common.v1.ErrorClass 8 ERROR_CLASS_FENCED",
    ] {
        assert!(schema.lines().any(|found| found == line), "{line} is not in\n{schema}");
    }
}

#[track_caller]
fn check_change(new: &str, expected: &[&str]) {
    let old = "field h.A 1 id string\nfield h.A 2 size uint64\nword h.E 0 NONE\n";
    assert_eq!(breaking_changes(old, new), expected);
}

#[test]
fn numbers_that_change_or_go_are_found_and_new_or_reserved_ones_are_fine() {
    check_change(
        "field h.A 1 id string\nfield h.A 2 size uint64\nfield h.A 3 new bytes\nword h.E 0 NONE\n",
        &[],
    );
    check_change("field h.A 1 id string\nfield h.A 2 reserved\nword h.E 0 NONE\n", &[]);
    check_change(
        "field h.A 1 id bytes\nfield h.A 3 size uint64\nword h.E 0 NOTHING\n",
        &[
            "h.A 1 was id string and is now id bytes",
            "h.A 2 (size uint64) is gone; reserve its number",
            "h.E 0 was NONE and is now NOTHING",
        ],
    );
}
