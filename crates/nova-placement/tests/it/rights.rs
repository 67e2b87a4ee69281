use nova_placement::{Cells, DatabaseUrl};
use secrecy::ExposeSecret as _;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::databases::TestCloud;

/// Runs a statement as our user; gives the number of the database's refusal.
async fn refusal(cloud: &TestCloud, url: &DatabaseUrl, sql: String) -> Option<u16> {
    let options = MySqlConnectOptions::new().host(&url.host).port(url.port).database(&url.database);
    let password = cloud.account.password.expose_secret();
    let mut connection = options.username(&cloud.account.user).password(password).connect().await.unwrap();
    let error = connection.execute(AssertSqlSafe(sql)).await.err()?;
    let error = error.as_database_error().unwrap().downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
    Some(error.number())
}

/// No right on the table, no right on the column.
const DENIED: [u16; 2] = [1142, 1143];

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_printed_rights_writes_nothing_and_reads_no_secret() {
    let cloud = TestCloud::start().await;
    cloud.instance("cell1", "node-1", "active", "").await;
    cloud.grant(&cloud.databases(Cells::Listed(cloud.cells.clone()))).await;
    let cell = &cloud.cells["cell1"];
    assert_eq!(refusal(&cloud, cell, "SELECT uuid, host FROM instances".to_owned()).await, None);
    let denied = [
        (cell, "SELECT user_data FROM instances"),
        (cell, "UPDATE instances SET host = 'elsewhere'"),
        (cell, "DELETE FROM instances"),
        (cell, "INSERT INTO instances (uuid) VALUES ('x')"),
        (cell, "CREATE TABLE ours (id int)"),
        (&cloud.nova_api, "SELECT database_connection FROM cell_mappings"),
        (&cloud.nova_api, "SELECT transport_url FROM cell_mappings"),
        (&cloud.nova_api, "UPDATE instance_mappings SET cell_id = NULL"),
        (&cloud.cinder, "SELECT provider_auth FROM volumes"),
        (&cloud.cinder, "UPDATE volumes SET host = NULL"),
    ];
    for (url, sql) in denied {
        let number = refusal(&cloud, url, sql.to_owned()).await;
        assert!(number.is_some_and(|number| DENIED.contains(&number)), "{sql}: {number:?}");
    }
}
