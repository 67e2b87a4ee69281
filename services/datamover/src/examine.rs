//! Looks at itself, as an operator asks for it: at start by `--check`, and of a running datamover by `Examine`. Both by its
//! config, so that both tell the same. Each part has a bound, and one that is not kept is told like any other failure.

use std::path::Path;

use backup_target::{Examined, Owner, Seen};
use chunk_store::FileKeys;
use futures::future::join_all;
use model::{Check, InstanceId};
use proto::rep::v1 as rep;
use service_kit::checks;

use crate::config::Config;
use crate::wiring;

/// What a datamover tells of itself.
#[derive(Debug)]
pub struct Findings {
    pub checks: Vec<Check>,
    /// The targets that could be opened.
    pub targets: Vec<rep::TargetSeen>,
    pub user: Owner,
}

/// Examines this host; the guests' agents of `instances` too, as far as they are here. `instances_only`: nothing else.
pub async fn examine(config: &Config, instances: &[InstanceId], instances_only: bool) -> Findings {
    let user = Owner::of_process();
    let guests = checks::bounded("guest agents", wiring::examine_guests(config, instances));
    if instances_only {
        return Findings { checks: guests.await, targets: Vec::new(), user };
    }
    let targets = join_all(config.targets.iter().map(|target| backup_target::examine(&target.path, user)));
    let host = checks::bounded("host", wiring::examine_host(config));
    let (guests, host, targets, programs) = tokio::join!(guests, host, targets, examine_programs(config));
    let mut found = examine_files(config);
    found.extend(programs);
    found.extend(host);
    if targets.is_empty() {
        found.push(Check::fail(
            "targets",
            "NO_TARGET",
            "the config has no [[target]]: add one with its path",
        ));
    }
    let seen =
        config.targets.iter().zip(&targets).filter_map(|(section, examined)| see(&section.path, examined));
    let seen = seen.collect();
    found.extend(targets.into_iter().map(|examined| examined.check));
    found.extend(guests);
    Findings { checks: found, targets: seen, user }
}

/// What `--check` shows: the same, and whether the broker lets it in.
pub async fn check(config: Config) -> Vec<Check> {
    let name = format!("datamover@{}", config.host);
    let (findings, broker) = tokio::join!(examine(&config, &[], false), checks::broker(&config.bus, &name));
    broker.into_iter().chain(findings.checks).collect()
}

fn see(path: &Path, examined: &Examined) -> Option<rep::TargetSeen> {
    let Seen { id, owner } = examined.seen?;
    let path = path.display().to_string();
    Some(rep::TargetSeen { target_id: id.to_string(), path, owner_uid: owner.uid, owner_gid: owner.gid })
}

/// Codes: those of the key file, `STATE_FOLDER_UNUSABLE`.
fn examine_files(config: &Config) -> Vec<Check> {
    let key_file = FileKeys::open(&config.key_file);
    let key_file = key_file.map(|_| config.key_file.display().to_string()).map_err(|error| error.failure());
    vec![
        Check::of("key file", key_file),
        checks::writable("state folder", "STATE_FOLDER_UNUSABLE", &config.state_dir),
    ]
}

async fn examine_programs(config: &Config) -> Vec<Check> {
    let advice = "install the Debian package qemu-utils, or set qemu_nbd";
    vec![checks::program("qemu-nbd", "QEMU_NBD_MISSING", &config.qemu_nbd, advice).await]
}
