//! Nova's databases: which cell has an instance, and what the cell says of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cloud::Located;
use model::InstanceId;
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use crate::address::{CellUrl, DatabaseUrl};
use crate::database::{Account, ReadOnly};
use crate::error::Error;
use crate::instance_state::InstanceState;

/// Never the whole of `database_connection`: what stands before the last `@` is Nova's own user and password.
const FIND_MAPPING_WITH_PLACE: &str = "SELECT m.queued_for_delete, c.uuid AS cell_uuid, c.name AS cell_name, \
     SUBSTRING_INDEX(c.database_connection, ':', 1) AS cell_scheme, \
     SUBSTRING_INDEX(c.database_connection, '@', -1) AS cell_place \
     FROM instance_mappings m LEFT JOIN cell_mappings c ON c.id = m.cell_id WHERE m.instance_uuid = ?";
const LIST_CELLS: &str = "SELECT NULL AS queued_for_delete, c.uuid AS cell_uuid, c.name AS cell_name, \
     SUBSTRING_INDEX(c.database_connection, ':', 1) AS cell_scheme, \
     SUBSTRING_INDEX(c.database_connection, '@', -1) AS cell_place FROM cell_mappings c ORDER BY c.id LIMIT 1000";
const FIND_MAPPING: &str = "SELECT m.queued_for_delete, c.uuid AS cell_uuid, c.name AS cell_name \
     FROM instance_mappings m LEFT JOIN cell_mappings c ON c.id = m.cell_id WHERE m.instance_uuid = ?";
const FIND_INSTANCE: &str = "SELECT host, vm_state, task_state, deleted FROM instances WHERE uuid = ?";

/// How cells are found.
#[derive(Debug, Clone)]
pub enum Cells {
    /// By `cell_mappings.database_connection`, of which server and database are read. Its variables stand for the parts
    /// of this URL.
    Read { template: DatabaseUrl },
    /// By our own list, under name or uuid. That column is then not read.
    Listed(BTreeMap<String, DatabaseUrl>),
}

/// Nova's databases.
#[derive(Debug)]
pub(crate) struct Nova {
    api: ReadOnly,
    cells: Cells,
    account: Account,
    /// Those that were asked so far.
    open: Mutex<BTreeMap<DatabaseUrl, ReadOnly>>,
}

/// A row of `instance_mappings` with its cell.
struct Mapping {
    is_deleted: bool,
    /// None: no cell has the instance yet.
    cell: Option<Cell>,
}

struct Cell {
    uuid: String,
    name: Option<String>,
    /// Read only with [`Cells::Read`].
    url: Option<CellUrl>,
}

impl Nova {
    pub(crate) fn new(api: &DatabaseUrl, cells: Cells, account: Account) -> Self {
        let database = ReadOnly::new("the database nova_api", api, &account);
        Self { api: database, cells, account, open: Mutex::default() }
    }

    /// Where an instance is.
    pub(crate) async fn locate(&self, id: InstanceId) -> Result<Located, Error> {
        let Some(mapping) = self.mapping(id).await? else { return Ok(Located::Nowhere) };
        let Some(cell) = mapping.cell else {
            return Ok(if mapping.is_deleted { Located::Deleted } else { Located::Building });
        };
        match self.open(&cell)?.instance(id).await? {
            Some(state) => state.locate(id),
            // Rows of the deleted are moved away before their mappings are.
            None if mapping.is_deleted => Ok(Located::Deleted),
            None => Ok(Located::Nowhere),
        }
    }

    /// The databases of all cells, each under its name, or why it cannot be found; Nova's own of all cells first.
    ///
    /// Errors: `nova_api` cannot be read.
    pub(crate) async fn cells(&self) -> Result<Vec<Result<(String, DatabaseUrl), Error>>, Error> {
        if let Cells::Listed(listed) = &self.cells {
            return Ok(listed.iter().map(|(name, url)| Ok((name.clone(), url.clone()))).collect());
        }
        let rows = self.api.rows(LIST_CELLS.to_owned()).await?;
        let read = |row: &MySqlRow| -> Result<Option<Cell>, sqlx::Error> { Ok(self.read_mapping(row)?.cell) };
        let cells: Result<Vec<Option<Cell>>, _> = rows.iter().map(read).collect();
        let cells = cells.map_err(|error| self.api.error(&error))?;
        let url = |cell: Cell| Ok((cell.label().to_owned(), self.url_of(&cell)?));
        Ok(cells.into_iter().flatten().map(url).collect())
    }

