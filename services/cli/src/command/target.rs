//! `holdfast target …`

use std::path::{Path, PathBuf};

use backup_target::PosixTarget;
use chunk_store::FileKeys;
use clap::Subcommand;
use model::TargetId;
use runtime::Entropy;
use serde::Serialize;

use super::{Session, key};
use crate::error::{Error, Exit};
use crate::output::tell;

const COLUMNS: &[&str] = &["id", "name", "type", "status", "capacity", "available", "error_msg"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes an empty folder a backup target; one that is a target already stays as it is.
    #[command(after_help = "Examples:
  holdfast target init /mnt/backup
  holdfast target init /mnt/backup --key-file /etc/holdfast/master.key")]
    Init {
        /// An empty folder, for example where an NFS share is mounted.
        path: PathBuf,
        /// Also draw a master key into this file, if it is not there yet.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Lists the backup targets of the service.
    #[command(
        after_help = "Examples:\n  holdfast target list\n  holdfast target list -f value -c name -c status"
    )]
    List,
    /// Shows a backup target.
    #[command(after_help = "Examples:\n  holdfast target show main\n  holdfast target show main -f json")]
    Show {
        /// Id or name.
        target: String,
    },
}

#[derive(Serialize)]
struct Initialized<'a> {
    id: TargetId,
    path: &'a Path,
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        match self {
            Self::Init { path, key_file } => init(session, &path, key_file.as_deref()),
            Self::List => {
                session.output.list(&session.connection.client().await?.list_targets().await?, COLUMNS)
            }
            Self::Show { target } => {
                let targets = session.connection.client().await?.list_targets().await?;
                let found = targets.iter().find(|one| one.name == target || one.id.to_string() == target);
                let none = || format!("No target with a name or ID of '{target}' exists.");
                session.output.show(found.ok_or_else(|| Error::new(Exit::NotFound, none()))?, COLUMNS)
            }
        }
    }
}

fn init(session: &Session<'_>, path: &Path, key_file: Option<&Path>) -> Result<(), Error> {
    let id = PosixTarget::init(path, &Entropy).map_err(|error| match &error {
        backup_target::Error::ForeignFolder { .. } => Error::new(Exit::Refused, error.to_string()),
        _ => Error::local(error.to_string()),
    })?;
    if let Some(file) = key_file {
        let there =
            file.try_exists().map_err(|error| Error::local(format!("{}: {error}", file.display())))?;
        if there {
            FileKeys::open(file).map_err(|error| Error::local(error.to_string()))?;
        } else {
            key::create(file)?;
            tell(&format!("holdfast: wrote {}; keep a copy in a safe place", file.display()));
        }
    }
    session.output.show(&Initialized { id, path }, &["id", "path"])
}
