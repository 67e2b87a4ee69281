//! Leases: of lineages by sagas, of jobs by workers. An old holder gets nothing.

use std::time::Duration;

use catalog::{Error, JobGrant, JobProgress, JobState};
use model::{ErrorClass, HostName, InstanceId, JobKey, SnapshotId};

use crate::fixture::*;

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

#[tokio::test]
async fn a_lineage_has_one_holder_and_each_lease_a_new_epoch() {
    for fixture in start_both().await {
        let workload = make_workload();
        let (one, two) = (saga_id(), saga_id());
        let mut tx = fixture.catalog.begin().await.unwrap();
        let new = make_lineage(&workload, id(InstanceId::from_uuid), "vda");
        let lineage = tx.get_or_create_lineage(&new).await.unwrap().id;
        assert_eq!(tx.acquire_lineage_lease(lineage, one).await.unwrap(), 1);
        assert_eq!(tx.acquire_lineage_lease(lineage, one).await.unwrap(), 1, "asking again changes nothing");
        let error = tx.acquire_lineage_lease(lineage, two).await.unwrap_err();
        assert!(matches!(error, Error::Held { holder, .. } if holder == one), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Contention);
        assert!(!tx.release_lineage_lease(lineage, two).await.unwrap());
        assert!(tx.release_lineage_lease(lineage, one).await.unwrap());
        assert!(!tx.release_lineage_lease(lineage, one).await.unwrap());
        assert_eq!(tx.acquire_lineage_lease(lineage, two).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_saga_that_lost_its_lease_cannot_commit_to_the_lineage() {
    for fixture in start_both().await {
        let (one, two) = (saga_id(), saga_id());
        let mut tx = fixture.catalog.begin().await.unwrap();
        let new = make_lineage(&make_workload(), id(InstanceId::from_uuid), "vda");
        let lineage = tx.get_or_create_lineage(&new).await.unwrap().id;
        let old = tx.acquire_lineage_lease(lineage, one).await.unwrap();
        tx.release_lineage_lease(lineage, one).await.unwrap();
        let epoch = tx.acquire_lineage_lease(lineage, two).await.unwrap();
        let latest = Some(id(SnapshotId::from_uuid));
        for (saga, epoch) in [(one, old), (one, epoch), (two, old)] {
            let error = tx.set_lineage_latest(lineage, saga, epoch, latest).await.unwrap_err();
            assert_eq!((error.code(), error.class()), ("LEASE_LOST", ErrorClass::Fenced));
        }
        tx.set_lineage_latest(lineage, two, epoch, latest).await.unwrap();
        let error = tx.delete_lineage(lineage, one).await.unwrap_err();
        assert_eq!(error.code(), "LEASE_LOST");
    }
}

#[tokio::test]
async fn a_grant_makes_the_earlier_lease_void() {
    for fixture in start_both().await {
        let job = make_job(saga_id(), 1);
        let until = NOW.after(Duration::from_secs(90));
        let grant = |key: JobKey, worker: &str| JobGrant { key, worker: host(worker), lease_until: until };
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.upsert_job(&job).await.unwrap();
        let first = JobKey { epoch: tx.grant_job_lease(&grant(job.key(), "a")).await.unwrap(), ..job.key() };
        // Somebody who read the row before that grant is too late.
        let error = tx.grant_job_lease(&grant(job.key(), "b")).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
        let second = JobKey { epoch: tx.grant_job_lease(&grant(first, "b")).await.unwrap(), ..first };

        let later = until.after(Duration::from_secs(60));
        assert_eq!(tx.extend_job_leases(&host("a"), &[first], later).await.unwrap(), []);
        assert_eq!(tx.extend_job_leases(&host("a"), &[second], later).await.unwrap(), [], "not its lease");
        assert_eq!(tx.extend_job_leases(&host("b"), &[second], later).await.unwrap(), [second]);
        assert!(!tx.update_job_progress(first, JobProgress::default()).await.unwrap());
        assert!(tx.update_job_progress(second, JobProgress::default()).await.unwrap());
    }
}

#[tokio::test]
async fn results_and_acceptances_of_an_earlier_attempt_are_not_taken() {
    for fixture in start_both().await {
        let mut job = make_job(saga_id(), 1);
        let mut tx = fixture.catalog.begin().await.unwrap();
        tx.upsert_job(&job).await.unwrap();
        job.attempt = 2;
        tx.upsert_job(&job).await.unwrap();
        assert!(!tx.accept_job(job.id, 1, Some(&host("a")), true).await.unwrap());
        assert!(!tx.finish_job(job.id, 1).await.unwrap());
        assert!(tx.accept_job(job.id, 2, Some(&host("a")), true).await.unwrap());
        assert!(!tx.accept_job(job.id, 2, Some(&host("b")), true).await.unwrap(), "it was taken");
        assert!(tx.finish_job(job.id, 2).await.unwrap());
        let key = JobKey { attempt: 2, ..job.key() };
        let grant = JobGrant { key, worker: host("a"), lease_until: NOW };
        assert!(tx.grant_job_lease(&grant).await.is_err(), "a job that is done is granted to nobody");
        let row = tx.get_job(job.id).await.unwrap().unwrap();
        assert_eq!((row.state, row.worker), (JobState::Done, Some(host("a"))));
    }
}