    async fn mapping(&self, id: InstanceId) -> Result<Option<Mapping>, Error> {
        let sql = match self.cells {
            Cells::Read { .. } => FIND_MAPPING_WITH_PLACE,
            Cells::Listed(_) => FIND_MAPPING,
        };
        let row = self.api.find(sql, &id.to_string()).await?;
        row.map(|row| self.read_mapping(&row)).transpose().map_err(|error| self.api.error(&error))
    }

    fn read_mapping(&self, row: &MySqlRow) -> Result<Mapping, sqlx::Error> {
        let is_deleted = row.try_get::<Option<bool>, _>("queued_for_delete")?.unwrap_or(false);
        let Some(uuid) = row.try_get::<Option<String>, _>("cell_uuid")? else {
            return Ok(Mapping { is_deleted, cell: None });
        };
        let url = match self.cells {
            Cells::Read { .. } => {
                let scheme = row.try_get::<Option<String>, _>("cell_scheme")?.unwrap_or_default();
                let place = row.try_get::<Option<String>, _>("cell_place")?.unwrap_or_default();
                // Without a user there is no `@`, and the scheme still stands there.
                let place = place.strip_prefix(&format!("{scheme}://")).unwrap_or(&place).to_owned();
                Some(CellUrl { scheme, place })
            }
            Cells::Listed(_) => None,
        };
        let cell = Cell { uuid, name: row.try_get("cell_name")?, url };
        Ok(Mapping { is_deleted, cell: Some(cell) })
    }

    /// The database of a cell.
    fn open(&self, cell: &Cell) -> Result<CellDatabase, Error> {
        let url = self.url_of(cell)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let database = open.entry(url).or_insert_with_key(|url| {
            ReadOnly::new(&format!("the database of Nova's cell {}", cell.label()), url, &self.account)
        });
        Ok(CellDatabase(database.clone()))
    }

    fn url_of(&self, cell: &Cell) -> Result<DatabaseUrl, Error> {
        match (&self.cells, &cell.url) {
            (Cells::Listed(listed), _) => {
                let named = cell.name.as_ref().and_then(|name| listed.get(name));
                let url = named.or_else(|| listed.get(&cell.uuid)).cloned();
                url.ok_or_else(|| Error::CellNotListed { cell: cell.label().to_owned() })
            }
            (Cells::Read { template }, url) => {
                let url = url.as_ref().expect("it is read with the mapping");
                url.resolve(template).map_err(|error| Error::CellUrl {
                    cell: cell.label().to_owned(),
                    reason: error.to_string(),
                })
            }
        }
    }
}

impl Cell {
    fn label(&self) -> &str {
        self.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.uuid)
    }
}

/// The database of one cell.
struct CellDatabase(ReadOnly);

impl CellDatabase {
    /// What the cell says of an instance.
    async fn instance(&self, id: InstanceId) -> Result<Option<InstanceState>, Error> {
        let row = self.0.find(FIND_INSTANCE, &id.to_string()).await?;
        row.map(|row| read_instance(&row)).transpose().map_err(|error| self.0.error(&error))
    }
}

fn read_instance(row: &MySqlRow) -> Result<InstanceState, sqlx::Error> {
    Ok(InstanceState {
        host: row.try_get("host")?,
        vm_state: row.try_get::<Option<String>, _>("vm_state")?.unwrap_or_default(),
        task_state: row.try_get("task_state")?,
        // The row's own id, once it is.
        is_deleted: row.try_get::<Option<i32>, _>("deleted")?.unwrap_or(0) != 0,
    })
}
