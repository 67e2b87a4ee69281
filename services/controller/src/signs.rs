//! Signs of life of services, on their way into the catalog. Called by the consumers of heartbeats and replies, and by
//! `status_keeper` for the controller itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use catalog::{Catalog, ServiceKind, ServiceSign};
use model::{HostName, PoolName};
use proto::rep::v1::{Examined, Register};
use runtime::Clock;

use crate::{app, doctor};

/// How exact the last sign of life is: a thousand hosts are then 200 small writes a second at most.
const NOTE_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// Of the time after which a service is called silent: a beat may be lost, and the next be late.
const NOTES_IN_SILENCE: u32 = 4;
/// Longer than anybody repairs a host; then it is gone, and its row too.
const FORGET_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// A version and a boot id are words of some letters; a compute host may send anything.
const WORD_LENGTH_MAX: usize = 64;
/// A host serves a pool or two.
const POOL_COUNT_MAX: usize = 32;
/// A datamover knows a dozen commands.
const CAPABILITY_COUNT_MAX: usize = 64;

/// Notes them, each service at most every few seconds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signs {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    note_interval: Duration,
    noted: Arc<Mutex<BTreeMap<(ServiceKind, HostName), Noted>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    boot_id: String,
    at: Instant,
}

impl Signs {
    /// Nothing is noted yet. `silence_max`: after how long a service is called silent.
    #[must_use]
    pub fn new(catalog: Catalog, clock: Arc<dyn Clock>, silence_max: Duration) -> Self {
        let note_interval = NOTE_INTERVAL_MAX.min(silence_max / NOTES_IN_SILENCE);
        Self { catalog, clock, note_interval, noted: Arc::default() }
    }

    /// Takes a datamover's word about itself.
    ///
    /// Errors: the catalog. Names of pools that are none are left out.
    pub async fn register(&self, host: &HostName, register: &Register) -> Result<(), catalog::Error> {
        let pools = register.pools.iter().take(POOL_COUNT_MAX).filter_map(|pool| pool.parse().ok());
        self.note(ServiceSign {
            kind: ServiceKind::Datamover,
            host: host.clone(),
            boot_id: app::shown(&register.boot_id, WORD_LENGTH_MAX),
            version: Some(app::shown(&register.version, WORD_LENGTH_MAX)),
            pools: pools.collect::<Vec<PoolName>>(),
            capabilities: Some(capabilities(register)),
        })
        .await
    }

    /// Takes the answer of a service that was asked how it finds itself.
    ///
    /// Errors: the catalog.
    pub async fn note_examined(
        &self,
        kind: ServiceKind,
        host: &HostName,
        examined: &Examined,
    ) -> Result<(), catalog::Error> {
        doctor::note(&self.catalog, kind, host, examined, self.clock.now()).await
    }

    /// Takes a heartbeat. It may be lost, and it may be of a process that ended a minute ago.
    ///
    /// Errors: the catalog.
    pub async fn beat(
        &self,
        kind: ServiceKind,
        host: &HostName,
        boot_id: &str,
    ) -> Result<(), catalog::Error> {
        let boot_id = app::shown(boot_id, WORD_LENGTH_MAX);
        if self.is_fresh(kind, host, &boot_id) {
            return Ok(());
        }
        let (host, pools) = (host.clone(), Vec::new());
        let sign = ServiceSign { kind, host, boot_id, version: None, pools, capabilities: None };
        if kind != ServiceKind::Datamover {
            return self.note(sign).await;
        }
        // Datamovers register; what a registration said stays until the next, also one that comes at this very moment.
        let mut tx = self.catalog.begin().await?;
        if !tx.see_service(kind, &sign.host).await? {
            tx.insert_service(&sign).await?;
        }
        tx.commit().await?;
        self.remember(kind, &sign.host, sign.boot_id);
        Ok(())
    }

    /// Notes this controller, and forgets who was not seen for a month.
    ///
    /// Errors: the catalog.
    pub async fn note_controller(&self, host: &HostName, boot_id: &str) -> Result<(), catalog::Error> {
        let kind = ServiceKind::Controller;
        if self.is_fresh(kind, host, boot_id) {
            return Ok(());
        }
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
        let (host, boot_id) = (host.clone(), boot_id.to_owned());
        self.note(ServiceSign { kind, host, boot_id, version, pools: Vec::new(), capabilities: None })
            .await?;
        let mut tx = self.catalog.begin().await?;
        tx.forget_services(self.clock.now().before(FORGET_AFTER)).await?;
        tx.commit().await
    }

