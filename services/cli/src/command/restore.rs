//! `holdfast restore …`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use model::RestoreId;
use rest_api::{
    Client, LooseBool, NewRestore, OpenstackOptions, Restore, RestoreInstanceOptions, RestoreOptions,
    Snapshot,
};

use super::Session;
use crate::error::Error;
use crate::names::{find_instance, find_snapshot, read_id};
use crate::output::tell;
use crate::python::parse_literal;
use crate::wait::wait;

const LIST_COLUMNS: &[&str] =
    &["id", "name", "snapshot_id", "status", "progress_percent", "size", "uploaded_size", "created_at"];
const SHOW_COLUMNS: &[&str] = &[
    "id",
    "name",
    "description",
    "snapshot_id",
    "status",
    "size",
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
const INSTANCE_COLUMNS: &[&str] = &["id", "name", "status"];
const DISK_COLUMNS: &[&str] =
    &["instance_id", "id", "status", "bytes_total", "bytes_done", "bytes_read", "bytes_written"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Brings back all instances under their old names; the originals must be gone.
    #[command(after_help = "Examples:
  holdfast restore oneclick nightly --wait
  holdfast restore oneclick 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f --name after-the-fire")]
    Oneclick(Oneclick),
    /// Brings back chosen instances beside the originals, under new names if wanted.
    #[command(after_help = "Examples:
  holdfast restore selective nightly --instance web-1=web-1-copy --wait
  holdfast restore selective nightly --instance web-1 --instance db-1=db-test
  holdfast restore selective nightly --filename restore.json")]
    Selective(Selective),
    /// Lists the restores of the project, or of one snapshot.
    #[command(
        after_help = "Examples:\n  holdfast restore list\n  holdfast restore list --snapshot nightly -f json"
    )]
    List {
        /// Id or name of a snapshot.
        #[arg(long)]
        snapshot: Option<String>,
    },
    /// Shows a restore with its instances and disks.
    #[command(after_help = "Examples:
  holdfast restore show 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast restore show ID -f json")]
    Show {
        /// Id.
        restore: String,
    },
    /// Stops a running restore; what it made is taken back.
    #[command(after_help = "Examples:\n  holdfast restore cancel 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f")]
    Cancel {
        /// Id.
        restore: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Oneclick {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Selective {
    #[command(flatten)]
    common: Common,
    /// An instance of the snapshot, by id or name, and its new name; may be repeated. Others stay out.
    #[arg(long = "instance", value_name = "INSTANCE[=NEW_NAME]", required_unless_present = "filename")]
    instances: Vec<String>,
    /// Options as T4O's restore.json; also in its old Python form.
    #[arg(long, value_name = "FILE", conflicts_with = "instances")]
    filename: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// Id or name of the snapshot.
    snapshot: String,
    /// A name for the restore.
    #[arg(long)]
    name: Option<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    /// Wait for its end, and fail when it fails.
    #[arg(long)]
    wait: bool,
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let client = session.connection.client().await?;
        match self {
            Self::Oneclick(Oneclick { common }) => {
                let options = RestoreOptions {
                    oneclickrestore: LooseBool(true),
                    restore_type: Some("oneclick".to_owned()),
                    ..RestoreOptions::default()
                };
                common.run(session, &client, options).await
            }
            Self::Selective(selective) => selective.run(session, &client).await,
            Self::List { snapshot } => {
                let snapshot = match snapshot {
                    Some(text) => Some(find_snapshot(&client, &text).await?),
                    None => None,
                };
                session.output.list(&client.list_restores(snapshot).await?, LIST_COLUMNS)
            }
            Self::Show { restore } => {
                show(session, &client.show_restore(read_id("restore", &restore)?).await?)
            }
            Self::Cancel { restore } => {
                show(session, &client.cancel_restore(read_id("restore", &restore)?).await?)
            }
        }
    }
}

impl Selective {
    async fn run(self, session: &Session<'_>, client: &Client) -> Result<(), Error> {
        let options = match &self.filename {
            Some(path) => read_options(path)?,
            None => {
                let id = find_snapshot(client, &self.common.snapshot).await?;
                let snapshot = client.show_snapshot(id).await?;
                let chosen: Result<_, Error> =
                    self.instances.iter().map(|text| choose(&snapshot, text)).collect();
                RestoreOptions {
                    restore_type: Some("selective".to_owned()),
                    openstack: OpenstackOptions { instances: chosen?, ..OpenstackOptions::default() },
                    ..RestoreOptions::default()
                }
            }
        };
        self.common.run(session, client, options).await
    }
}

impl Common {
    async fn run(self, session: &Session<'_>, client: &Client, options: RestoreOptions) -> Result<(), Error> {
        let snapshot = find_snapshot(client, &self.snapshot).await?;
        let new = NewRestore { name: self.name, description: self.description, options };
        let restore = client.create_restore(snapshot, new).await?;
        if let Some(warning) = &restore.summary.warning_msg {
            tell(&format!("holdfast: {warning}"));
        }
        if !self.wait {
            return show(session, &restore);
        }
        let id: RestoreId = restore.summary.id;
        let (restore, ending) = wait(|| client.show_restore(id)).await?;
        show(session, &restore)?;
        ending
    }
}

fn choose(snapshot: &Snapshot, text: &str) -> Result<RestoreInstanceOptions, Error> {
    let (instance, new_name) = match text.split_once('=') {
        Some((instance, new_name)) => (instance, Some(new_name.to_owned())),
        None => (text, None),
    };
    let id = find_instance(snapshot, instance)?.to_string();
    Ok(RestoreInstanceOptions { id, include: LooseBool(true), name: new_name, more: Default::default() })
}

fn read_options(path: &Path) -> Result<RestoreOptions, Error> {
    let refuse = |reason: String| Error::usage(format!("{} is no restore file: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let value = parse_literal(&text).map_err(refuse)?;
    serde_json::from_value(value).map_err(|error| refuse(error.to_string()))
}

fn show(session: &Session<'_>, restore: &Restore) -> Result<(), Error> {
    session.output.show(restore, SHOW_COLUMNS)?;
    if session.output.is_for_people() {
        session.output.list(&restore.instances, INSTANCE_COLUMNS)?;
        if !restore.disks.is_empty() {
            session.output.list(&restore.disks, DISK_COLUMNS)?;
        }
    }
    Ok(())
}
