//! Limits of each project, as `cloud.toml` sets them: what the preflight of a plan is compared with. They are not enforced; no
//! process fills a folder in which it was asked first.

use cloud::Planned;
use model::{Failure, ProjectId};
use serde::{Deserialize, Serialize};

use crate::store::Store;

/// `[quotas]` of `cloud.toml`. Absent: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Quotas {
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_snapshots: Option<usize>,
}

impl Quotas {
    pub(crate) fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// Errors: `QUOTA_TOO_SMALL` names every quota that is, with need, rest and limit.
pub(crate) fn check(store: &Store, project: &ProjectId, plan: &[Planned]) -> Result<(), Failure> {
    let Quotas { instances, volumes, volume_snapshots } = store.settings()?.quotas;
    let count = |of: fn(&Planned) -> bool| plan.iter().filter(|planned| of(planned)).count();
    let own = store.instances()?.into_iter().filter(|instance| instance.project == *project).count();
    let rows = [
        ("instances", count(|it| matches!(it, Planned::Instance { .. })), own, instances),
        (
            "volumes",
            count(|it| matches!(it, Planned::Volume { .. })),
            store.volume_records(project)?.len(),
            volumes,
        ),
        (
            "volume snapshots",
            count(|it| matches!(it, Planned::VolumeSnapshot { .. })),
            store.volume_snapshot_records(project)?.len(),
            volume_snapshots,
        ),
    ];
    let short = rows.into_iter().filter_map(|(what, need, used, limit)| {
        let limit = limit?;
        let left = limit.saturating_sub(used);
        (need > left).then(|| format!("{need} {what} are needed, {left} of {limit} are left"))
    });
    let short: Vec<String> = short.collect();
    if short.is_empty() {
        return Ok(());
    }
    let message = format!(
        "project {project} has not enough quota: {}; free some, or raise the limit in cloud.toml",
        short.join("; ")
    );
    Err(Failure::permanent("QUOTA_TOO_SMALL", message))
}
