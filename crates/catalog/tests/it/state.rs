//! The state machines as the tables keep them.

use catalog::Error;
use model::{SnapshotEvent, SnapshotState, WorkloadState};

use crate::fixture::*;

#[tokio::test]
async fn a_locked_workload_names_its_holder_and_is_freed_by_it_only() {
    for fixture in start_both().await {
        let (row, one, two) = (make_workload(), saga_id(), saga_id());
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.insert_workload(&row).await.unwrap();
        tx.lock_workload(row.id, one).await.unwrap();
        tx.lock_workload(row.id, one).await.unwrap();
        let error = tx.lock_workload(row.id, two).await.unwrap_err();
        assert!(matches!(error, Error::Held { holder, .. } if holder == one), "{error:?}");
        assert!(error.to_string().contains(&one.to_string()), "{error}");
        tx.unlock_workload(row.id, two).await.unwrap();
        assert_eq!(tx.get_workload(row.id).await.unwrap().unwrap().saga_id, Some(one));
        assert_eq!(tx.ledger_of_held().await.unwrap()["locked_workload"], 1);
        tx.unlock_workload(row.id, one).await.unwrap();
        tx.unlock_workload(row.id, one).await.unwrap();
        assert_eq!(tx.get_workload(row.id).await.unwrap().unwrap(), row);
    }
}

#[tokio::test]
async fn a_broken_workload_is_locked_by_nobody_until_it_is_repaired() {
    for fixture in start_both().await {
        let (row, saga) = (make_workload(), saga_id());
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.insert_workload(&row).await.unwrap();
        tx.lock_workload(row.id, saga).await.unwrap();
        let error = tx.break_workload(row.id, saga_id(), "stuck").await.unwrap_err();
        assert!(matches!(error, Error::Fenced { .. }), "{error:?}");
        tx.break_workload(row.id, saga, "stuck at delete_volumes").await.unwrap();
        let broken = tx.get_workload(row.id).await.unwrap().unwrap();
        assert_eq!((broken.status, broken.saga_id), (WorkloadState::Error, Some(saga)));
        assert_eq!(broken.error_message.as_deref(), Some("stuck at delete_volumes"));
        let error = tx.lock_workload(row.id, saga_id()).await.unwrap_err();
        assert_eq!(error.code(), "STATE_REFUSED", "{error:?}");
        tx.repair_workload(row.id).await.unwrap();
        assert_eq!(tx.get_workload(row.id).await.unwrap().unwrap(), row);
    }
}

#[tokio::test]
async fn a_locked_workload_cannot_be_deleted() {
    for fixture in start_both().await {
        let row = make_workload();
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.insert_workload(&row).await.unwrap();
        tx.lock_workload(row.id, saga_id()).await.unwrap();
        assert_eq!(tx.delete_workload(row.id).await.unwrap_err().code(), "STATE_REFUSED");
    }
}

#[tokio::test]
async fn a_snapshot_that_is_read_cannot_be_deleted() {
    for fixture in start_both().await {
        let workload = make_workload();
        let mut row = make_snapshot(&workload);
        row.status = SnapshotState::Available;
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.insert_workload(&workload).await.unwrap();
        tx.insert_snapshot(&row).await.unwrap();
        assert_eq!(tx.pin_snapshot(row.id).await.unwrap(), 1);
        assert_eq!(tx.pin_snapshot(row.id).await.unwrap(), 2);
        let error = tx.apply_snapshot_event(row.id, SnapshotEvent::Delete).await.unwrap_err();
        assert!(matches!(error, Error::Pinned { pins: 2, .. }), "{error:?}");
        assert_eq!(tx.unpin_snapshot(row.id).await.unwrap(), 1);
        assert_eq!(tx.unpin_snapshot(row.id).await.unwrap(), 0);
        assert_eq!(
            tx.apply_snapshot_event(row.id, SnapshotEvent::Delete).await.unwrap(),
            SnapshotState::Deleted
        );
    }
}

#[tokio::test]
async fn an_illegal_change_is_refused_and_changes_nothing() {
    for fixture in start_both().await {
        let workload = make_workload();
        let row = make_snapshot(&workload);
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.insert_workload(&workload).await.unwrap();
        tx.insert_snapshot(&row).await.unwrap();
        let error = tx.apply_snapshot_event(row.id, SnapshotEvent::Commit).await.unwrap_err();
        assert_eq!(error.to_string(), "a snapshot that is creating cannot take commit");
        assert!(tx.pin_snapshot(row.id).await.is_err(), "nothing can read what is not there yet");
        assert_eq!(tx.get_snapshot(row.id).await.unwrap(), Some(row));
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    for fixture in start_both().await {
        let (workload, saga) = (make_workload(), saga_id());
        let mut tx = fixture.catalog.begin().await.unwrap();
        let error = tx.lock_workload(workload.id, saga).await.unwrap_err();
        assert_eq!(error.to_string(), format!("there is no workload {}", workload.id));
        let error = tx.update_snapshot(&make_snapshot(&workload)).await.unwrap_err();
        assert_eq!(error.code(), "RESOURCE_NOT_FOUND");
    }
}
