//! dmapi's user in the databases of the cloud, as an operator makes it.

use std::collections::BTreeMap;

use anyhow::Result;
use nova_placement::{Account, Cells, DatabaseUrl, Databases, Grants};
use runtime::Entropy;
use secrecy::ExposeSecret as _;

use crate::lab::Database;

/// A user of the databases with the printed rights; removed when dropped.
#[derive(Debug)]
pub struct DatabaseUser {
    pub database: Database,
    /// Its name and its password.
    pub account: Account,
}

impl DatabaseUser {
    /// It is made by the first statement that is printed.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        let id = Entropy.uuid().simple().to_string();
        let account = Account { user: format!("holdfast-test-{id}"), password: id.into(), ca_file: None };
        Self { database: database.clone(), account }
    }

    /// Where a database is.
    #[must_use]
    pub fn url(&self, name: &str) -> DatabaseUrl {
        DatabaseUrl { host: "127.0.0.1".to_owned(), port: self.database.port, database: name.to_owned() }
    }

    fn databases(&self, cells: Cells) -> Databases {
        let account = self.account.clone();
        Databases { nova_api: self.url("nova_api"), cells, cinder: Some(self.url("cinder")), account }
    }

    /// Cells as an operator lists them.
    #[must_use]
    pub fn listed(&self) -> Databases {
        let cells = [("cell0", "nova_cell0"), ("cell1", "nova")];
        let cells = cells.map(|(name, database)| (name.to_owned(), self.url(database)));
        self.databases(Cells::Listed(BTreeMap::from(cells)))
    }

    /// Cells as Nova's own table tells them.
    #[must_use]
    pub fn read(&self) -> Databases {
        self.databases(Cells::Read { template: self.url("nova_api") })
    }

    /// Does what an operator does with the printed statements.
    pub fn grant(&self, databases: &Databases) -> Result<()> {
        let password = format!("'{}'", self.account.password.expose_secret());
        for statement in Grants(databases).to_sql().lines() {
            let statement = statement.replace("'PASSWORD'", &password);
            for cell in ["nova", "nova_cell0"] {
                self.database.run(&statement.replace("CELL_DATABASE", cell))?;
            }
        }
        Ok(())
    }
}

impl Drop for DatabaseUser {
    fn drop(&mut self) {
        let _ = self.database.run(&format!("DROP USER IF EXISTS '{}'@'%'", self.account.user));
    }
}
