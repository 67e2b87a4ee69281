//! The journal itself: decides what a command that arrives means, given what is known of its job.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ByteCount, InstanceId, JobId, MessageId, SagaId, Timestamp};
use runtime::{Clock, atomic_file};
use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{Bar, FrozenGuest, JobRecord, JournalLeftover, NewJob, Phase};

/// How long an acknowledged job is remembered: longer than any copy of its command lives on the bus.
const SETTLED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the state folder {} belongs to another datamover that runs; give each its own state_dir", path.display())]
    InUse { path: PathBuf },
    #[error("failed to {verb} {}; look at the state_dir's disk", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// What a command that arrived means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// Never seen: it is journalled now.
    New,
    /// A higher attempt of a known job: it is journalled now. An earlier one may be running still and must stop first.
    TakesOver { previous: u32 },
    /// Known, not finished.
    Again(JobRecord),
    /// Known and finished: the result is here.
    Finished(JobRecord),
    /// Known, finished and acknowledged.
    Settled,
    /// A later attempt is known.
    Stale { current: u32 },
    /// It may never run here.
    Barred,
}

/// The journal. All methods write durably before they return; they block.
#[derive(Debug)]
pub struct Journal {
    dirs: Dirs,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    _lock: File,
}

/// The journal for async callers: its methods run on the pool for blocking calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JournalHandle(Arc<Journal>);

#[derive(Debug)]
struct Dirs {
    jobs: PathBuf,
    barred: PathBuf,
    frozen: PathBuf,
    transfers: PathBuf,
    corrupt: PathBuf,
}

#[derive(Debug, Default)]
struct Known {
    jobs: BTreeMap<JobId, JobRecord>,
    barred: BTreeMap<JobId, u32>,
    frozen: BTreeMap<InstanceId, JobId>,
}

impl JournalHandle {
    /// Wraps a journal.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self(Arc::new(journal))
    }

    /// Runs `work` on the journal. Cancel safe: no, `work` runs to its end.
    pub async fn run<R: Send + 'static>(&self, work: impl FnOnce(&Journal) -> R + Send + 'static) -> R {
        let journal = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&journal)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The journal, for callers that may block.
    #[must_use]
    pub fn blocking(&self) -> &Journal {
        &self.0
    }
}

