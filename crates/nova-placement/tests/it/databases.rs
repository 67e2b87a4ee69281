//! The databases of a small cloud: `nova_api`, cell0, two cells, the second on a server of its own, and Cinder.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{InstanceId, VolumeId};
use nova_placement::{
    Account, Cells, DatabaseUrl, Databases, Grants, OpenstackPlacement, Pools, Rule, Settings,
};
use runtime::Entropy;
use sandbox::MariaDb;
use secrecy::ExposeSecret as _;

/// Nova's own password, which stands in `database_connection`.
pub(crate) const PASSWORD_OF_NOVA: &str = "pa/ss:w#rd-of-nova";

pub(crate) struct TestCloud {
    pub(crate) main: Arc<MariaDb>,
    pub(crate) second: MariaDb,
    pub(crate) nova_api: DatabaseUrl,
    pub(crate) cinder: DatabaseUrl,
    /// By name.
    pub(crate) cells: BTreeMap<String, DatabaseUrl>,
    pub(crate) account: Account,
}

impl TestCloud {
    /// Makes them, and a user with the rights that are printed for `cells`.
    pub(crate) async fn start() -> Self {
        let main = MariaDb::shared().await.unwrap();
        let second = MariaDb::start().await.unwrap();
        let nova_api = create(&main, include_str!("schema/nova_api.sql")).await;
        let cinder = create(&main, include_str!("schema/cinder.sql")).await;
        let cell = include_str!("schema/cell.sql");
        let cells = BTreeMap::from([
            ("cell0".to_owned(), create(&main, cell).await),
            ("cell1".to_owned(), create(&main, cell).await),
            ("cell2".to_owned(), create(&second, cell).await),
        ]);
        let id = Entropy.uuid().simple().to_string();
        let account =
            Account { user: format!("placement-{}", &id[20..]), password: id.into(), ca_file: None };
        let cloud = Self { main, second, nova_api, cinder, cells, account };
        cloud.map_cells().await;
        cloud
    }

    /// The rows of `cell_mappings`: the first is of a template, as some installers write it.
    async fn map_cells(&self) {
        for (index, (name, url)) in self.cells.iter().enumerate() {
            let place = match name.as_str() {
                "cell0" => format!("{{hostname}}:{{port}}/{}?{{query}}", url.database),
                _ => format!("{url}?charset=utf8"),
            };
            let connection = match name.as_str() {
                "cell0" => format!("{{scheme}}://{{username}}:{{password}}@{place}"),
                _ => format!("mysql+pymysql://nova:{PASSWORD_OF_NOVA}@{place}"),
            };
            let (id, uuid) = (index + 1, Entropy.uuid());
            let sql = format!(
                "INSERT INTO {}.cell_mappings (id, uuid, name, transport_url, database_connection, disabled) \
                 VALUES ({id}, '{uuid}', '{name}', 'rabbit://nova:{PASSWORD_OF_NOVA}@mq/', '{connection}', 0)",
                self.nova_api.database
            );
            self.main.run(&sql).await.unwrap();
        }
    }

    pub(crate) fn databases(&self, cells: Cells) -> Databases {
        Databases {
            nova_api: self.nova_api.clone(),
            cells,
            cinder: Some(self.cinder.clone()),
            account: self.account.clone(),
        }
    }

    /// Cells as Nova's own table tells them.
    pub(crate) fn read(&self) -> Cells {
        Cells::Read { template: self.nova_api.clone() }
    }

    /// Gives the user what is printed for `databases`, as an operator does; each server gets what is its own.
    pub(crate) async fn grant(&self, databases: &Databases) {
        let sql = Grants(databases).to_sql();
        let sql = sql.replace("'PASSWORD'", &format!("'{}'", self.account.password.expose_secret()));
        let statements: Vec<String> =
            sql.lines().flat_map(|statement| self.for_each_cell(statement)).collect();
        let second = &self.cells["cell2"].database;
        for statement in statements {
            let makes_user = statement.starts_with("CREATE USER");
            if makes_user || !statement.contains(second) {
                self.main.run(&statement).await.unwrap();
            }
            if makes_user || statement.contains(second) {
                self.second.run(&statement).await.unwrap();
            }
        }
    }

