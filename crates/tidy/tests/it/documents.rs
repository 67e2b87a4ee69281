//! What documents say is so.

use tidy::{Tree, broken_links, codes_with_two_rows, rows_without_code, undocumented_codes, unlisted_actors};

use crate::world::{HOUSE, assert_finds, assert_tidy};

#[test]
fn every_error_code_has_a_row() {
    assert_tidy(&undocumented_codes(&HOUSE));
}

#[test]
fn every_row_has_an_error_code_that_can_happen() {
    assert_tidy(&rows_without_code(&HOUSE));
}

#[test]
fn no_error_code_has_two_rows() {
    assert_tidy(&codes_with_two_rows(&HOUSE));
}

#[test]
fn links_lead_somewhere() {
    assert_tidy(&broken_links(&HOUSE));
}

#[test]
fn every_actor_is_in_the_architecture() {
    assert_tidy(&unlisted_actors(&HOUSE));
}

#[test]
fn a_code_without_a_row_and_a_row_without_a_code_are_found() {
    let source = r#"//! It.
        fn a() {
            Failure::permanent("NO_ROW", "m");
            Failure::transient("HAS_ROW", "OTHER_TEXT");
            Failure::new(
                ErrorClass::Bug,
                // words
                "ALSO_NONE",
                format!("m"),
            );
            Failure::new(class, code, "NOT_A_CODE");
            other("NOT_A_CODE_EITHER");
        }
        impl Error { fn code(&self) -> &str { match self { Self::A => "FROM_CODE" } } }
        #[cfg(test)] mod tests { fn b() { Failure::permanent("ONLY_IN_TESTS", "m"); } }
    "#;
    let tree = Tree::of(&[
        ("a/src/lib.rs", source),
        ("a/tests/it/main.rs", "//! It.\nfn a() { Failure::permanent(\"IN_A_TEST\", \"m\") }"),
        (
            "docs/errors.md",
            "| HAS_ROW | transient | a | b |\n| GONE_CODE | permanent | a | b |\n| HAS_ROW | bug | a | b |\n",
        ),
        ("docs/other.md", "| NO_ROW | permanent | in another document | b |\n"),
    ]);
    assert_finds(
        &undocumented_codes(&tree),
        &["a/src/lib.rs:3: NO_ROW", "a/src/lib.rs:8: ALSO_NONE", "a/src/lib.rs:14: FROM_CODE"],
    );
    assert_finds(&rows_without_code(&tree), &["docs/errors.md: GONE_CODE"]);
    assert_finds(&codes_with_two_rows(&tree), &["docs/errors.md: HAS_ROW"]);
}

#[test]
fn a_link_to_nowhere_is_found() {
    let text = "[a](docs/a.md) [b](docs/b.md#part) [c](https://example.org/x.md) [d](#here) [e](docs)\n\
        ```\n[f](in/code.md)\n```\n[g](../outside.md)\n";
    let tree = Tree::of(&[("README.md", text), ("docs/a.md", "[up](../README.md) [same](a.md) [no](b.md)")]);
    assert_finds(
        &broken_links(&tree),
        &[
            "README.md:1: the link to docs/b.md leads nowhere",
            "README.md:5: the link to ../outside.md leads nowhere",
            "docs/a.md:1: the link to b.md leads nowhere",
        ],
    );
}

#[test]
fn an_actor_that_is_not_listed_is_found() {
    let tree = Tree::of(&[
        ("ARCHITECTURE.md", "| `outbox_relay` | rows | goes on |\n| `controller/src/actors/rest` | x |"),
        (
            "services/a/src/b.rs",
            "fn a() { s.supervise(\"outbox_relay\", x); s.supervise(\n \"lost_actor\", y); s.supervise(\"rest\", z) }",
        ),
        ("services/a/src/actors/c.rs", "const NAME: &str = \"porter\";"),
        ("services/a/src/other.rs", "const NAME: &str = \"no actor\";"),
        ("services/a/tests/it/main.rs", "fn a() { s.supervise(\"of_a_test\", x) }"),
    ]);
    assert_finds(
        &unlisted_actors(&tree),
        &["services/a/src/actors/c.rs:1: actor porter", "services/a/src/b.rs:2: actor lost_actor"],
    );
}
