//! The soak: for as long as told, a user takes snapshots and brings them back while another hand kills, stops and freezes
//! the services and the broker. Then everybody is left in peace, and it is judged: each job is done or taken back, nothing
//! is left over anywhere, and every byte is right.

mod account;
mod estate;
mod judge;
mod leftovers;
mod nemesis;
mod user;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::config::Timing;
use crate::ledger::Ledger;
use crate::world::{Spec, World};
use account::Account;
use estate::Estate;
use nemesis::Nemesis;
use user::{Place, User};

const TICK: Duration = Duration::from_millis(100);
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// A lost command to a cloud worker is noticed after ten minutes.
const QUIET_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// A transfer of 20 MiB takes some seconds, so that most kills strike one in the middle.
const RATE_LIMIT_MIB_PER_S: u64 = 8;

/// `MINUTES`, `SEED` and `KEEP` are in the environment.
///
/// Errors: what the judge found.
pub fn run() -> Result<()> {
    let minutes: u64 = read("MINUTES", 60)?;
    let seed: u64 = read("SEED", runtime::Entropy.uuid().as_u64_pair().1 % 1_000_000)?;
    let keeps = std::env::var_os("KEEP").is_some();
    say(&format!("soak: {minutes} min, SEED={seed}"));
    let dir = tempfile::Builder::new().prefix("holdfast-soak-").tempdir()?;
    let root = dir.path().to_owned();
    let outcome = soak(&root, Duration::from_secs(minutes * 60), seed);
    if keeps || !matches!(outcome, Ok(true)) {
        say(&format!("everything is kept in {}", dir.keep().display()));
    }
    if outcome? { Ok(()) } else { bail!("the soak with SEED={seed} found what must not be") }
}

/// Who acts.
struct Cast {
    user: User,
    nemesis: Nemesis,
}

/// Whether nothing was found.
fn soak(root: &Path, length: Duration, seed: u64) -> Result<bool> {
    let spec =
        Spec { rate_limit_mib_per_s: Some(RATE_LIMIT_MIB_PER_S), timing: Timing::quick(), ..Spec::default() };
    let mut estate = Estate::build(root, &spec, &mut StdRng::seed_from_u64(seed))?;
    let mut world = World::start(root, spec)?;
    // The judge counts them, and keeps what it found.
    world.announce_dead_letters();
    estate.protect(&world)?;
    let before = Ledger::of_cloud(&world.places.cloud())?;
    let mut account = Account::default();
    let mut cast =
        Cast { user: User::new(seed.wrapping_add(1)), nemesis: Nemesis::new(seed.wrapping_add(2)) };
    let started = Instant::now();
    storm(&mut world, &estate, &mut cast, &mut account, length)?;
    account.add("minutes of storm".to_owned(), length.as_secs() / 60);
    judge::judge(&mut world, &estate, &mut cast.user, &before, &mut account)?;
    account.add("seconds in all".to_owned(), started.elapsed().as_secs());
    say(&account.text());
    say(&format!("soak-report {}", account.json()));
    say(if account.is_clean() { "soak: nothing was found" } else { "soak: FOUND" });
    Ok(account.is_clean())
}

fn storm(
    world: &mut World,
    estate: &Estate,
    Cast { user, nemesis }: &mut Cast,
    account: &mut Account,
    length: Duration,
) -> Result<()> {
    let start = Instant::now();
    let (mut sample_at, mut tell_at) = (start, start + TELL_INTERVAL);
    loop {
        let now = Instant::now();
        let calm = now > start + length;
        nemesis.tick(world, account, calm)?;
        user.tick(Place { world, estate }, account, calm)?;
        if now >= sample_at && nemesis.broker_is_up() {
            account.sample_queues(world);
            sample_at = now + SAMPLE_INTERVAL;
        }
        if now >= tell_at {
            say(&format!("after {} s; under way: {:?}", (now - start).as_secs(), user.waits_for()));
            tell_at = now + TELL_INTERVAL;
        }
        if calm && nemesis.is_at_rest() && user.waits_for().is_empty() {
            account.add("seconds until quiet".to_owned(), (now - start - length).as_secs());
            return Ok(());
        }
        if now > start + length + QUIET_DEADLINE {
            account.find(format!("jobs that never ended: {:?}", user.waits_for()));
            return Ok(());
        }
        std::thread::park_timeout(TICK);
    }
}

fn read(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text} is no number")),
        Err(_) => Ok(default),
    }
}

#[allow(clippy::print_stdout)] // what the run is for
fn say(text: &str) {
    println!("{text}");
}
