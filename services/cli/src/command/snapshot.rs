//! `holdfast snapshot …`

use clap::{Args, Subcommand};
use model::SnapshotId;
use rest_api::{Client, NewSnapshot, Snapshot};
use serde::Serialize;

use super::Session;
use crate::error::Error;
use crate::names::{find_snapshot, find_workload};
use crate::output::tell;
use crate::wait::wait;

const LIST_COLUMNS: &[&str] = &[
    "id",
    "name",
    "workload_id",
    "snapshot_type",
    "status",
    "progress_percent",
    "size",
    "uploaded_size",
    "created_at",
];
const SHOW_COLUMNS: &[&str] = &[
    "id",
    "name",
    "description",
    "workload_id",
    "snapshot_type",
    "status",
    "consistency",
    "size",
    "bytes_read",
    "uploaded_size",
    "progress_percent",
    "progress_msg",
    "warning_msg",
    "error_code",
    "error_msg",
    "saga_id",
    "created_at",
    "finished_at",
    "time_taken",
];
const FAILED_COLUMNS: &[&str] = &["name", "status", "error_code", "error_msg"];
const DISK_COLUMNS: &[&str] =
    &["instance", "disk", "status", "bytes_total", "bytes_done", "bytes_read", "bytes_stored"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Takes a snapshot of a workload.
    #[command(after_help = "Examples:
  holdfast snapshot create web --wait
  holdfast snapshot create web --full --name before-upgrade
  id=$(holdfast snapshot create web -f value -c id)")]
    Create(Create),
    /// Lists the snapshots of the project, or of one workload.
    #[command(
        after_help = "Examples:\n  holdfast snapshot list\n  holdfast snapshot list --workload web -f json"
    )]
    List {
        /// Id or name of a workload.
        #[arg(long)]
        workload: Option<String>,
    },
    /// Shows a snapshot with its disks.
    #[command(after_help = "Examples:
  holdfast snapshot show nightly
  holdfast snapshot show nightly -f value -c status")]
    Show {
        /// Id or name.
        snapshot: String,
    },
    /// Stops a running snapshot; what it did is taken back.
    #[command(after_help = "Examples:
  holdfast snapshot cancel nightly
  holdfast snapshot cancel 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f")]
    Cancel {
        /// Id or name.
        snapshot: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Id or name of the workload.
    workload: String,
    /// Read everything, also what did not change since the last snapshot.
    #[arg(long)]
    full: bool,
    /// A name for the snapshot.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// Wait for its end, and fail when it fails.
    #[arg(long)]
    wait: bool,
}

#[derive(Serialize)]
struct DiskRow<'a> {
    instance: &'a str,
    disk: &'a str,
    status: &'a str,
    bytes_total: u64,
    bytes_done: u64,
    bytes_read: u64,
    bytes_stored: u64,
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let client = session.connection.client().await?;
        match self {
            Self::Create(create) => create.run(session, &client).await,
            Self::List { workload } => {
                let workload = match workload {
                    Some(text) => Some(find_workload(&client, &text).await?),
                    None => None,
                };
                session.output.list(&client.list_snapshots(workload).await?, LIST_COLUMNS)
            }
            Self::Show { snapshot } => {
                let id = find_snapshot(&client, &snapshot).await?;
                show(session, &client.show_snapshot(id).await?)
            }
            Self::Cancel { snapshot } => {
                let id = find_snapshot(&client, &snapshot).await?;
                show(session, &client.cancel_snapshot(id).await?)
            }
        }
    }
}

impl Create {
    async fn run(self, session: &Session<'_>, client: &Client) -> Result<(), Error> {
        let workload = find_workload(client, &self.workload).await?;
        let names = NewSnapshot { name: self.name, description: self.description };
        let snapshot = client.create_snapshot(workload, self.full, names).await?;
        if let Some(warning) = &snapshot.summary.warning_msg {
            tell(&format!("holdfast: {warning}"));
        }
        if !self.wait {
            return show(session, &snapshot);
        }
        let id: SnapshotId = snapshot.summary.id;
        let (snapshot, ending) = wait(|| client.show_snapshot(id)).await?;
        if let Some(warning) = &snapshot.summary.warning_msg {
            tell(&format!("holdfast: {warning}"));
        }
        show(session, &snapshot)?;
        ending
    }
}

fn show(session: &Session<'_>, snapshot: &Snapshot) -> Result<(), Error> {
    session.output.show(snapshot, SHOW_COLUMNS)?;
    let rows: Vec<DiskRow<'_>> = snapshot
        .instances
        .iter()
        .flat_map(|instance| instance.vdisks.iter().map(move |disk| (instance, disk)))
        .map(|(instance, disk)| DiskRow {
            instance: &instance.name,
            disk: &disk.label,
            status: &disk.status,
            bytes_total: disk.bytes_total,
            bytes_done: disk.bytes_done,
            bytes_read: disk.bytes_read,
            bytes_stored: disk.bytes_stored,
        })
        .collect();
    if session.output.is_for_people() && !rows.is_empty() {
        session.output.list(&rows, DISK_COLUMNS)?;
    }
    let failed: Vec<_> = snapshot.instances.iter().filter(|instance| instance.error_code.is_some()).collect();
    if session.output.is_for_people() && !failed.is_empty() {
        session.output.list(&failed, FAILED_COLUMNS)?;
    }
    Ok(())
}
