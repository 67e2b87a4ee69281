//! Options that say where the service is and who asks; all have variables, so that they need not be typed.

use std::path::{Path, PathBuf};

use clap::Args;
use model::ProjectId;
use rest_api::{Client, Endpoint};
use secrecy::SecretString;

use crate::error::Error;

/// Where, who and for which project.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The controller, for example http://127.0.0.1:8784; may end in /v1/<project>. Also: OS_ENDPOINT.
    #[arg(long, global = true, env = "HOLDFAST_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// The project, where the endpoint names none. Also: OS_PROJECT_ID.
    #[arg(long, global = true, env = "HOLDFAST_PROJECT", value_name = "PROJECT")]
    project: Option<ProjectId>,
    /// The token. Others on this machine can see it here: better HOLDFAST_TOKEN or --token-file. Also: OS_TOKEN.
    #[arg(long, global = true, env = "HOLDFAST_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file whose first line is the token.
    #[arg(long, global = true, env = "HOLDFAST_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Connection {
    /// Makes the client.
    ///
    /// Errors: usage, naming the option that is missing.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        Ok(Client::new(self.endpoint()?, &self.token()?)?)
    }

    /// Whether anybody said where the service is.
    pub(crate) fn is_set(&self) -> bool {
        self.endpoint.is_some() || variable("OS_ENDPOINT").is_some()
    }

    /// The endpoint with its project.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        let text = self
            .endpoint
            .clone()
            .or_else(|| variable("OS_ENDPOINT"))
            .ok_or_else(|| Error::usage("no endpoint: give --endpoint or set HOLDFAST_ENDPOINT"))?;
        let project = match (&self.project, variable("OS_PROJECT_ID")) {
            (Some(project), _) => Some(project.clone()),
            // A project in the URL wins over the habits of the shell.
            (None, Some(_)) if text.contains("/v1/") => None,
            (None, Some(text)) => {
                Some(text.parse().map_err(|error| Error::usage(format!("OS_PROJECT_ID: {error}")))?)
            }
            (None, None) => None,
        };
        Ok(Endpoint::parse(&text, project.as_ref())?)
    }

    /// The token: option or variable, then the file, then OpenStack's variable.
    pub(crate) fn token(&self) -> Result<SecretString, Error> {
        if let Some(token) = self.token.clone().filter(|token| !token.is_empty()) {
            return Ok(SecretString::from(token));
        }
        if let Some(path) = &self.token_file {
            return read_token(path);
        }
        variable("OS_TOKEN")
            .map(SecretString::from)
            .ok_or_else(|| Error::usage("no token: set HOLDFAST_TOKEN or give --token-file"))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn read_token(path: &Path) -> Result<SecretString, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::usage(format!("the token file {} cannot be read: {error}", path.display()))
    })?;
    match text.lines().next().map(str::trim) {
        None | Some("") => Err(Error::usage(format!("the token file {} is empty", path.display()))),
        Some(token) => Ok(SecretString::from(token.to_owned())),
    }
}
