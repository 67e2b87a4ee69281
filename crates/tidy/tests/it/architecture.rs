//! Who imports whom.

use tidy::{Architecture, Tree, arrow_findings, cloud_findings, lint_findings, unused_arrows};

use crate::world::{HOUSE, assert_finds, assert_tidy};

fn architecture() -> Architecture {
    Architecture::parse(include_str!("../../architecture.toml")).unwrap()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    assert_tidy(&architecture().findings());
    assert_tidy(&arrow_findings(&HOUSE, &architecture()));
}

#[test]
fn dependencies_that_are_declared_are_used() {
    assert_tidy(&unused_arrows(&HOUSE));
}

#[test]
fn every_crate_inherits_the_lints() {
    assert_tidy(&lint_findings(&HOUSE));
}

#[test]
fn only_wiring_knows_the_cloud_made_of_a_folder() {
    assert_tidy(&cloud_findings(&HOUSE));
}

const MANIFESTS: [(&str, &str); 4] = [
    ("crates/model/Cargo.toml", "package.name = \"model\"\nlints.workspace = true"),
    (
        "crates/disk/Cargo.toml",
        "package.name = \"disk\"\nlints.workspace = true\ndependencies.model.workspace = true",
    ),
    (
        "services/controller/Cargo.toml",
        "package.name = \"controller\"\ndependencies.model.path = \"x\"\n[target.'cfg(unix)'.dependencies]\ndisk.path = \"x\"\n[dev-dependencies]\ndmapi.path = \"x\"",
    ),
    ("services/dmapi/Cargo.toml", "package.name = \"dmapi\"\nlints.workspace = true"),
];

fn table(text: &str) -> Architecture {
    let rows =
        text.lines().map(|line| format!("[[crate]]\n{}\n", line.replace(", ", "\n").replace('+', ", ")));
    Architecture::parse(&rows.collect::<String>()).unwrap()
}

const ROWS: &str = "name = \"model\", layer = 0, may_use = []\n\
    name = \"disk\", layer = 2, may_use = [\"model\"]\n\
    name = \"controller\", layer = 3, may_use = [\"model\"]\n\
    name = \"dmapi\", layer = 3, may_use = []";

#[test]
fn a_forbidden_import_is_found_but_not_one_of_tests() {
    assert_finds(
        &arrow_findings(&Tree::of(&MANIFESTS), &table(ROWS)),
        &["services/controller/Cargo.toml: controller must not use disk"],
    );
}

#[test]
fn crates_missing_on_either_side_are_found() {
    let findings = arrow_findings(&Tree::of(&MANIFESTS[1..]), &table(&ROWS.replace("dmapi", "cli")));
    assert_finds(
        &findings,
        &[
            "services/controller/Cargo.toml: controller must not use disk",
            "services/dmapi/Cargo.toml: crate dmapi is not in",
            "crates/tidy/architecture.toml: crate model is in the table, but not in the tree",
            "crates/tidy/architecture.toml: crate cli is in the table, but not in the tree",
        ],
    );
}

#[test]
fn a_table_with_an_arrow_up_to_a_service_or_to_nothing_is_found() {
    let rows = "name = \"model\", layer = 0, may_use = [\"disk\"]\n\
        name = \"disk\", layer = 2, may_use = [\"ghost\"]\n\
        name = \"dmapi\", layer = 3, may_use = [\"cli\"]\n\
        name = \"cli\", layer = 3, may_use = []";
    assert_finds(
        &table(rows).findings(),
        &[
            "crates/tidy/architecture.toml: model may use disk, which lies in a higher layer",
            "crates/tidy/architecture.toml: disk may use ghost, which is not in it",
            "crates/tidy/architecture.toml: dmapi may use cli, which is a service",
        ],
    );
}

#[test]
fn a_dependency_that_no_source_names_is_found() {
    let tree = Tree::of(&[
        (
            "crates/a/Cargo.toml",
            "package.name = \"a\"\n[dependencies]\nserde-json = \"1\"\nurl = \"2\"\nbytes = \"1\"",
        ),
        (
            "crates/a/src/lib.rs",
            "//! Uses bytes in words only.\nuse serde_json::Value;\nfn a() -> url::Url { \"bytes\" }",
        ),
    ]);
    assert_finds(&unused_arrows(&tree), &["crates/a/Cargo.toml: a does not use bytes"]);
}

#[test]
fn a_crate_without_the_lints_is_found() {
    assert_finds(&lint_findings(&Tree::of(&MANIFESTS)), &["services/controller/Cargo.toml: `[lints]"]);
}

#[test]
fn a_cloud_named_above_its_port_is_found() {
    let tree = Tree::of(&[
        ("services/controller/src/engine.rs", "//! It.\nuse directory_cloud::DirectoryCloud;"),
        ("services/controller/src/wiring.rs", "//! It.\nuse directory_cloud::DirectoryCloud;"),
        ("services/controller/src/app.rs", "//! It.\nuse openstack_cloud::OpenStackCloud;"),
        ("crates/openstack-cloud/src/lib.rs", "//! It.\nuse openstack_cloud as this;"),
        ("services/controller/src/rest.rs", "//! It.\n// directory_cloud in a comment is no import"),
        ("services/controller/tests/it/main.rs", "//! It.\nuse directory_cloud::DirectoryCloud;"),
    ]);
    assert_finds(
        &cloud_findings(&tree),
        &[
            "services/controller/src/app.rs: names openstack_cloud",
            "services/controller/src/engine.rs: names directory_cloud",
        ],
    );
}