    /// Puts the cells in where the text names them.
    fn for_each_cell(&self, statement: &str) -> Vec<String> {
        if !statement.contains("CELL_DATABASE") {
            return vec![statement.to_owned()];
        }
        self.cells.values().map(|url| statement.replace("CELL_DATABASE", &url.database)).collect()
    }

    /// A placement, its user granted what it needs.
    pub(crate) async fn placement(&self, cells: Cells) -> OpenstackPlacement {
        let databases = self.databases(cells);
        self.grant(&databases).await;
        self.placement_of(databases)
    }

    pub(crate) fn placement_of(&self, databases: Databases) -> OpenstackPlacement {
        let rule = Rule { host_pattern: "*@rbd-2#*".to_owned(), pool: "ceph-2".parse().unwrap() };
        let pools = Pools {
            backends: vec![rule],
            targets: BTreeMap::new(),
            default: Some("default".parse().unwrap()),
        };
        OpenstackPlacement::new(Settings { databases: Some(databases), api: None, pools }).unwrap()
    }

    /// Maps an instance to a cell, or to none yet.
    pub(crate) async fn map(&self, cell: Option<&str>, is_deleted: bool) -> InstanceId {
        let id = InstanceId::from_uuid(Entropy.uuid());
        let database = &self.nova_api.database;
        let cell = cell.map_or("NULL".to_owned(), |name| {
            format!("(SELECT id FROM {database}.cell_mappings WHERE name = '{name}')")
        });
        let sql = format!(
            "INSERT INTO {database}.instance_mappings (instance_uuid, cell_id, project_id, queued_for_delete) \
             VALUES ('{id}', {cell}, 'p', {is_deleted})"
        );
        self.main.run(&sql).await.unwrap();
        id
    }

    /// An instance in a cell; an empty text is NULL.
    pub(crate) async fn instance(
        &self,
        cell: &str,
        host: &str,
        vm_state: &str,
        task_state: &str,
    ) -> InstanceId {
        let id = self.map(Some(cell), false).await;
        let value = |text: &str| if text.is_empty() { "NULL".to_owned() } else { format!("'{text}'") };
        let sql = format!(
            "INSERT INTO {}.instances (uuid, host, vm_state, task_state, deleted, user_data) \
             VALUES ('{id}', {}, {}, {}, 0, 'secret')",
            self.cells[cell].database,
            value(host),
            value(vm_state),
            value(task_state)
        );
        self.server_of(cell).run(&sql).await.unwrap();
        id
    }

    pub(crate) async fn volume(&self, host: &str, is_deleted: bool) -> VolumeId {
        let id = VolumeId::from_uuid(Entropy.uuid());
        let host = if host.is_empty() { "NULL".to_owned() } else { format!("'{host}'") };
        let sql = format!(
            "INSERT INTO {}.volumes (id, host, deleted, provider_auth, volume_type_id) \
             VALUES ('{id}', {host}, {is_deleted}, 'CHAP user secret', 't')",
            self.cinder.database
        );
        self.main.run(&sql).await.unwrap();
        id
    }

    pub(crate) fn server_of(&self, cell: &str) -> &MariaDb {
        if cell == "cell2" { &self.second } else { &self.main }
    }
}

async fn create(server: &MariaDb, schema: &str) -> DatabaseUrl {
    let url = url::Url::parse(&server.create_database().await.unwrap()).unwrap();
    let database = url.path().trim_start_matches('/').to_owned();
    server.run(&format!("USE {database}; {schema}")).await.unwrap();
    DatabaseUrl { host: "127.0.0.1".to_owned(), port: url.port().unwrap(), database }
}
