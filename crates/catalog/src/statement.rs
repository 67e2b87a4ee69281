//! Statements as data: each is declared once, by [`statements!`], so that none can escape the test that runs them all.

/// One SQL text with a name for errors, logs and the test's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

/// Declares statements as constants and lists them in `STATEMENTS` of the module.
macro_rules! statements {
    ($($name:ident = $sql:literal;)*) => {
        $(const $name: $crate::statement::Statement =
            $crate::statement::Statement { name: stringify!($name), sql: $sql };)*
        pub(crate) const STATEMENTS: &[$crate::statement::Statement] = &[$($name),*];
    };
}
pub(crate) use statements;

/// All statements of the crate, without DDL.
pub(crate) fn all() -> impl Iterator<Item = Statement> {
    [
        crate::examination::STATEMENTS,
        crate::figures::STATEMENTS,
        crate::intake::STATEMENTS,
        crate::job::STATEMENTS,
        crate::ledger::STATEMENTS,
        crate::lineage::STATEMENTS,
        crate::lineage_base::STATEMENTS,
        crate::notification::STATEMENTS,
        crate::outbox::STATEMENTS,
        crate::project_sequence::STATEMENTS,
        crate::restore::STATEMENTS,
        crate::restore_parts::STATEMENTS,
        crate::saga::STATEMENTS,
        crate::schema::STATEMENTS,
        crate::service::STATEMENTS,
        crate::snapshot::STATEMENTS,
        crate::snapshot_parts::STATEMENTS,
        crate::timer::STATEMENTS,
        crate::trust::STATEMENTS,
        crate::tx::STATEMENTS,
        crate::volume_left::STATEMENTS,
        crate::workload::STATEMENTS,
        crate::workload_reset::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The names of all statements, for the test that compares them with what ran.
#[must_use]
pub fn statement_names() -> std::collections::BTreeSet<&'static str> {
    all().map(|statement| statement.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_names_are_unique() {
        assert_eq!(statement_names().len(), all().count());
    }

    #[test]
    fn statements_stay_in_the_portable_subset() {
        let refused = [
            "ON CONFLICT",
            "ON DUPLICATE",
            "INSERT IGNORE",
            "RETURNING",
            "FOR UPDATE",
            "AUTOINCREMENT",
            "SELECT *",
            "REPLACE INTO",
            "NOW()",
            "JSON_",
        ];
        for statement in all() {
            let sql = statement.sql.to_uppercase();
            for word in refused {
                assert!(!sql.contains(word), "{} uses {word}", statement.name);
            }
        }
    }
}
