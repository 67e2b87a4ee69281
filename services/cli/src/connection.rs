//! Options that say where the service is and who asks: by themselves, or by the cloud they name. All have variables, so that they need
//! not be typed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use model::ProjectId;
use openstack::{Config, Service, Session};
use rest_api::{Client, Endpoint, TokenSource};
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
    /// A cloud of clouds.yaml to log in to, for what is not given above. Also: OS_AUTH_URL with OS_USERNAME, OS_PASSWORD and so on.
    #[arg(long, global = true, env = "OS_CLOUD", value_name = "CLOUD")]
    os_cloud: Option<String>,
}

impl Connection {
    /// Makes the client. Where endpoint or token were not given, it logs in to the cloud that the variables or `--os-cloud` name,
    /// and finds the endpoint in its catalog.
    ///
    /// Errors: usage, naming the option that is missing; the cloud refuses us, or cannot be reached.
    pub(crate) async fn client(&self) -> Result<Client, Error> {
        let (token, endpoint) = (self.given_token()?, self.given_endpoint());
        let session = match (&token, &endpoint) {
            (Some(_), Some(_)) => None,
            _ => self.cloud()?,
        };
        let endpoint = match (endpoint, &session) {
            (Some(endpoint), _) => endpoint,
            (None, Some(session)) => session.endpoint(Service::Workloads).await?.to_string(),
            (None, None) => {
                return Err(Error::usage(
                    "no endpoint: give --endpoint or set HOLDFAST_ENDPOINT, or name a cloud with --os-cloud",
                ));
            }
        };
        if let (None, Some(session)) = (&token, session) {
            let project = self.project_of(&session).await?;
            let endpoint = Endpoint::parse(&endpoint, Some(&project))?;
            return Ok(Client::with_tokens(endpoint, Arc::new(Login(session)))?);
        }
        let endpoint = Endpoint::parse(&endpoint, self.project(&endpoint)?.as_ref())?;
        let token = token.or_else(|| variable("OS_TOKEN").map(SecretString::from)).ok_or_else(|| {
            Error::usage("no token: set HOLDFAST_TOKEN or give --token-file, or name a cloud with --os-cloud")
        })?;
        Ok(Client::new(endpoint, &token)?)
    }

    fn given_endpoint(&self) -> Option<String> {
        self.endpoint.clone().or_else(|| variable("OS_ENDPOINT"))
    }

    /// The project for a token that nobody asked the cloud about.
    fn project(&self, endpoint: &str) -> Result<Option<ProjectId>, Error> {
        match (&self.project, variable("OS_PROJECT_ID")) {
            (Some(project), _) => Ok(Some(project.clone())),
            // A project in the URL wins over the habits of the shell.
            (None, Some(_)) if endpoint.contains("/v1/") => Ok(None),
            (None, Some(text)) => {
                Ok(Some(text.parse().map_err(|error| Error::usage(format!("OS_PROJECT_ID: {error}")))?))
            }
            (None, None) => Ok(None),
        }
    }

    /// The project of the cloud's token: no other can be asked for.
    async fn project_of(&self, session: &Session) -> Result<ProjectId, Error> {
        let id = session.project_id().await?;
        match &self.project {
            Some(project) if project.as_str() != id => Err(Error::usage(format!(
                "project {project} was asked for, and the token of {} is for project {id}: log in for the other",
                session.auth()
            ))),
            _ => id.parse().map_err(|error| Error::local(format!("the cloud's project: {error}"))),
        }
    }

    /// The option or variable, then the file.
    fn given_token(&self) -> Result<Option<SecretString>, Error> {
        if let Some(token) = self.token.clone().filter(|token| !token.is_empty()) {
            return Ok(Some(SecretString::from(token)));
        }
        self.token_file.as_deref().map(read_token).transpose()
    }

    fn names_cloud(&self) -> bool {
        self.os_cloud.is_some() || variable("OS_AUTH_URL").is_some()
    }

    fn cloud(&self) -> Result<Option<Session>, Error> {
        if !self.names_cloud() {
            return Ok(None);
        }
        Ok(Some(Session::new(Config::find(self.os_cloud.as_deref())?)?))
    }
}

/// A cloud's login gives tokens as long as somebody waits for a job, and that may be longer than a token lasts.
#[derive(Debug)]
struct Login(Session);

#[async_trait]
impl TokenSource for Login {
    async fn token(&self) -> Result<SecretString, String> {
        match self.0.token().await {
            Ok(token) => Ok(token.secret().clone()),
            Err(error) => Err(error.failure().to_string()),
        }
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
