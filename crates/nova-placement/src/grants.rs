//! The rights that our user needs, as statements for the operator: SELECT on the columns we read, and nothing else.

use std::fmt::Write as _;

use crate::nova::Cells;
use crate::placement::Databases;
use crate::table::{CELL_MAPPINGS, CELL_MAPPINGS_WITH_PLACES, INSTANCE_MAPPINGS, INSTANCES, Table, VOLUMES};

/// Stands for the database of each cell where those are not listed.
const EACH_CELL: &str = "CELL_DATABASE";

/// Within the statement: whoever runs one line by itself runs no empty one.
const EACH_CELL_HINT: &str = "/* once for each database that `nova-manage cell_v2 list_cells` shows */";

/// The statements.
#[derive(Debug)]
pub struct Grants<'a>(pub &'a Databases);

impl Grants<'_> {
    /// As SQL, with a stand-in for the password: the file that holds it is for dmapi alone.
    #[must_use]
    pub fn to_sql(&self) -> String {
        let Databases { nova_api, cells, cinder, account } = self.0;
        let user = format!("{}@'%'", quoted(&account.user));
        let mut sql = format!("CREATE USER IF NOT EXISTS {user} IDENTIFIED BY 'PASSWORD';\n");
        let mut grant = |database: &str, table: Table| {
            let statement = statement(&account.user, database, table);
            let _ = match database {
                EACH_CELL => writeln!(sql, "{} {EACH_CELL_HINT};", statement.trim_end_matches(';')),
                _ => writeln!(sql, "{statement}"),
            };
        };
        grant(&nova_api.database, INSTANCE_MAPPINGS);
        match cells {
            Cells::Listed(listed) => {
                grant(&nova_api.database, CELL_MAPPINGS);
                for url in listed.values() {
                    grant(&url.database, INSTANCES);
                }
            }
            Cells::Read { .. } => {
                grant(&nova_api.database, CELL_MAPPINGS_WITH_PLACES);
                grant(EACH_CELL, INSTANCES);
            }
        }
        if let Some(cinder) = cinder {
            grant(&cinder.database, VOLUMES);
        }
        sql
    }
}

/// The statement that gives `user` the right to one table.
pub(crate) fn statement(user: &str, database: &str, table: Table) -> String {
    let Table { name, columns } = table;
    format!("GRANT SELECT ({}) ON `{database}`.`{name}` TO {}@'%';", columns.join(", "), quoted(user))
}

/// A text of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Account;

    fn databases(cells: Cells) -> Databases {
        let account =
            Account { user: "it's".to_owned(), password: "hunter2".to_owned().into(), ca_file: None };
        let cinder = Some("mysql://db/cinder".parse().unwrap());
        Databases { nova_api: "mysql://db/nova_api".parse().unwrap(), cells, cinder, account }
    }

    #[test]
    fn rights_are_for_columns_and_the_password_is_not_shown() {
        let sql = Grants(&databases(Cells::Read { template: "mysql://db/nova".parse().unwrap() })).to_sql();
        assert!(!sql.contains("hunter2"), "{sql}");
        assert!(sql.contains("TO 'it''s'@'%'"), "{sql}");
        let of_cells = sql.lines().find(|line| line.contains("ON `CELL_DATABASE`.`instances`")).unwrap();
        assert!(of_cells.ends_with("list_cells` shows */;"), "{sql}");
        let (made, granted) = sql.split_once('\n').unwrap();
        assert!(made.starts_with("CREATE USER") && granted.lines().count() == 4, "{sql}");
        assert!(granted.lines().all(|line| line.starts_with("GRANT SELECT (")), "{sql}");
    }

    #[test]
    fn where_all_cells_are_listed_the_column_with_the_password_of_nova_needs_no_right() {
        let listed = [("cell1".to_owned(), "mysql://db2/nova_cell1".parse().unwrap())].into();
        let sql = Grants(&databases(Cells::Listed(listed))).to_sql();
        assert!(!sql.contains("database_connection"), "{sql}");
        assert!(sql.contains("ON `nova_cell1`.`instances`"), "{sql}");
    }
}
