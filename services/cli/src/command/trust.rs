//! `holdfast trust …`

use clap::Subcommand;

use super::Session;
use crate::error::{Error, Exit};
use crate::names::find_workload;

const LIST_COLUMNS: &[&str] = &["name", "user_id", "status", "roles", "created_at"];
const SHOW_COLUMNS: &[&str] = &[
    "name",
    "description",
    "project_id",
    "user_id",
    "value",
    "roles",
    "status",
    "error_msg",
    "created_at",
    "updated_at",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lets the service act for you in the project, as `workload create` does by itself.
    #[command(after_help = "Examples:\n  holdfast trust create\n  holdfast trust create -f value -c name")]
    Create {
        /// The role that it lends; only the one that the service asks for.
        role: Option<String>,
    },
    /// Lists your trusts in the project; an administrator's list is the project's.
    #[command(after_help = "Examples:\n  holdfast trust list\n  holdfast trust list -f json")]
    List,
    /// Shows a trust.
    #[command(after_help = "Examples:\n  holdfast trust show trust-0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f")]
    Show {
        /// As the list shows it.
        trust: String,
    },
    /// Takes a trust back: jobs of your workloads fail until there is another one.
    #[command(after_help = "Examples:\n  holdfast trust delete trust-0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f")]
    Delete {
        /// As the list shows it.
        trust: String,
    },
    /// Tells whether jobs of a workload can run on the trust of its user.
    #[command(after_help = "Examples:\n  holdfast trust check web")]
    Check {
        /// Id or name.
        workload: String,
    },
}

impl Verb {
    pub(super) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        let client = session.connection.client().await?;
        match self {
            Self::Create { role } => session.output.show(&client.create_trust(role).await?, SHOW_COLUMNS),
            Self::List => session.output.list(&client.list_trusts().await?, LIST_COLUMNS),
            Self::Show { trust } => session.output.show(&client.show_trust(&trust).await?, SHOW_COLUMNS),
            Self::Delete { trust } => Ok(client.delete_trust(&trust).await?),
            Self::Check { workload } => {
                let id = find_workload(&client, &workload).await?;
                let validity = client.validate_trust(id).await?;
                match validity.reason {
                    Some(reason) => Err(Error::new(Exit::Refused, reason)),
                    None => match validity.trust {
                        Some(trust) => session.output.show(&trust, SHOW_COLUMNS),
                        None => Ok(()),
                    },
                }
            }
        }
    }
}
