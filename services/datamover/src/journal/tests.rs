use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::{InstanceId, JobId, MessageId, SagaId, Timestamp};
use runtime::{Entropy, ManualClock, atomic_file};

use super::{Acceptance, Error, Journal, NewJob, Phase};

fn make_job(job_id: JobId, attempt: u32) -> NewJob {
    NewJob {
        job_id,
        saga_id: SagaId::from_uuid(Entropy.uuid()),
        attempt,
        epoch: 0,
        command_type: "holdfast.cmd.v1.TransferDisk".to_owned(),
        command: vec![0, 1, 2, 255],
        traceparent: Some("00-aa-bb-01".to_owned()),
    }
}

fn make_id() -> JobId {
    JobId::from_uuid(Entropy.uuid())
}

fn open(dir: &Path) -> Journal {
    Journal::open(dir, ManualClock::starting_at(Timestamp(1))).unwrap()
}

fn finish(journal: &Journal, job_id: JobId, attempt: u32) -> bool {
    let result = ("holdfast.rep.v1.JobSucceeded".to_owned(), vec![7; 9]);
    journal.finish(job_id, attempt, result, MessageId::from_uuid(Entropy.uuid())).unwrap().is_some()
}

#[test]
fn a_job_lives_through_restarts_in_every_phase() {
    let dir = tempfile::tempdir().unwrap();
    let job = make_job(make_id(), 1);
    assert_eq!(open(dir.path()).accept(job.clone()).unwrap(), Acceptance::New);
    let journal = open(dir.path());
    let Acceptance::Again(record) = journal.accept(job.clone()).unwrap() else { panic!("forgotten") };
    assert_eq!((record.command, record.phase), (job.command.clone(), Phase::Accepted));
    assert_eq!(journal.begin(job.job_id, 1, 5).unwrap().unwrap().epoch, 5);
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.job(job.job_id).unwrap().phase, Phase::Running);
    assert!(finish(&journal, job.job_id, 1));
    drop(journal);
    let journal = open(dir.path());
    let Acceptance::Finished(record) = journal.accept(job.clone()).unwrap() else { panic!("forgotten") };
    assert!(matches!(record.phase, Phase::Finished { result, .. } if result == [7; 9]));
    journal.settle(job.job_id, 1).unwrap();
    drop(journal);
    assert_eq!(open(dir.path()).accept(job).unwrap(), Acceptance::Settled);
}

#[test]
fn a_higher_attempt_takes_over_and_the_lower_one_can_neither_begin_nor_finish() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let job_id = make_id();
    journal.accept(make_job(job_id, 1)).unwrap();
    journal.begin(job_id, 1, 1).unwrap().unwrap();
    assert_eq!(journal.accept(make_job(job_id, 3)).unwrap(), Acceptance::TakesOver { previous: 1 });
    assert_eq!(journal.accept(make_job(job_id, 2)).unwrap(), Acceptance::Stale { current: 3 });
    assert!(!finish(&journal, job_id, 1));
    assert_eq!(journal.begin(job_id, 1, 2).unwrap(), None);
    assert!(finish(&journal, job_id, 3));
    assert_eq!(journal.accept(make_job(job_id, 4)).unwrap(), Acceptance::TakesOver { previous: 3 });
}

#[test]
fn a_barred_job_is_barred_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let (purged, aborted) = (make_id(), make_id());
    journal.accept(make_job(purged, 1)).unwrap();
    journal.bar(purged, u32::MAX).unwrap();
    assert_eq!(journal.begin(purged, 1, 1).unwrap(), None, "accepted before it was barred");
    journal.remove(purged).unwrap();
    journal.bar(aborted, 1).unwrap();
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.accept(make_job(purged, 9)).unwrap(), Acceptance::Barred);
    assert_eq!(journal.accept(make_job(aborted, 1)).unwrap(), Acceptance::Barred);
    assert_eq!(journal.accept(make_job(aborted, 2)).unwrap(), Acceptance::New);
}

#[test]
fn an_abort_of_an_older_attempt_does_not_lower_the_bar() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let job_id = make_id();
    journal.bar(job_id, u32::MAX).unwrap();
    journal.bar(job_id, 1).unwrap();
    assert_eq!(journal.accept(make_job(job_id, 2)).unwrap(), Acceptance::Barred);
}

