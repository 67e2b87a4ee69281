//! Looks at the databases and the API as an operator asks for it: whether dmapi's user can read each named column, of every
//! cell, and nothing more than that. It changes nothing.

use futures::future::join_all;
use model::{Check, Failure};
use sqlx::Row as _;

use crate::address::DatabaseUrl;
use crate::database::{Account, ReadOnly};
use crate::error::Error;
use crate::grants;
use crate::nova::{Cells, Nova};
use crate::placement::{Databases, Settings};
use crate::table::{CELL_MAPPINGS, CELL_MAPPINGS_WITH_PLACES, INSTANCE_MAPPINGS, INSTANCES, Table, VOLUMES};

/// Examines what `settings` names.
///
/// Codes: `CLOUD_DATABASE_RIGHT_MISSING` with the statement that gives it, `CLOUD_DATABASE_RIGHTS_TOO_WIDE`, and those of a
/// look-up.
pub async fn examine(settings: &Settings) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(databases) = &settings.databases {
        checks.extend(examine_databases(databases).await);
    }
    if let Some(config) = &settings.api {
        checks.push(examine_api(config.clone()).await);
    }
    checks
}

async fn examine_databases(databases: &Databases) -> Vec<Check> {
    let Databases { nova_api, cells, cinder, account } = databases;
    let api = ReadOnly::new("the database nova_api", nova_api, account);
    let mappings = match cells {
        Cells::Listed(_) => CELL_MAPPINGS,
        Cells::Read { .. } => CELL_MAPPINGS_WITH_PLACES,
    };
    let mut checks = examine_database(&api, nova_api, &[INSTANCE_MAPPINGS, mappings], account).await;
    let nova = Nova::new(nova_api, cells.clone(), account.clone());
    // An error: the checks above have it.
    let cells = nova.cells().await.unwrap_or_default();
    let cells = cells.into_iter().map(|cell| async move {
        match cell {
            Ok((name, url)) => {
                let database = ReadOnly::new(&format!("the database of Nova's cell {name}"), &url, account);
                examine_database(&database, &url, &[INSTANCES], account).await
            }
            Err(error) => vec![Check::of("a cell of Nova", Err::<String, _>(Failure::from(error)))],
        }
    });
    checks.extend(join_all(cells).await.into_iter().flatten());
    if let Some(url) = cinder {
        let database = ReadOnly::new("the database of Cinder", url, account);
        checks.extend(examine_database(&database, url, &[VOLUMES], account).await);
    }
    checks
}

/// One check for each table, and one for the rights that are too many.
async fn examine_database(
    database: &ReadOnly,
    url: &DatabaseUrl,
    tables: &[Table],
    account: &Account,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for &table in tables {
        let subject = format!("{}: {}", database.name(), table.name);
        let sql = format!("SELECT {} FROM {} LIMIT 1", table.columns.join(", "), table.name);
        checks.push(match database.rows(sql).await {
            Ok(_) => Check::ok(subject, format!("{} can read {}", account.user, table.columns.join(", "))),
            Err(Error::Refused { reason, .. }) => {
                let statement = grants::statement(&account.user, &url.database, table);
                let message = format!("{reason}; give it to the server's administrator: {statement}");
                Check::fail(subject, "CLOUD_DATABASE_RIGHT_MISSING", message)
            }
            Err(error) => Check::of(subject, Err::<String, _>(Failure::from(error))),
        });
    }
    // Whom nothing is shown has no rights that are too many, and a server that is away was told of.
    if checks.iter().any(|check| check.code.is_empty()) {
        checks.push(examine_width(database, account).await);
    }
    checks
}

/// Whether the user can do more than read: its sessions are read-only, and a stolen password's are not.
async fn examine_width(database: &ReadOnly, account: &Account) -> Check {
    let subject = format!("{}: rights of {}", database.name(), account.user);
    let rows = match database.rows("SHOW GRANTS FOR CURRENT_USER".to_owned()).await {
        Ok(rows) => rows,
        Err(error) => return Check::of(subject, Err::<String, _>(Failure::from(error))),
    };
    let grants = rows.iter().filter_map(|row| row.try_get::<String, _>(0).ok());
    let wide: Vec<String> =
        grants.filter(|grant| is_too_wide(grant)).map(|grant| without_secret(&grant)).collect();
    if wide.is_empty() {
        return Check::ok(subject, "it reads, and can do no more");
    }
    let message = format!(
        "it may do more than read: {}; revoke that, and give what `holdfast-dmapi --print-grants` prints",
        wide.join("; ")
    );
    Check::fail(subject, "CLOUD_DATABASE_RIGHTS_TOO_WIDE", message)
}

/// `GRANT SELECT (a, b), UPDATE ON x TO y`: whether there is another word than SELECT and USAGE.
fn is_too_wide(grant: &str) -> bool {
    let rights = grant.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON "));
    let Some((rights, rest)) = rights else { return true };
    let mut words = String::new();
    let mut depth = 0_u32;
    for letter in rights.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            letter if depth == 0 => words.push(letter),
            _ => {}
        }
    }
    let reads = |word: &str| matches!(word.trim(), "SELECT" | "USAGE");
    !words.split(',').all(reads) || rest.contains("WITH GRANT OPTION")
}

/// The statement ends with a hash of the password where it has one.
fn without_secret(grant: &str) -> String {
    grant.split(" IDENTIFIED ").next().unwrap_or_default().to_owned()
}

/// Whether the API knows us. What it shows to us is seen with the first look-up (`API_FIELD_HIDDEN`).
async fn examine_api(config: openstack::Config) -> Check {
    let asked = async {
        let session = openstack::Session::new(config)?;
        session.endpoint(openstack::Service::Compute).await
    };
    let found = asked.await.map(|url| format!("logs in, and finds the compute API at {url}"));
    Check::of("the service identity of [cloud.api]", found.map_err(|error| error.failure()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_read_are_no_more_than_reading() {
        for (grant, expected) in [
            ("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*B6'", false),
            ("GRANT SELECT (`name`, `id`) ON `nova_api`.`cell_mappings` TO `a`@`%`", false),
            ("GRANT SELECT (`id`), UPDATE (`host`) ON `n`.`instances` TO `a`@`%`", true),
            ("GRANT ALL PRIVILEGES ON `nova`.* TO `a`@`%`", true),
            ("GRANT SELECT ON `nova`.* TO `a`@`%` WITH GRANT OPTION", true),
            ("GRANT `role` TO `a`@`%`", true),
        ] {
            assert_eq!(is_too_wide(grant), expected, "{grant}");
        }
        assert!(
            !without_secret("GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*B6'").contains("*B6")
        );
    }
}
