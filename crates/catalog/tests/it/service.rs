//! Signs of life over time, on both back ends.

use std::time::Duration;

use catalog::{Catalog, ServiceKind, ServiceRow, ServiceSign};
use runtime::ManualClock;

use crate::fixture::*;

async fn note(catalog: &Catalog, boot_id: &str) -> ServiceRow {
    let sign = ServiceSign {
        kind: ServiceKind::Dmapi,
        host: "node-1".parse().unwrap(),
        boot_id: boot_id.to_owned(),
        version: None,
        pools: Vec::new(),
        capabilities: None,
    };
    let mut tx = catalog.begin().await.unwrap();
    tx.upsert_service(&sign).await.unwrap();
    let row = tx.list_services().await.unwrap().remove(0);
    tx.commit().await.unwrap();
    row
}

#[tokio::test]
async fn a_service_counts_as_started_anew_only_when_its_boot_changes() {
    for fixture in start_both().await {
        let Fixture { catalog, url, .. } = fixture;
        catalog.close().await;
        // With it goes the lock on the file.
        drop(catalog);
        let clock = ManualClock::starting_at(NOW);
        let later = NOW.after(Duration::from_secs(60));
        let catalog = Catalog::open(&url, clock.clone()).await.unwrap();
        let first = note(&catalog, "one").await;
        assert_eq!((first.started_at, first.seen_at), (NOW, NOW));
        clock.advance(Duration::from_secs(60));
        let again = note(&catalog, "one").await;
        assert_eq!((again.started_at, again.seen_at), (NOW, later));
        let anew = note(&catalog, "two").await;
        assert_eq!((anew.started_at, anew.seen_at), (later, later));
        catalog.close().await;
    }
}

#[tokio::test]
async fn a_first_heartbeat_takes_nothing_of_a_registration_away() {
    for fixture in start_both().await {
        let mut tx = fixture.catalog.begin().await.unwrap();
        let bare = ServiceSign {
            kind: ServiceKind::Datamover,
            host: "node-1".parse().unwrap(),
            boot_id: "one".to_owned(),
            version: None,
            pools: Vec::new(),
            capabilities: None,
        };
        let registered = ServiceSign {
            version: Some("1.2.3".to_owned()),
            pools: vec!["ceph".parse().unwrap()],
            capabilities: Some(vec!["examine".to_owned()]),
            ..bare.clone()
        };
        tx.insert_service(&bare).await.unwrap();
        assert_eq!(tx.list_services().await.unwrap()[0].capabilities, None);
        tx.upsert_service(&registered).await.unwrap();
        tx.insert_service(&bare).await.unwrap();
        let rows = tx.list_services().await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0].version, &rows[0].pools), (&registered.version, &registered.pools));
        assert_eq!(rows[0].capabilities, registered.capabilities);
    }
}
