//! `holdfast bus …`

use clap::{Args, Subcommand};
use rest_api::{DeadLetterOrder, DeadLetterOutcome};

use super::Session;
use crate::error::{Error, Exit};

const LIST_COLUMNS: &[&str] = &["id", "died_at", "type", "queue", "sender", "reason"];
const SHOW_COLUMNS: &[&str] = &[
    "id",
    "type",
    "reason",
    "queue",
    "exchange",
    "routing_key",
    "sender",
    "laid_by",
    "died_at",
    "first_died_at",
    "death_count",
    "copy_count",
    "retriable",
    "not_retriable_because",
    "correlation_id",
    "reply_to",
    "content_type",
    "headers",
    "size",
    "content",
];
const OUTCOME_COLUMNS: &[&str] = &["id", "result", "error_code", "error_msg"];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Messages that no service could make sense of.
    #[command(subcommand)]
    Dead(DeadVerb),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadVerb {
    /// Lists the dead letters, those that died first before the others.
    #[command(after_help = "Examples:
  holdfast bus dead list
  holdfast bus dead list --queue holdfast.q.intake --reason UNDECODABLE -f json")]
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Shows a dead letter with its headers and its content.
    #[command(after_help = "Examples:
  holdfast bus dead show 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast bus dead show ID -f json")]
    Show {
        /// As the list shows it.
        letter: String,
    },
    /// Sends dead letters to where they came from, once the cause of their death is gone.
    #[command(after_help = "Examples:
  holdfast bus dead retry 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast bus dead retry --all --queue holdfast.q.dmapi --reason DELIVERY_LIMIT")]
    Retry {
        /// As the list shows them.
        #[arg(value_name = "LETTER", required_unless_present = "all")]
        letters: Vec<String>,
        /// All that the filter takes.
        #[arg(long, conflicts_with = "letters")]
        all: bool,
        #[command(flatten)]
        filter: Filter,
    },
    /// Destroys dead letters. The controller's log keeps who did it, why, and what they were.
    #[command(after_help = "Examples:
  holdfast bus dead drop 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f --reason 'probe of a new client'
  holdfast bus dead drop --all --queue holdfast.q.intake --code UNDECODABLE --reason 'client was broken until 3 pm'")]
    Drop {
        /// As the list shows them.
        #[arg(value_name = "LETTER", required_unless_present = "all")]
        letters: Vec<String>,
        /// All that --queue and --code take.
        #[arg(long, conflicts_with = "letters")]
        all: bool,
        /// Only letters that were taken from this queue.
        #[arg(long, value_name = "QUEUE")]
        queue: Option<String>,
        /// Only letters whose reason begins with this code.
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        /// Why they are dropped, for the record.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only letters that were taken from this queue.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only letters whose reason begins with this code, for example UNDECODABLE.
    #[arg(long, visible_alias = "code", value_name = "CODE")]
    reason: Option<String>,
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let Self::Dead(verb) = self;
        let client = session.connection.client().await?;
        match verb {
            DeadVerb::List { filter } => {
                let letters =
                    client.list_dead_letters(filter.queue.as_deref(), filter.reason.as_deref()).await?;
                session.output.list(&letters, LIST_COLUMNS)
            }
            DeadVerb::Show { letter } => {
                session.output.show(&client.show_dead_letter(&letter).await?, SHOW_COLUMNS)
            }
            DeadVerb::Retry { letters: ids, all, filter } => {
                let Filter { queue, reason: code } = filter;
                let order = DeadLetterOrder { ids, all, queue, code, reason: None };
                tell(session, &client.retry_dead_letters(&order).await?)
            }
            DeadVerb::Drop { letters: ids, all, queue, code, reason } => {
                let order = DeadLetterOrder { ids, all, queue, code, reason: Some(reason) };
                tell(session, &client.drop_dead_letters(&order).await?)
            }
        }
    }
}

/// Shows what became of each; a letter that stays is a failure.
fn tell(session: &Session<'_>, outcomes: &[DeadLetterOutcome]) -> Result<(), Error> {
    session.output.list(outcomes, OUTCOME_COLUMNS)?;
    match outcomes.iter().filter(|outcome| outcome.error_code.is_some()).count() {
        0 => Ok(()),
        kept => {
            Err(Error::new(Exit::Failed, format!("{kept} of {} letters are still there", outcomes.len())))
        }
    }
}