impl Journal {
    /// Opens the journal in `state_dir`, making what is missing. A file that does not parse is set aside and told.
    ///
    /// Errors: `InUse`, `Io`.
    pub fn open(state_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let dir = |name: &str| state_dir.join(name);
        let dirs = Dirs {
            jobs: dir("jobs"),
            barred: dir("barred"),
            frozen: dir("frozen"),
            transfers: dir("transfers"),
            corrupt: dir("corrupt"),
        };
        for path in [&dirs.jobs, &dirs.barred, &dirs.frozen, &dirs.transfers, &dirs.corrupt] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|source| Error::Io { verb: "make", path: path.clone(), source })?;
        }
        let lock = take_lock(state_dir)?;
        let known = Known {
            jobs: load(&dirs.jobs, &dirs.corrupt)?
                .into_iter()
                .map(|job: JobRecord| (job.job_id, job))
                .collect(),
            barred: load(&dirs.barred, &dirs.corrupt)?
                .into_iter()
                .map(|bar: Bar| (bar.job_id, bar.attempt_max))
                .collect(),
            frozen: load(&dirs.frozen, &dirs.corrupt)?
                .into_iter()
                .map(|guest: FrozenGuest| (guest.instance_id, guest.job_id))
                .collect(),
        };
        let journal = Self { dirs, clock, known: Mutex::new(known), _lock: lock };
        journal.forget_settled()?;
        Ok(journal)
    }

    /// Decides what `job` means, and journals it when it is new or takes over.
    pub fn accept(&self, job: NewJob) -> Result<Acceptance, Error> {
        let mut known = self.known();
        if known.is_barred(job.job_id, job.attempt) {
            return Ok(Acceptance::Barred);
        }
        let acceptance = match known.jobs.get(&job.job_id) {
            None => Acceptance::New,
            Some(old) if old.attempt > job.attempt => return Ok(Acceptance::Stale { current: old.attempt }),
            Some(old) if old.attempt < job.attempt => Acceptance::TakesOver { previous: old.attempt },
            Some(JobRecord { phase: Phase::Settled { .. }, .. }) => return Ok(Acceptance::Settled),
            Some(old) if old.is_finished() => return Ok(Acceptance::Finished(old.clone())),
            Some(old) => return Ok(Acceptance::Again(old.clone())),
        };
        self.keep(&mut known, job.into())?;
        Ok(acceptance)
    }

    /// Marks a job as running under `epoch`; gives its record. `None`: this attempt is not to run (barred, replaced by a
    /// later one, finished or unknown).
    pub fn begin(&self, job_id: JobId, attempt: u32, epoch: u64) -> Result<Option<JobRecord>, Error> {
        let mut known = self.known();
        if known.is_barred(job_id, attempt) {
            return Ok(None);
        }
        let Some(record) = known.jobs.get(&job_id).filter(|job| job.attempt == attempt && !job.is_finished())
        else {
            return Ok(None);
        };
        let record = JobRecord { phase: Phase::Running, epoch: record.epoch.max(epoch), ..record.clone() };
        self.keep(&mut known, record.clone())?;
        Ok(Some(record))
    }

    /// Keeps the result of an attempt; gives the record. `None`: a later attempt has taken over, or it was purged; the
    /// result counts for nothing.
    pub fn finish(
        &self,
        job_id: JobId,
        attempt: u32,
        result: (String, Vec<u8>),
        message_id: MessageId,
    ) -> Result<Option<JobRecord>, Error> {
        let mut known = self.known();
        let Some(record) = known.jobs.get(&job_id).filter(|job| job.attempt == attempt && !job.is_finished())
        else {
            return Ok(None);
        };
        let phase = Phase::Finished { result_type: result.0, result: result.1, message_id };
        let record = JobRecord { phase, ..record.clone() };
        self.keep(&mut known, record.clone())?;
        Ok(Some(record))
    }

    /// The result is in the catalog: keeps only that the job was. The journal of a transfer stays for what the saga may
    /// still ask of the job, unless no attempt so far may run again: then nobody is left to ask for its removal.
    pub fn settle(&self, job_id: JobId, attempt: u32) -> Result<(), Error> {
        let mut known = self.known();
        let Some(record) = known.jobs.get(&job_id).filter(|job| job.attempt <= attempt && job.is_finished())
        else {
            return Ok(());
        };
        if matches!(record.phase, Phase::Settled { .. }) {
            return Ok(());
        }
        if known.is_barred(job_id, record.attempt) {
            self.remove_transfer(job_id)?;
        }
        let phase = Phase::Settled { at: self.clock.now() };
        let record = JobRecord { phase, command: Vec::new(), ..record.clone() };
        self.keep(&mut known, record)
    }

    /// Forgets an unfinished job that another worker runs, if it is no later attempt than `attempt_max`; of a barred one
    /// also the journal of its transfer.
    pub fn drop_job(&self, job_id: JobId, attempt_max: u32) -> Result<(), Error> {
        let mut known = self.known();
        let Some(job) =
            known.jobs.get(&job_id).filter(|job| job.attempt <= attempt_max && !job.is_finished())
        else {
            return Ok(());
        };
        if known.is_barred(job_id, job.attempt) {
            return self.forget_with_transfer(&mut known, job_id);
        }
        self.forget(&mut known, job_id)
    }

    /// Bars all attempts up to `attempt_max`, for ever. The job's record stays.
    pub fn bar(&self, job_id: JobId, attempt_max: u32) -> Result<(), Error> {
        let mut known = self.known();
        let attempt_max = known.barred.get(&job_id).map_or(attempt_max, |old| attempt_max.max(*old));
        self.write(&self.dirs.barred, &name(job_id), &Bar { job_id, attempt_max })?;
        known.barred.insert(job_id, attempt_max);
        Ok(())
    }

    /// Forgets a job with its transfer's journal.
    pub fn remove(&self, job_id: JobId) -> Result<(), Error> {
        self.forget_with_transfer(&mut self.known(), job_id)
    }

    /// In this order: of a job that is forgotten nobody would look for the journal.
    fn forget_with_transfer(&self, known: &mut Known, job_id: JobId) -> Result<(), Error> {
        self.remove_transfer(job_id)?;
        self.forget(known, job_id)
    }

    fn remove_transfer(&self, job_id: JobId) -> Result<(), Error> {
        self.remove_file(&self.dirs.transfers, &format!("{job_id}.journal"))
    }

    /// Where a transfer keeps what of it is durable. The same for all attempts.
    #[must_use]
    pub fn transfer_journal(&self, job_id: JobId) -> PathBuf {
        self.dirs.transfers.join(format!("{job_id}.journal"))
    }

    /// All jobs, settled ones too, by id.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobRecord> {
        self.known().jobs.values().cloned().collect()
    }

    /// Unfinished jobs of barred attempts, with the bar.
    #[must_use]
    pub fn barred_unfinished(&self) -> Vec<(JobId, u32)> {
        let known = self.known();
        let barred =
            known.jobs.values().filter(|job| !job.is_finished() && known.is_barred(job.job_id, job.attempt));
        barred.filter_map(|job| Some((job.job_id, *known.barred.get(&job.job_id)?))).collect()
    }

    /// One job.
    #[must_use]
    pub fn job(&self, job_id: JobId) -> Option<JobRecord> {
        self.known().jobs.get(&job_id).cloned()
    }

    /// Notes that a guest is about to be frozen.
    pub fn note_freeze(&self, instance_id: InstanceId, job_id: JobId) -> Result<(), Error> {
        let mut known = self.known();
        self.write(&self.dirs.frozen, &format!("{instance_id}.json"), &FrozenGuest { instance_id, job_id })?;
        known.frozen.insert(instance_id, job_id);
        Ok(())
    }

    /// Notes that a guest is thawed.
    pub fn note_thaw(&self, instance_id: InstanceId) -> Result<(), Error> {
        let mut known = self.known();
        self.remove_file(&self.dirs.frozen, &format!("{instance_id}.json"))?;
        known.frozen.remove(&instance_id);
        Ok(())
    }

    /// The guests that may be frozen.
    #[must_use]
    pub fn frozen(&self) -> Vec<InstanceId> {
        self.known().frozen.keys().copied().collect()
    }

    /// Lists what may be left of jobs; first forgets those that were settled long ago.
    pub fn leftovers(&self) -> Result<Vec<JournalLeftover>, Error> {
        self.forget_settled()?;
        let is_open = |job: &JobRecord| !matches!(job.phase, Phase::Settled { .. });
        let (open, known) = {
            let known = self.known();
            let open: Vec<JobRecord> = known.jobs.values().filter(|job| is_open(job)).cloned().collect();
            (open, known.jobs.keys().copied().collect::<BTreeSet<JobId>>())
        };
        let mut found = Vec::new();
        for job in open {
            let what = job.command_type.rsplit('.').next().unwrap_or_default().to_owned();
            found.extend(self.look_at(
                &self.dirs.jobs.join(name(job.job_id)),
                job.job_id,
                Some(job.saga_id),
                what,
            ));
        }
        let read = |source| Error::Io { verb: "read", path: self.dirs.transfers.clone(), source };
        for entry in std::fs::read_dir(&self.dirs.transfers).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
            found.extend(self.look_at(&path, id, None, "a transfer".to_owned()));
        }
        Ok(found)
    }

    /// Nothing where it went meanwhile.
    fn look_at(
        &self,
        path: &Path,
        job_id: JobId,
        saga_id: Option<SagaId>,
        what: String,
    ) -> Option<JournalLeftover> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        let age = self.clock.now().since(Timestamp(metadata.mtime().saturating_mul(1_000_000)));
        Some(JournalLeftover { job_id, saga_id, what, age, size: ByteCount(metadata.size()) })
    }

    fn forget_settled(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let mut known = self.known();
        let old = |at: Timestamp| now.since(at) > SETTLED_FOR;
        let forgotten: Vec<JobId> = known
            .jobs
            .values()
            .filter(|job| matches!(job.phase, Phase::Settled { at } if old(at)))
            .map(|job| job.job_id)
            .collect();
        forgotten.into_iter().try_for_each(|job_id| self.forget_with_transfer(&mut known, job_id))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Files are written before memory changes: a panic between leaves memory older, which the next start mends.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, known: &mut Known, record: JobRecord) -> Result<(), Error> {
        self.write(&self.dirs.jobs, &name(record.job_id), &record)?;
        known.jobs.insert(record.job_id, record);
        Ok(())
    }

    fn forget(&self, known: &mut Known, job_id: JobId) -> Result<(), Error> {
        self.remove_file(&self.dirs.jobs, &name(job_id))?;
        known.jobs.remove(&job_id);
        Ok(())
    }

    fn write<T: Serialize>(&self, dir: &Path, name: &str, value: &T) -> Result<(), Error> {
        let content = serde_json::to_vec(value).expect("records have only texts and numbers");
        atomic_file::write(dir, name, &content).map_err(|source| Error::Io {
            verb: "write",
            path: dir.join(name),
            source,
        })
    }

    fn remove_file(&self, dir: &Path, name: &str) -> Result<(), Error> {
        atomic_file::remove(dir, name).map_err(|source| Error::Io {
            verb: "remove",
            path: dir.join(name),
            source,
        })
    }
}

