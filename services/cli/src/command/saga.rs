//! `holdfast saga …`

use clap::Subcommand;

use super::Session;
use crate::error::Error;
use crate::names::read_id;

const LIST_COLUMNS: &[&str] = &["id", "kind", "object_id", "phase", "step", "created_at", "finished_at"];
const SHOW_COLUMNS: &[&str] = &[
    "id",
    "kind",
    "object_id",
    "workload_id",
    "phase",
    "step",
    "error_code",
    "error_msg",
    "created_at",
    "updated_at",
    "finished_at",
];
const STEP_COLUMNS: &[&str] = &["name", "kind", "status", "branch_count"];
const JOB_COLUMNS: &[&str] =
    &["step", "branch", "direction", "attempt", "state", "worker", "bytes_done", "bytes_total"];
const EVENT_COLUMNS: &[&str] = &["sequence", "at", "kind", "body"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the sagas of the project, the newest first.
    #[command(after_help = "Examples:\n  holdfast saga list\n  holdfast saga list -f value -c id -c phase")]
    List,
    /// Shows a saga with its jobs and events.
    #[command(after_help = "Examples:
  holdfast saga show 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast saga show ID -f json")]
    Show {
        /// Id; a snapshot or restore shows it as saga_id.
        saga: String,
    },
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let client = session.connection.client()?;
        match self {
            Self::List => session.output.list(&client.list_sagas().await?, LIST_COLUMNS),
            Self::Show { saga } => {
                let saga = client.show_saga(read_id("saga", &saga)?).await?;
                session.output.show(&saga, SHOW_COLUMNS)?;
                if session.output.is_for_people() {
                    session.output.list(&saga.steps, STEP_COLUMNS)?;
                    session.output.list(&saga.jobs, JOB_COLUMNS)?;
                    session.output.list(&saga.events, EVENT_COLUMNS)?;
                }
                Ok(())
            }
        }
    }
}
