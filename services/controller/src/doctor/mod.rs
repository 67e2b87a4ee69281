//! What is wrong, and what to do: asked by an operator of the whole site, by a user of their own project. Nothing is changed.
//!
//! ```text
//!  GET /doctor ─▶ examine ─┬─ own      this controller: catalog, broker, targets, the cloud's door
//!                          ├─ asking   Examine to each dmapi and datamover, their answers by the catalog
//!                          ├─ compare  what they say, held against each other: clocks, versions, accounts, targets
//!                          └─ people   roles, trusts and quotas of those who own workloads
//! ```
//!
//! Each part has a bound, and the whole ends within half a minute. docs/decisions/0012 says why it is asked and not
//! reported, and docs/errors.md what each code means.

mod asking;
mod compare;
mod people;
mod permits;

mod broker;
mod own;

mod local;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use broker_admin::Admin;
use bus::Publisher;
use catalog::{WorkloadFilter, WorkloadRow};
use model::{Check, InstanceId, WorkloadId, WorkloadState};

use crate::app::{Caller, Error};
use crate::state::AppState;
use asking::{Question, Whom};
use permits::Permits;

pub(crate) use asking::note;
pub(crate) use local::check;

/// Workloads that one examination looks at: each costs some calls of the cloud's API.
const WORKLOADS_MAX: usize = 50;
/// A question must fit into one message.
const INSTANCES_MAX: usize = 1000;

/// What a part of the service found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `controller`, `dmapi`, `datamover` or `project`.
    pub service: &'static str,
    /// Empty: it is nowhere in particular, or not the caller's to know.
    pub host: String,
    pub check: Check,
}

/// Looks at the cloud as the controllers need it.
#[async_trait]
pub trait CloudExaminer: fmt::Debug + Send + Sync {
    /// Whether Keystone lets the service identity in, with its role, and each service of the cloud is where the catalog says.
    async fn examine(&self) -> Vec<Check>;
}

/// What an examination needs beside the state that all requests share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Doctor {
    publisher: Publisher,
    /// Absent: no `[broker]` is configured.
    monitor: Option<Admin>,
    /// Absent: the cloud has no door.
    cloud: Option<Arc<dyn CloudExaminer>>,
    permits: Permits,
}

impl Doctor {
    /// Asks over `publisher`.
    #[must_use]
    pub fn new(publisher: Publisher, monitor: Option<Admin>, cloud: Option<Arc<dyn CloudExaminer>>) -> Self {
        Self { publisher, monitor, cloud, permits: Permits::default() }
    }
}

/// Examines the site for an administrator; for others what concerns their own project. `named`: of workloads only this one.
///
/// Errors: `DOCTOR_BUSY`, `WORKLOAD_NOT_FOUND`, the catalog.
pub async fn examine(
    state: &AppState,
    caller: &Caller,
    named: Option<WorkloadId>,
) -> Result<Vec<Finding>, Error> {
    let permit = state.doctor.permits.take(&caller.project);
    let _permit = permit.map_err(|message| Error::conflict("DOCTOR_BUSY", message))?;
    let workloads = list_workloads(state, caller, named).await?;
    let mut instances = Vec::new();
    let mut tx = state.catalog.read().await?;
    for workload in &workloads {
        let rows = tx.list_workload_instances(workload.id).await?;
        instances.extend(rows.into_iter().map(|row| row.instance_id));
    }
    drop(tx);
    let count = (workloads.len(), instances.len());
    let shown = &workloads[..workloads.len().min(WORKLOADS_MAX)];
    instances.truncate(INSTANCES_MAX);
    let mut findings = match caller.is_admin() {
        // Boxed: they hold all looks at once.
        true => Box::pin(examine_site(state, caller, shown, instances)).await?,
        false => Box::pin(examine_project(state, caller, shown, instances)).await?,
    };
    if count.0 > shown.len() || count.1 > INSTANCES_MAX {
        let message = format!(
            "of {} workloads with {} instances {} and {INSTANCES_MAX} are looked at: name one with --workload for the others",
            count.0,
            count.1,
            shown.len()
        );
        findings.push(Finding {
            service: "project",
            host: String::new(),
            check: Check::warn("workloads", "CHECKS_CUT_SHORT", message),
        });
    }
    Ok(findings)
}

async fn examine_site(
    state: &AppState,
    caller: &Caller,
    workloads: &[WorkloadRow],
    instances: Vec<InstanceId>,
) -> Result<Vec<Finding>, Error> {
    let question = Question { instances, instances_only: false, whom: Whom::All };
    let (own, asked, people) = tokio::join!(
        own::examine(state),
        asking::ask(state, &question),
        people::examine(state, caller, workloads)
    );
    let asked = asked?;
    let host = service_kit::own_host().to_string();
    let seen = own::see(state).await;
    let mut findings: Vec<Finding> =
        own.into_iter().map(|check| Finding { service: "controller", host: host.clone(), check }).collect();
    findings.extend(compare::compare(&seen, &asked.answers));
    findings.extend(asked.into_findings());
    findings.extend(people);
    Ok(findings)
}

/// Nothing of hosts: where instances run is the operator's to know. Only the hosts of the project's instances are asked.
async fn examine_project(
    state: &AppState,
    caller: &Caller,
    workloads: &[WorkloadRow],
    instances: Vec<InstanceId>,
) -> Result<Vec<Finding>, Error> {
    let guests = async {
        match instances.is_empty() {
            true => Ok(Vec::new()),
            false => asking::ask_guests(state, instances).await,
        }
    };
    let (guests, targets, mut findings) =
        tokio::join!(guests, own::show_targets(state), people::examine(state, caller, workloads));
    findings.extend(targets);
    findings.extend(guests?);
    Ok(findings)
}

async fn list_workloads(
    state: &AppState,
    caller: &Caller,
    named: Option<WorkloadId>,
) -> Result<Vec<WorkloadRow>, Error> {
    let project_id = (!caller.is_admin()).then(|| caller.project.clone());
    let filter = WorkloadFilter { project_id, ..WorkloadFilter::default() };
    let mut rows = state.catalog.read().await?.list_workloads(&filter).await?;
    rows.retain(|row| row.status != WorkloadState::Deleted && named.is_none_or(|id| row.id == id));
    match named {
        Some(id) if rows.is_empty() => Err(Error::not_found("WORKLOAD_NOT_FOUND", "workload", &id)),
        _ => Ok(rows),
    }
}