/// The states in which a crash can leave a folder while a record is being replaced.
#[test]
fn a_crash_at_any_point_of_a_write_leaves_the_old_record_or_the_new() {
    let content = |journal: &Journal, job_id| journal.job(job_id).unwrap().phase;
    for crash in ["temp empty", "temp half", "temp whole", "renamed"] {
        let dir = tempfile::tempdir().unwrap();
        let job_id = make_id();
        let (jobs, name) = (dir.path().join("jobs"), format!("{job_id}.json"));
        let journal = open(dir.path());
        journal.accept(make_job(job_id, 1)).unwrap();
        let old = std::fs::read(jobs.join(&name)).unwrap();
        journal.begin(job_id, 1, 1).unwrap();
        let new = std::fs::read(jobs.join(&name)).unwrap();
        drop(journal);
        std::fs::write(jobs.join(&name), &old).unwrap();
        let expected = match crash {
            "temp empty" => {
                atomic_file::write_temporary(&jobs, &name, b"").unwrap();
                Phase::Accepted
            }
            "temp half" => {
                atomic_file::write_temporary(&jobs, &name, &new[..new.len() / 2]).unwrap();
                Phase::Accepted
            }
            "temp whole" => {
                atomic_file::write_temporary(&jobs, &name, &new).unwrap();
                Phase::Accepted
            }
            _ => {
                atomic_file::write(&jobs, &name, &new).unwrap();
                Phase::Running
            }
        };
        let journal = open(dir.path());
        assert_eq!(content(&journal, job_id), expected, "{crash}");
        assert_eq!(std::fs::read_dir(&jobs).unwrap().count(), 1, "{crash}: leftovers");
        assert_eq!(std::fs::read_dir(dir.path().join("corrupt")).unwrap().count(), 0, "{crash}");
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_the_other_jobs_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (make_id(), make_id());
    let journal = open(dir.path());
    journal.accept(make_job(good, 1)).unwrap();
    journal.accept(make_job(bad, 1)).unwrap();
    drop(journal);
    std::fs::write(dir.path().join(format!("jobs/{bad}.json")), "{\"job_id\":").unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.jobs().len(), 1);
    assert!(dir.path().join(format!("corrupt/{bad}.json")).try_exists().unwrap());
}

#[test]
fn two_datamovers_cannot_share_a_state_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = Journal::open(dir.path(), ManualClock::starting_at(Timestamp(1)));
    assert!(matches!(&second, Err(Error::InUse { .. })), "{second:?}");
    assert_eq!(second.unwrap_err().failure().code, "STATE_DIR_IN_USE");
    drop(first);
    open(dir.path());
}

#[test]
fn a_frozen_guest_is_remembered_until_it_is_thawed() {
    let dir = tempfile::tempdir().unwrap();
    let instance = InstanceId::from_uuid(Entropy.uuid());
    open(dir.path()).note_freeze(instance, make_id()).unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.frozen(), [instance]);
    journal.note_thaw(instance).unwrap();
    journal.note_thaw(instance).unwrap();
    drop(journal);
    assert_eq!(open(dir.path()).frozen(), []);
}

#[test]
fn settled_jobs_are_forgotten_after_a_week() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::starting_at(Timestamp(1));
    let job_id = make_id();
    let journal = Journal::open(dir.path(), clock.clone()).unwrap();
    journal.accept(make_job(job_id, 1)).unwrap();
    journal.settle(job_id, 1).unwrap();
    assert!(!journal.job(job_id).unwrap().is_finished(), "an unfinished job cannot be settled");
    assert!(finish(&journal, job_id, 1));
    journal.settle(job_id, 1).unwrap();
    drop(journal);
    clock.advance(Duration::from_secs(6 * 24 * 3600));
    assert_eq!(Journal::open(dir.path(), Arc::clone(&clock) as _).unwrap().jobs().len(), 1);
    clock.advance(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(Journal::open(dir.path(), clock).unwrap().jobs().len(), 0);
}

#[test]
fn what_a_transfer_kept_goes_with_the_last_word_on_a_job_that_may_not_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::starting_at(Timestamp(1));
    let journal = Journal::open(dir.path(), clock.clone()).unwrap();
    let [settled, dropped, purgeable] = [(); 3].map(|()| make_id());
    for job_id in [settled, dropped, purgeable] {
        journal.accept(make_job(job_id, 1)).unwrap();
        std::fs::write(journal.transfer_journal(job_id), b"what is durable").unwrap();
    }
    let kept = |journal: &Journal, job_id| journal.transfer_journal(job_id).try_exists().unwrap();
    for job_id in [settled, purgeable] {
        assert!(finish(&journal, job_id, 1));
    }
    for job_id in [settled, dropped] {
        journal.bar(job_id, 1).unwrap();
        assert!(kept(&journal, job_id), "a bar alone removes nothing: the transfer may still write");
    }
    journal.settle(settled, 1).unwrap();
    journal.drop_job(dropped, 1).unwrap();
    journal.settle(purgeable, 1).unwrap();
    assert!(!kept(&journal, settled) && !kept(&journal, dropped));
    assert!(kept(&journal, purgeable), "its purge is still to come");
    drop(journal);
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    let journal = Journal::open(dir.path(), clock).unwrap();
    assert!(!kept(&journal, purgeable), "forgotten with its job");
}
