//! What stands in files.

use tidy::{Tree, glob_exports, leftovers, long_files, machine_paths, modules_without_text};

use crate::world::{HOUSE, assert_finds, assert_tidy};

#[test]
fn files_have_at_most_five_hundred_lines() {
    assert_tidy(&long_files(&HOUSE));
}

#[test]
fn every_module_says_what_it_is_for() {
    assert_tidy(&modules_without_text(&HOUSE));
}

#[test]
fn nothing_is_left_unfinished() {
    assert_tidy(&leftovers(&HOUSE));
}

#[test]
fn no_file_knows_one_machine() {
    assert_tidy(&machine_paths(&HOUSE));
}

#[test]
fn no_module_exports_all_of_another() {
    assert_tidy(&glob_exports(&HOUSE));
}

#[test]
fn a_long_file_is_found() {
    let (long, short) = ("//! It.\n".repeat(501), "//! It.\n".repeat(500));
    let tree = Tree::of(&[("a/src/long.rs", &long), ("a/src/short.rs", &short), ("a/long.md", &long)]);
    assert_finds(&long_files(&tree), &["a/src/long.rs: 501 lines"]);
}

#[test]
fn a_module_without_text_is_found() {
    let tree = Tree::of(&[
        ("a/src/a.rs", "use b;\n//! Too late."),
        ("a/src/b.rs", "\n#![allow(x)]\n//! It."),
        ("a/src/c.rs", "//!\nuse b;"),
        ("a/src/d.rs", ""),
        ("a/tests/it/main.rs", "mod e;"),
        ("a/tests/it/e.rs", "use b;"),
    ]);
    assert_finds(
        &modules_without_text(&tree),
        &["a/src/a.rs:1", "a/src/c.rs:1", "a/src/d.rs:1", "a/tests/it/main.rs:1"],
    );
}

/// Needles are put together here, so that the check does not find this file.
fn join(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn marks_of_unfinished_work_are_found() {
    let text = [
        join(&["// TO", "DO: later"]),
        join(&["to", "do!()"]),
        join(&["// FIX", "ME"]),
        join(&["unimple", "mented!()"]),
        join(&["a Place", "holder"]),
        join(&["X", "XX"]),
        "mktemp holdfast.XXXXXX; all of it, METODOLOGY".to_owned(),
    ];
    let tree = Tree::of(&[("a/notes.md", &text.join("\n"))]);
    let expected: Vec<String> = (1..=6).map(|line| format!("a/notes.md:{line}: leftover")).collect();
    assert_finds(&leftovers(&tree), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn paths_of_one_machine_are_found() {
    let (home, tree_path) = (join(&["/ro", "ot/.cache"]), join(&["/wo", "rk"]));
    let text = format!(
        "cd {home}\ncd \"{tree_path}\"\nGET {tree_path}loads\ncrates{tree_path}/x\n$HOME{tree_path}\n"
    );
    let tree = Tree::of(&[("Makefile", &text)]);
    assert_finds(&machine_paths(&tree), &["Makefile:1: a path", "Makefile:2: a path"]);
}

#[test]
fn an_export_of_all_of_a_module_is_found() {
    let tree = Tree::of(&[
        ("a/src/lib.rs", "//! It.\npub use b::*;\nuse c::*;\n// pub use d::*;"),
        ("b/src/lib.rs", "//! It.\npub(crate) use b::{c::*, d};\npub use e::F;"),
    ]);
    assert_finds(&glob_exports(&tree), &["a/src/lib.rs: exports all", "b/src/lib.rs: exports all"]);
}
