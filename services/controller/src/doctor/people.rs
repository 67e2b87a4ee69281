//! What concerns those who own workloads: the role that writes, their trusts, and whether their quotas have room for the next
//! snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use catalog::WorkloadRow;
use cloud::{InstanceDescription, Planned, UserData};
use futures::stream::{self, Stream, StreamExt as _};
use model::{Check, Failure, InstanceId, Owner};
use tokio::time::{Instant, timeout, timeout_at};

use super::Finding;
use crate::app::trusts::TrustBook;
use crate::app::{Caller, Role};
use crate::state::AppState;

/// Trusts and workloads that are looked at at once: each asks the cloud's API.
const LOOKS_AT_ONCE: usize = 4;
/// Of one trust, or of one workload with all its instances.
const LOOK_TIMEOUT_MAX: Duration = Duration::from_secs(20);
/// Of all of them together.
const LOOKS_MAX: Duration = Duration::from_secs(25);

/// Examines the caller's role, and trusts and quotas of the workloads' owners.
///
/// Codes: `TRUSTEE_ROLE_MISSING`; `TRUST_…` of a look at a trust; `QUOTA_TOO_SMALL`, `USER_DATA_HIDDEN`, and why an instance cannot
/// be described; `CHECKS_CUT_SHORT` where the time was over before all was looked at.
pub(super) async fn examine(state: &AppState, caller: &Caller, workloads: &[WorkloadRow]) -> Vec<Finding> {
    let mut checks = vec![examine_role(caller, workloads)];
    let ends_at = Instant::now() + LOOKS_MAX;
    let mut holds = BTreeMap::new();
    if let Some(book) = &state.trusts {
        let (trusts, left) = examine_trusts(book.as_ref(), caller, workloads, ends_at).await;
        for (owner, check) in trusts {
            holds.insert(owner, check.code.is_empty());
            checks.push(check);
        }
        checks.extend(cut_short("trusts", left));
    }
    // Without a trust nothing can be asked of the cloud, and that has been said.
    let mut asked = workloads.to_vec();
    asked.retain(|row| holds.get(&row.owner()).copied().unwrap_or(true));
    let count = asked.len();
    let looks = stream::iter(asked).map(|row| examine_workload(state, row)).buffered(LOOKS_AT_ONCE);
    let of_workloads = collect_until(looks, ends_at).await;
    checks.extend(cut_short("workloads", count - of_workloads.len()));
    checks.extend(of_workloads.into_iter().flatten());
    checks.into_iter().map(|check| Finding { service: "project", host: String::new(), check }).collect()
}

/// Who has workloads and lost the role cannot do anything with them; who has none may only want to read.
fn examine_role(caller: &Caller, workloads: &[WorkloadRow]) -> Check {
    let role = &caller.role_names.member;
    let subject = format!("role {role} of user {}", caller.user);
    if caller.roles.contains(&Role::Member) {
        return Check::ok(subject, "given");
    }
    if caller.is_admin() {
        return Check::ok(subject, "not given: you see all, and write nothing");
    }
    let message = format!(
        "without it you only read, and no trust can lend it: ask whoever manages project {} to give it (openstack role add)",
        caller.project
    );
    match workloads.iter().any(|row| row.user_id == caller.user) {
        true => Check::fail(subject, "TRUSTEE_ROLE_MISSING", message),
        false => Check::warn(subject, "TRUSTEE_ROLE_MISSING", message),
    }
}

async fn examine_trusts(
    book: &dyn TrustBook,
    caller: &Caller,
    workloads: &[WorkloadRow],
    ends_at: Instant,
) -> (Vec<(Owner, Check)>, usize) {
    let mut owners: Vec<Owner> = workloads.iter().map(WorkloadRow::owner).collect();
    owners.sort();
    owners.dedup();
    let look = |owner: Owner| async move {
        let subject = format!("trust of user {} in project {}", owner.user_id, owner.project_id);
        let check = match timeout(LOOK_TIMEOUT_MAX, book.look(&owner, caller)).await {
            Ok(outcome) => {
                Check::of(subject, outcome.map(|row| format!("it lends {}", row.roles.join(", "))))
            }
            Err(_) => overdue(subject, "Keystone"),
        };
        (owner, check)
    };
    let count = owners.len();
    let found = collect_until(stream::iter(owners).map(look).buffered(LOOKS_AT_ONCE), ends_at).await;
    let left = count - found.len();
    (found, left)
}

