//! The tables. Types differ per back end, texts of statements do not. Each migration may be run again: MariaDB commits
//! at every DDL statement, so a migration that broke half way is finished by running it anew: a column that is there is no
//! error.

use crate::database::{Backend, Catalog};
use crate::error::{Error, Result};
use crate::statement::statements;
use crate::value::values;

/// The version of the tables this program works with: the number of migrations.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Each is a list of statements with `$id`, `$key`, `$word`, `$text`, `$blob`, `$int` for the types and `$table` for the options of a table.
const MIGRATIONS: &[&[&str]] = &[
    &[
        include_str!("schema/0001_workload.sql"),
        include_str!("schema/0001_snapshot.sql"),
        include_str!("schema/0001_restore.sql"),
        include_str!("schema/0001_saga.sql"),
    ],
    &[include_str!("schema/0002_service.sql")],
    &[include_str!("schema/0003_trust.sql")],
    &[include_str!("schema/0004_base.sql")],
    &[include_str!("schema/0005_cloud_notification.sql")],
    &[include_str!("schema/0006_leaving.sql")],
    &[include_str!("schema/0007_partial.sql")],
    &[include_str!("schema/0008_examination.sql")],
    &[include_str!("schema/0009_trusted.sql")],
];

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (version $int NOT NULL PRIMARY KEY, applied_at $int NOT NULL)$table";

statements! {
    INSERT_SCHEMA_VERSION = "INSERT INTO schema_version (version, applied_at) VALUES (?, ?)";
    GET_SCHEMA_VERSION = "SELECT MAX(version) AS version FROM schema_version";
}

/// Runs what is missing.
pub(crate) async fn migrate(catalog: &Catalog) -> Result<()> {
    catalog.execute_ddl(render(VERSION_TABLE, catalog.backend())).await?;
    let found = version(catalog).await?;
    if found > VERSION {
        return Err(Error::TooNew { found, expected: VERSION });
    }
    for (number, files) in (1..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= found) {
        for statement in files.iter().flat_map(|file| file.split(';')) {
            // Comments stand on lines of their own.
            let lines: Vec<&str> =
                statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            let sql = lines.join("\n");
            if !sql.trim().is_empty() {
                catalog.execute_ddl(render(&sql, catalog.backend())).await?;
            }
        }
        note(catalog, number).await?;
    }
    Ok(())
}

/// Refuses other versions.
pub(crate) async fn require(catalog: &Catalog) -> Result<()> {
    match version(catalog).await? {
        VERSION => Ok(()),
        found if found > VERSION => Err(Error::TooNew { found, expected: VERSION }),
        found => Err(Error::NotSynced { found, expected: VERSION }),
    }
}

async fn version(catalog: &Catalog) -> Result<i64> {
    let mut tx = catalog.read().await?;
    let row = tx.fetch_optional(&GET_SCHEMA_VERSION, values![]).await?;
    Ok(row.map(|row| row.int_opt("version")).transpose()?.flatten().unwrap_or(0))
}

async fn note(catalog: &Catalog, number: i64) -> Result<()> {
    let mut tx = catalog.begin().await?;
    let now = tx.now();
    match tx.execute(&INSERT_SCHEMA_VERSION, values![number, now]).await {
        // Another controller ran the same migration meanwhile.
        Ok(_) | Err(Error::Duplicate { .. }) => tx.commit().await,
        Err(error) => Err(error),
    }
}

/// Gives `sql` the types of `backend`.
fn render(sql: &str, backend: Backend) -> String {
    let types: [(&str, &str, &str); 7] = [
        ("$id", "TEXT", "VARCHAR(36)"),
        // 190 characters of at most 4 bytes: four of them fit into the 3072 bytes of an InnoDB key.
        ("$key", "TEXT", "VARCHAR(190)"),
        ("$word", "TEXT", "VARCHAR(190)"),
        ("$text", "TEXT", "LONGTEXT"),
        ("$blob", "BLOB", "LONGBLOB"),
        ("$int", "INTEGER", "BIGINT"),
        // The NO PAD collation: with plain utf8mb4_bin a key "a " would be the same as "a".
        ("$table", "", " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin"),
    ];
    types.iter().fold(sql.to_owned(), |sql, (mark, sqlite, mariadb)| {
        sql.replace(mark, if backend == Backend::Sqlite { sqlite } else { mariadb })
    })
}
