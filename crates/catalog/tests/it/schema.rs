//! Making and upgrading the tables.

use std::time::Duration;

use catalog::{Catalog, Error};
use sandbox::MariaDb;

use crate::fixture::*;

#[tokio::test]
async fn a_database_without_tables_is_told_as_not_synced() {
    let server = MariaDb::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    let error = catalog.require_schema().await.unwrap_err();
    assert!(matches!(error, Error::NotSynced { found: 0, .. }), "{error:?}");
    assert!(error.to_string().contains("db sync"), "{error}");
    let error = catalog.read().await.unwrap().ledger().await.unwrap_err();
    assert_eq!(error.code(), "DATABASE_NOT_SYNCED");
    catalog.migrate().await.unwrap();
    catalog.require_schema().await.unwrap();
}

#[tokio::test]
async fn a_migration_may_run_again_and_by_several_at_once() {
    for fixture in start_both().await {
        let catalog = &fixture.catalog;
        catalog.migrate().await.unwrap();
        catalog.require_schema().await.unwrap();
    }
    let server = MariaDb::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let one = Catalog::open(&url, clock()).await.unwrap();
    let two = Catalog::open(&url, clock()).await.unwrap();
    let (a, b) = tokio::join!(one.migrate(), two.migrate());
    a.unwrap();
    b.unwrap();
    one.require_schema().await.unwrap();
}

#[tokio::test]
async fn a_migration_that_broke_half_way_is_finished_by_the_next() {
    let server = MariaDb::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    catalog.migrate().await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    let sql =
        format!("DROP TABLE {database}.timer, {database}.intake_key; DELETE FROM {database}.schema_version");
    server.run(&sql).await.unwrap();
    catalog.migrate().await.unwrap();
    let mut tx = catalog.begin().await.unwrap();
    assert_eq!(tx.due_timers(NOW.after(Duration::from_secs(1)), 1).await.unwrap(), []);
}

#[tokio::test]
async fn tables_of_a_later_program_are_refused() {
    let server = MariaDb::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    catalog.migrate().await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    server.run(&format!("INSERT INTO {database}.schema_version VALUES (1000000, 0)")).await.unwrap();
    for error in [catalog.migrate().await.unwrap_err(), catalog.require_schema().await.unwrap_err()] {
        assert!(matches!(error, Error::TooNew { found: 1_000_000, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn sessions_of_mariadb_are_as_strict_as_our_rules_need() {
    let server = MariaDb::shared().await.unwrap();
    let fixture = start_mariadb().await;
    // A session shows its own settings only, so they are read through what they do: a reader sees what was committed
    // after its first statement (read committed), which repeatable read would hide.
    let mut reader = fixture.catalog.begin().await.unwrap();
    let row = make_outbox(saga_id());
    assert_eq!(reader.outbox_depth().await.unwrap().count, 0);
    let mut writer = fixture.catalog.begin().await.unwrap();
    writer.insert_outbox(&row).await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(reader.outbox_depth().await.unwrap().count, 1);
    let engine = "SELECT DISTINCT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE 'holdfast%'";
    assert_eq!(server.run(engine).await.unwrap().trim(), "InnoDB");
}