impl Known {
    fn is_barred(&self, job_id: JobId, attempt: u32) -> bool {
        self.barred.get(&job_id).is_some_and(|attempt_max| attempt <= *attempt_max)
    }
}

fn name(job_id: JobId) -> String {
    format!("{job_id}.json")
}

/// Locks the folder for the life of the process; the kernel unlocks it at its end, whatever that is.
fn take_lock(state_dir: &Path) -> Result<File, Error> {
    let path = state_dir.join("lock");
    let failed = |source| Error::Io { verb: "open", path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse { path: state_dir.to_owned() }),
        Err(error) => Err(Error::Io { verb: "lock", path, source: error.into() }),
    }
}

/// Reads all files of a folder. Ours are written whole: one that does not parse was damaged by something else. It is set
/// aside, since one bad file must not keep a host's other jobs from going on.
fn load<T: DeserializeOwned>(dir: &Path, corrupt: &Path) -> Result<Vec<T>, Error> {
    let failed = |source| Error::Io { verb: "read", path: dir.to_owned(), source };
    atomic_file::remove_leftovers(dir).map_err(failed)?;
    let mut values = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let content =
            std::fs::read(&path).map_err(|source| Error::Io { verb: "read", path: path.clone(), source })?;
        match serde_json::from_slice(&content) {
            Ok(value) => values.push(value),
            Err(error) => {
                let aside = corrupt.join(path.file_name().unwrap_or_default());
                tracing::error!(path = %path.display(), aside = %aside.display(), %error,
                    "a file of the journal is damaged and was set aside");
                std::fs::rename(&path, &aside).map_err(|source| Error::Io {
                    verb: "set aside",
                    path,
                    source,
                })?;
            }
        }
    }
    Ok(values)
}
