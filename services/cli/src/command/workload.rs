//! `holdfast workload …`

use clap::{Args, Subcommand};
use model::{KeepBase, SagaId, WorkloadType};
use rest_api::{Client, LooseBool, NewWorkload, NewWorkloadInstance, Workload, WorkloadChange};

use super::Session;
use crate::error::Error;
use crate::names::find_workload;
use crate::output::tell;
use crate::wait;

const LIST_COLUMNS: &[&str] = &["id", "name", "status", "created_at"];
const SHOW_COLUMNS: &[&str] = &[
    "id",
    "name",
    "description",
    "status",
    "backup_target_id",
    "keep_base",
    "allow_partial",
    "workload_type",
    "error_msg",
    "created_at",
    "updated_at",
];
const LEFT_COLUMNS: &[&str] = &["id", "name", "instance_id", "found_at"];
const STARTED_COLUMNS: &[&str] = &["id", "kind", "phase", "error_code", "error_msg"];
const INSTANCE_COLUMNS: &[&str] = &["id", "name"];
const NOTIFICATION_COLUMNS: &[&str] = &["happened_at", "change", "subject", "subject_id", "detail"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Protects instances together from now on.
    #[command(after_help = "Examples:
  holdfast workload create web --instance 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast workload create shop --instance ID1 --instance ID2 --target offsite -f value -c id")]
    Create(Create),
    /// Changes a workload, from its next snapshot on.
    #[command(after_help = "Examples:
  holdfast workload modify web --allow-partial true
  holdfast workload modify web --type serial --name web-tier")]
    Modify(Modify),
    /// Lists the workloads of the project.
    #[command(after_help = "Examples:\n  holdfast workload list\n  holdfast workload list -f json")]
    List,
    /// Shows a workload with its instances.
    #[command(
        after_help = "Examples:\n  holdfast workload show web\n  holdfast workload show web -f value -c status"
    )]
    Show {
        /// Id or name.
        workload: String,
    },
    /// Removes what is kept in the cloud for the next increment: the next snapshot is full.
    #[command(after_help = "Examples:\n  holdfast workload reset web --wait")]
    Reset {
        /// Id or name.
        workload: String,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
    /// Deletes a workload that has no snapshots any more.
    #[command(after_help = "Examples:
  holdfast workload delete web --wait
  holdfast workload delete web --database-only")]
    Delete {
        /// Id or name.
        workload: String,
        /// Leave in the cloud what is kept there, as when it cannot be asked any more.
        #[arg(long)]
        database_only: bool,
        /// Wait until it is done.
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The name of the workload.
    name: String,
    /// The id of an instance to protect; may be repeated.
    #[arg(long = "instance", value_name = "ID", required = true)]
    instances: Vec<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// Name or id of the backup target; without it, the service's default.
    #[arg(long)]
    target: Option<String>,
    /// Whether the storage keeps the newest point in time, so that the next snapshot reads only what changed: auto (where
    /// it can) or never (users may then delete their volumes at any time).
    #[arg(long, value_name = "auto|never", default_value = "auto")]
    keep_base: KeepBase,
    /// Leave out instances that fail, and go on with the others: the snapshot is then available with a warning.
    #[arg(long)]
    allow_partial: bool,
    /// Whether a snapshot takes the instances at once (parallel) or one after the other, as they are named here (serial).
    #[arg(long = "type", value_name = "parallel|serial", default_value = "parallel")]
    workload_type: WorkloadType,
}

#[derive(Debug, Args)]
pub(crate) struct Modify {
    /// Id or name.
    workload: String,
    /// Its new name.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// See `workload create`.
    #[arg(long, value_name = "auto|never")]
    keep_base: Option<KeepBase>,
    /// Whether a snapshot leaves out instances that fail, and goes on with the others.
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    allow_partial: Option<bool>,
    /// See `workload create`.
    #[arg(long = "type", value_name = "parallel|serial")]
    workload_type: Option<WorkloadType>,
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let client = session.connection.client().await?;
        match self {
            Self::Create(create) => {
                let workload = NewWorkload {
                    name: Some(create.name),
                    description: create.description,
                    instances: create
                        .instances
                        .iter()
                        .map(|text| NewWorkloadInstance(bare_id(text)))
                        .collect(),
                    backup_target: create.target,
                    keep_base: Some(create.keep_base),
                    allow_partial: create.allow_partial.then_some(LooseBool(true)),
                    workload_type: Some(create.workload_type),
                    ..NewWorkload::default()
                };
                show(session, &client.create_workload(workload).await?)
            }
            Self::Modify(modify) => {
                let id = find_workload(&client, &modify.workload).await?;
                let change = WorkloadChange {
                    name: modify.name,
                    description: modify.description,
                    keep_base: modify.keep_base,
                    allow_partial: modify.allow_partial.map(LooseBool),
                    workload_type: modify.workload_type,
                    ..WorkloadChange::default()
                };
                show(session, &client.change_workload(id, change).await?)
            }
            Self::List => session.output.list(&client.list_workloads().await?, LIST_COLUMNS),
            Self::Show { workload } => {
                let id = find_workload(&client, &workload).await?;
                show(session, &client.show_workload(id).await?)
            }
            Self::Reset { workload, wait } => {
                let id = find_workload(&client, &workload).await?;
                follow(session, &client, client.reset_workload(id).await?, wait).await
            }
            Self::Delete { workload, database_only, wait } => {
                let id = find_workload(&client, &workload).await?;
                let started = client.delete_workload(id, database_only).await?;
                for thing in &started.stays {
                    tell(&format!("stays: {thing}"));
                }
                if !started.stays.is_empty() {
                    tell(
                        "holdfast doctor --leftovers --remove removes what stays, on the trust that stays for that",
                    );
                }
                follow(session, &client, started.saga_id, wait).await
            }
        }
    }
}

/// Shows the saga that does it, at its end where that is waited for.
async fn follow(
    session: &Session<'_>,
    client: &Client,
    id: SagaId,
    is_waited_for: bool,
) -> Result<(), Error> {
    if !is_waited_for {
        return session.output.show(&client.show_saga(id).await?, STARTED_COLUMNS);
    }
    let (saga, ending) = wait::wait(|| client.show_saga(id)).await?;
    session.output.show(&saga, STARTED_COLUMNS)?;
    ending
}

/// T4O's command line takes `--instance instance-id=<uuid>`.
fn bare_id(text: &str) -> String {
    text.strip_prefix("instance-id=").unwrap_or(text).to_owned()
}

fn show(session: &Session<'_>, workload: &Workload) -> Result<(), Error> {
    session.output.show(workload, SHOW_COLUMNS)?;
    if session.output.is_for_people() {
        session.output.list(&workload.instances, INSTANCE_COLUMNS)?;
        if !workload.notifications.is_empty() {
            session.output.list(&workload.notifications, NOTIFICATION_COLUMNS)?;
        }
        if !workload.volumes_left.is_empty() {
            tell(
                "volumes that stayed behind because of a volume snapshot of Holdfast, which is gone: delete them yourself",
            );
            session.output.list(&workload.volumes_left, LEFT_COLUMNS)?;
        }
    }
    Ok(())
}