    async fn note(&self, sign: ServiceSign) -> Result<(), catalog::Error> {
        let mut tx = self.catalog.begin().await?;
        tx.upsert_service(&sign).await?;
        tx.commit().await?;
        self.remember(sign.kind, &sign.host, sign.boot_id);
        Ok(())
    }

    fn is_fresh(&self, kind: ServiceKind, host: &HostName, boot_id: &str) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let found = noted.get(&(kind, host.clone()));
        found.is_some_and(|noted| {
            noted.boot_id == boot_id && self.clock.monotonic().duration_since(noted.at) < self.note_interval
        })
    }

    fn remember(&self, kind: ServiceKind, host: &HostName, boot_id: String) {
        let noted = Noted { boot_id, at: self.clock.monotonic() };
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, host.clone()), noted);
    }
}

/// Words of letters, as ours are.
fn capabilities(register: &Register) -> Vec<String> {
    let is_word = |word: &&String| {
        (1..=WORD_LENGTH_MAX).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    register.capabilities.iter().filter(is_word).take(CAPABILITY_COUNT_MAX).cloned().collect()
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use runtime::ManualClock;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    struct Bench {
        signs: Signs,
        clock: Arc<ManualClock>,
        _dir: tempfile::TempDir,
    }

    async fn make_bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::starting_at(NOW);
        let url = format!("sqlite:{}", dir.path().join("catalog.sqlite").display());
        let catalog = Catalog::open(&url, clock.clone()).await.unwrap();
        Bench { signs: Signs::new(catalog, clock.clone(), Duration::from_secs(90)), clock, _dir: dir }
    }

    impl Bench {
        async fn rows(&self) -> Vec<catalog::ServiceRow> {
            self.signs.catalog.read().await.unwrap().list_services().await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_beat_keeps_what_a_registration_said_and_moves_the_last_sign_of_life() {
        let bench = make_bench().await;
        let host: HostName = "host-a".parse().unwrap();
        let register = Register {
            host: host.to_string(),
            boot_id: "b".to_owned(),
            pools: vec!["fast".to_owned(), "no pool/".to_owned()],
            capabilities: Vec::new(),
            version: "9.9\u{7}".repeat(50),
        };
        bench.signs.register(&host, &register).await.unwrap();
        bench.clock.advance(Duration::from_secs(15));
        bench.signs.beat(ServiceKind::Datamover, &host, "b").await.unwrap();
        let row = bench.rows().await.remove(0);
        assert_eq!(row.seen_at, NOW.after(Duration::from_secs(15)));
        assert!(!row.can("examine"), "it registered and announced nothing");
        assert_eq!((row.version.unwrap().len(), row.pools.len()), (WORD_LENGTH_MAX, 1));
    }

    #[tokio::test]
    async fn beats_are_written_every_few_seconds_only_and_at_once_after_a_restart() {
        let bench = make_bench().await;
        let host: HostName = "node-1".parse().unwrap();
        let kind = ServiceKind::Dmapi;
        bench.signs.beat(kind, &host, "one").await.unwrap();
        bench.clock.advance(Duration::from_secs(4));
        bench.signs.beat(kind, &host, "one").await.unwrap();
        assert_eq!(bench.rows().await[0].seen_at, NOW);
        bench.signs.beat(kind, &host, "two").await.unwrap();
        let row = bench.rows().await.remove(0);
        assert_eq!((row.started_at, row.boot_id.as_str()), (NOW.after(Duration::from_secs(4)), "two"));
    }

    #[tokio::test]
    async fn who_was_silent_for_a_month_is_forgotten_by_the_controller() {
        let bench = make_bench().await;
        bench.signs.beat(ServiceKind::Dmapi, &"old".parse().unwrap(), "one").await.unwrap();
        bench.clock.advance(Duration::from_secs(31 * 24 * 3600));
        bench.signs.note_controller(&"node-1".parse().unwrap(), "boot").await.unwrap();
        let rows = bench.rows().await;
        assert_eq!((rows.len(), rows[0].kind), (1, ServiceKind::Controller));
    }
}
