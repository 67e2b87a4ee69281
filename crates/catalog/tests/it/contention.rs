//! Two that want the same row: one gets it, the other is told.

use catalog::{Catalog, Error, IntakeKeyRow, JobRow, SagaEventRow, WorkloadInstanceRow};
use model::InstanceId;
use runtime::Entropy;

use crate::fixture::*;

/// A second, independent connection to the same database; on SQLite that is a clone, since one controller has it alone.
async fn start_second(fixture: &Fixture) -> Catalog {
    match fixture.catalog.backend() {
        catalog::Backend::Sqlite => fixture.catalog.clone(),
        catalog::Backend::MariaDb => Catalog::open(&fixture.url, clock()).await.unwrap(),
    }
}

#[tokio::test]
async fn of_two_that_update_a_saga_of_one_version_one_wins() {
    for fixture in start_both().await {
        let (one, two) = (&fixture.catalog, &start_second(&fixture).await);
        let row = make_saga(&make_workload());
        let mut tx = one.begin().await.unwrap();
        tx.insert_saga(&row).await.unwrap();
        tx.commit().await.unwrap();

        let update = async |catalog: &Catalog| {
            let mut tx = catalog.begin().await?;
            tx.update_saga(&row, 0).await?;
            tx.commit().await
        };
        let outcomes = tokio::join!(update(one), update(two));
        assert_ne!(outcomes.0.is_ok(), outcomes.1.is_ok(), "{:?}", one.backend());
        let error = update(two).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { retryable: false, .. }), "{error:?}");
        assert!(error.to_string().contains(&row.id.to_string()), "{error}");
        let mut tx = one.read().await.unwrap();
        assert_eq!(tx.get_saga(row.id).await.unwrap().unwrap().version, 1);
    }
}

#[tokio::test]
async fn a_hundred_increments_by_ten_tasks_are_a_hundred() {
    for fixture in start_both().await {
        let tasks = (0..10).map(|_| {
            let catalog = fixture.catalog.clone();
            tokio::spawn(async move {
                let mut drawn = Vec::new();
                for _ in 0..10 {
                    let number = catalog.transaction(|tx| {
                        Box::pin(async move { tx.next_project_sequence(&"demo".parse().unwrap()).await })
                    });
                    drawn.push(number.await.unwrap());
                }
                drawn
            })
        });
        let mut drawn: Vec<u64> = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            drawn.extend(task.await.unwrap());
        }
        drawn.sort_unstable();
        assert_eq!(drawn, (1..=100).collect::<Vec<u64>>(), "{:?}", fixture.catalog.backend());
    }
}

#[tokio::test]
async fn a_deadlock_is_told_as_a_conflict_that_may_be_run_again() {
    let fixture = start_mariadb().await;
    let (a, b) = (make_saga(&make_workload()), make_saga(&make_workload()));
    let mut tx = fixture.catalog.begin().await.unwrap();
    tx.insert_saga(&a).await.unwrap();
    tx.insert_saga(&b).await.unwrap();
    tx.commit().await.unwrap();

    let (mut one, mut two) = (fixture.catalog.begin().await.unwrap(), fixture.catalog.begin().await.unwrap());
    one.update_saga(&a, 0).await.unwrap();
    two.update_saga(&b, 0).await.unwrap();
    let outcomes = tokio::join!(one.update_saga(&b, 0), two.update_saga(&a, 0));
    let (victim, outcome) = if outcomes.0.is_err() { (&mut one, outcomes.0) } else { (&mut two, outcomes.1) };
    let error = outcome.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    // The server rolled it back: whatever came next would be committed alone.
    let error = victim.insert_outbox(&make_outbox(a.id)).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn a_duplicate_is_told_as_one_and_the_transaction_goes_on() {
    for fixture in start_both().await {
        let event = SagaEventRow {
            saga_id: saga_id(),
            sequence: 1,
            kind: "started".to_owned(),
            body: "{}".to_owned(),
            at: NOW,
        };
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.insert_saga_event(&event).await.unwrap();
        let error = tx.insert_saga_event(&event).await.unwrap_err();
        assert!(matches!(&error, Error::Duplicate { statement: "INSERT_SAGA_EVENT", .. }), "{error:?}");
        let mut next = event.clone();
        next.sequence = 2;
        tx.insert_saga_event(&next).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = fixture.catalog.read().await.unwrap();
        assert_eq!(tx.list_saga_events(event.saga_id).await.unwrap(), [event, next]);
    }
}

#[tokio::test]
async fn a_branch_has_one_job() {
    for fixture in start_both().await {
        let job = make_job(saga_id(), 1);
        let other = JobRow { id: make_job(job.saga_id, 1).id, ..job.clone() };
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.upsert_job(&job).await.unwrap();
        let error = tx.upsert_job(&other).await.unwrap_err();
        assert!(matches!(error, Error::Duplicate { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_instance_in_two_workloads_is_refused_with_both_named() {
    for fixture in start_both().await {
        let (one, two) = (make_workload(), make_workload());
        let mut row = WorkloadInstanceRow {
            instance_id: id(InstanceId::from_uuid),
            workload_id: one.id,
            name: "web-1".to_owned(),
            position: 0,
        };
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.insert_workload(&one).await.unwrap();
        tx.insert_workload(&two).await.unwrap();
        tx.insert_workload_instance(&row).await.unwrap();
        row.workload_id = two.id;
        let error = tx.insert_workload_instance(&row).await.unwrap_err();
        assert_eq!(error.code(), "INSTANCE_ALREADY_PROTECTED");
        let text = error.to_string();
        assert!(text.contains(&one.id.to_string()) && text.contains(&two.id.to_string()), "{text}");
    }
}

fn make_key(idempotency_key: &str) -> IntakeKeyRow {
    IntakeKeyRow {
        source: "rest:anna".to_owned(),
        idempotency_key: idempotency_key.to_owned(),
        request_digest: "00".to_owned(),
        saga_id: saga_id(),
        object_id: Entropy.uuid(),
        created_at: NOW,
    }
}

#[tokio::test]
async fn the_second_claim_of_a_key_sees_the_first() {
    for fixture in start_both().await {
        let (first, second) = (make_key("nightly"), make_key("nightly"));
        let mut tx = fixture.catalog.begin().await.unwrap();
        assert_eq!(tx.claim_intake_key(&first).await.unwrap(), None);
        tx.commit().await.unwrap();
        let mut tx = fixture.catalog.begin().await.unwrap();
        assert_eq!(tx.claim_intake_key(&second).await.unwrap(), Some(first));
    }
}

#[tokio::test]
async fn keys_that_differ_in_case_accent_or_a_trailing_space_differ() {
    for fixture in start_both().await {
        let mut tx = fixture.catalog.begin().await.unwrap();
        for key in ["a", "A", "ä", "a ", " a", "a\t", ""] {
            let claimed = tx.claim_intake_key(&make_key(key)).await.unwrap();
            assert_eq!(claimed, None, "{key:?} on {:?}", fixture.catalog.backend());
        }
    }
}

#[tokio::test]
async fn a_key_may_have_190_characters_and_no_more() {
    for fixture in start_both().await {
        let mut tx = fixture.catalog.begin().await.unwrap();
        assert_eq!(tx.claim_intake_key(&make_key(&"ü".repeat(190))).await.unwrap(), None);
        let error = tx.claim_intake_key(&make_key(&"ü".repeat(191))).await.unwrap_err();
        assert_eq!(error.code(), "DATABASE_VALUE_REFUSED", "{error:?}");
    }
}