/// As many as come in time.
async fn collect_until<T>(looks: impl Stream<Item = T>, ends_at: Instant) -> Vec<T> {
    let mut looks = std::pin::pin!(looks);
    let mut found = Vec::new();
    while let Ok(Some(one)) = timeout_at(ends_at, looks.next()).await {
        found.push(one);
    }
    found
}

fn cut_short(what: &str, left: usize) -> Option<Check> {
    (left > 0).then(|| {
        let message = format!(
            "{left} of them could not be looked at within {} s: name one with --workload, and look at the load of the cloud's API",
            LOOKS_MAX.as_secs()
        );
        Check::warn(what, "CHECKS_CUT_SHORT", message)
    })
}

/// What the next snapshot of a workload needs, and what each of its instances lacks.
async fn examine_workload(state: &AppState, row: WorkloadRow) -> Vec<Check> {
    let subject = format!("workload {} ({})", row.name, row.id);
    let work = async {
        let mut tx = state.catalog.read().await.map_err(|error| error.failure())?;
        let instances = tx.list_workload_instances(row.id).await.map_err(|error| error.failure())?;
        drop(tx);
        let ids: Vec<InstanceId> = instances.into_iter().map(|row| row.instance_id).collect();
        look_at_instances(state, &row, &subject, &ids).await
    };
    match timeout(LOOK_TIMEOUT_MAX, work).await {
        Ok(Ok(checks)) => checks,
        Ok(Err(failure)) => vec![Check::of(subject, Err::<String, _>(failure))],
        Err(_) => vec![overdue(subject, "the cloud's API")],
    }
}

async fn look_at_instances(
    state: &AppState,
    row: &WorkloadRow,
    subject: &str,
    ids: &[InstanceId],
) -> Result<Vec<Check>, Failure> {
    let owner = row.owner();
    let (mut checks, mut plan) = (Vec::new(), Vec::new());
    for id in ids {
        match state.cloud.describe_instance(&owner, *id).await {
            Ok(instance) => {
                plan.extend(planned(&instance));
                // A cloud without a door keeps none.
                let user_data = state.doctor.cloud.as_ref().and_then(|_| examine_user_data(&instance));
                checks.extend(user_data);
            }
            Err(failure) => {
                checks.push(Check::of(format!("instance {id} of {subject}"), Err::<String, _>(failure)));
            }
        }
    }
    let needs = format!("the next snapshot needs {} volume snapshots, and there is room", plan.len());
    let room = state.cloud.check_quotas(&owner, &plan).await;
    checks.push(Check::of(format!("quotas for {subject}"), room.map(|()| needs)));
    Ok(checks)
}

/// One volume snapshot of each volume: what the saga asks for.
fn planned(instance: &InstanceDescription) -> impl Iterator<Item = Planned> {
    let volumes = instance.disks_to_back_up().filter(|disk| disk.volume_id.is_some());
    volumes.map(|disk| Planned::VolumeSnapshot { volume_type: disk.volume_type.clone(), size: disk.size })
}

fn examine_user_data(instance: &InstanceDescription) -> Option<Check> {
    let is_hidden = instance.server.user_data == UserData::NotShown;
    is_hidden.then(|| {
        let message = "the cloud does not show it to Holdfast, so it is not saved: let Holdfast's user read servers with all attributes \
                       (policy os_compute_api:os-extended-server-attributes)";
        Check::warn(format!("user data of instance {}", instance.id), "USER_DATA_HIDDEN", message)
    })
}

fn overdue(subject: String, who: &str) -> Check {
    let message = format!("{who} does not answer within {} s: look at its load", LOOK_TIMEOUT_MAX.as_secs());
    Check::fail(subject, "CHECK_OVERDUE", message)
}
