//! `holdfast saga …`

use clap::{Args, Subcommand, ValueEnum};
use rest_api::Saga;

use super::Session;
use crate::error::Error;
use crate::names::read_id;
use crate::output::{print, tell};

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
    "deadline_at",
    "next_try_at",
];
const DECISION_COLUMNS: &[&str] = &["at", "verb", "by", "reason", "left_behind"];
const STEP_COLUMNS: &[&str] = &["name", "kind", "status", "branch_count"];
const JOB_COLUMNS: &[&str] =
    &["step", "branch", "direction", "attempt", "state", "worker", "bytes_done", "bytes_total"];
const EVENT_COLUMNS: &[&str] = &["sequence", "at", "kind", "body"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists the sagas of the project, the newest first.
    #[command(after_help = "Examples:
  holdfast saga list
  holdfast saga list --phase stuck --all-projects
  holdfast saga list -f value -c id -c phase")]
    List {
        /// Only those in this phase: forward, backward, succeeded, compensated, stuck or abandoned.
        #[arg(long)]
        phase: Option<String>,
        /// Of all projects; for operators.
        #[arg(long)]
        all_projects: bool,
    },
    /// Shows a saga with its decisions, jobs and events, or its picture.
    #[command(after_help = "Examples:
  holdfast saga show 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast saga show ID -f json
  holdfast saga show ID --graph dot | dot -Tsvg > saga.svg")]
    Show {
        /// Id; a snapshot or restore shows it as saga_id.
        saga: String,
        /// Its picture as it stands, in this language, and nothing else.
        #[arg(long, value_name = "LANGUAGE")]
        graph: Option<Language>,
    },
    /// Stops a running saga: what it did is taken back. Too late once it passed its pivot.
    #[command(after_help = "Examples:\n  holdfast saga cancel 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f")]
    Cancel {
        /// Id; a snapshot or restore shows it as saga_id.
        saga: String,
    },
    /// Draws the steps and reachable states of a kind of sagas, or of one saga as it stands.
    #[command(after_help = "Examples:
  holdfast saga graph snapshot_create
  holdfast saga graph restore_new --as dot | dot -Tsvg > restore.svg
  holdfast saga graph 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f")]
    Graph {
        /// A kind, or the id of a saga.
        name: String,
        /// The language of the picture.
        #[arg(long = "as", value_name = "LANGUAGE", default_value = "mermaid")]
        language: Language,
    },
    /// Runs again what is stuck, at once.
    #[command(after_help = "Examples:\n  holdfast saga retry ID --reason 'the target is mounted again'")]
    Retry(Decision),
    /// Takes what is stuck as done: you saw to it by hand.
    #[command(
        after_help = "Examples:\n  holdfast saga skip ID --reason 'deleted the volume snapshots by hand'"
    )]
    Skip(Decision),
    /// Ends a stuck saga as it lies: workload and leases are freed, and what is left behind is listed.
    #[command(after_help = "Examples:\n  holdfast saga abandon ID --reason 'the host is gone for good'")]
    Abandon(Decision),
}

/// About which saga, and why.
#[derive(Debug, Args)]
pub(crate) struct Decision {
    /// Id of a stuck saga.
    saga: String,
    /// Kept with the saga, with your name and the time.
    #[arg(long)]
    reason: String,
}

/// The languages of pictures.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    Mermaid,
    Dot,
}

impl Language {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Mermaid => "mermaid",
            Self::Dot => "dot",
        }
    }
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let client = session.connection.client().await?;
        match self {
            Self::List { phase, all_projects } => {
                session.output.list(&client.list_sagas(phase.as_deref(), all_projects).await?, LIST_COLUMNS)
            }
            Self::Show { saga, graph: Some(language) } => {
                let id: model::SagaId = read_id("saga", &saga)?;
                print(&client.draw_saga(&id.to_string(), language.as_str()).await?.text)
            }
            Self::Show { saga, graph: None } => {
                let saga = client.show_saga(read_id("saga", &saga)?).await?;
                session.output.show(&saga, SHOW_COLUMNS)?;
                if session.output.is_for_people() {
                    if !saga.decisions.is_empty() {
                        session.output.list(&saga.decisions, DECISION_COLUMNS)?;
                    }
                    session.output.list(&saga.steps, STEP_COLUMNS)?;
                    session.output.list(&saga.jobs, JOB_COLUMNS)?;
                    session.output.list(&saga.events, EVENT_COLUMNS)?;
                }
                Ok(())
            }
            Self::Cancel { saga } => {
                let saga = client.cancel_saga(read_id("saga", &saga)?).await?;
                session.output.show(&saga, SHOW_COLUMNS)
            }
            Self::Graph { name, language } => print(&client.draw_saga(&name, language.as_str()).await?.text),
            Self::Retry(decision) => settle(session, "retry", decision).await,
            Self::Skip(decision) => settle(session, "skip", decision).await,
            Self::Abandon(decision) => settle(session, "abandon", decision).await,
        }
    }
}

async fn settle(session: &Session<'_>, verb: &str, decision: Decision) -> Result<(), Error> {
    let client = session.connection.client().await?;
    let id = read_id("saga", &decision.saga)?;
    let saga: Saga = client.settle_saga(id, verb, &decision.reason).await?;
    session.output.show(&saga, SHOW_COLUMNS)?;
    let left: Vec<&String> = saga.decisions.iter().flat_map(|decision| &decision.left_behind).collect();
    if !left.is_empty() {
        tell("Left behind, for you to look at:");
        for line in left {
            tell(&format!("  {line}"));
        }
    }
    Ok(())
}
