//! A typed client of the API. Called by the command line and by tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{ProjectId, RestoreId, SagaId, SnapshotId, WorkloadId};
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::token_source::{Given, TokenSource};
use crate::{
    DeadLetter, DeadLetterBody, DeadLetterList, DeadLetterOrder, DeadLetterOutcome, DeadLetterOutcomes,
    DeadLetterSummary, DoctorCheck, DoctorReport, Error, ErrorBody, ErrorDetail, Health, LeftoverBody,
    Leftovers, NewDecision, NewRestore, NewRestoreBody, NewSnapshot, NewSnapshotBody, NewSweep, NewSweepBody,
    NewTrust, NewTrustBody, NewWorkload, NewWorkloadBody, REQUEST_ID_HEADER, Restore, RestoreBody,
    RestoreList, RestoreSummary, Saga, SagaBody, SagaGraph, SagaGraphBody, SagaList, SagaStarted,
    SagaSummary, Snapshot, SnapshotBody, SnapshotList, SnapshotSummary, Status, StatusBody, TOKEN_HEADER,
    Target, TargetList, Trust, TrustList, TrustValidity, Workload, WorkloadBody, WorkloadChange,
    WorkloadChangeBody, WorkloadList, WorkloadSummary,
};

/// Every call is a few rows of a database; what takes longer than this hangs.
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Less than the controller's own, so that we close an idle connection before it does.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Where the service is, and which project speaks to it.
///
/// Shape: `http(s)://host:port[/prefix]`; a trailing `/v1/<project>`, as in Keystone's catalog, names the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    base: Url,
    project: ProjectId,
}

impl Endpoint {
    /// Takes an endpoint apart. `project` is needed when the URL does not name one; when it does, both must agree.
    ///
    /// Errors: `Error::Endpoint`.
    pub fn parse(text: &str, project: Option<&ProjectId>) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Endpoint { endpoint: text.to_owned(), reason: reason.to_owned() };
        let mut base = Url::parse(text)
            .map_err(|error| refuse(&format!("{error}; expected http://host:port or https://host:port")))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(refuse("expected http://host:port or https://host:port"));
        }
        base.set_query(None);
        base.set_fragment(None);
        let path = base.path().trim_end_matches('/').to_owned();
        let (prefix, named) = match path.rsplit_once("/v1/") {
            Some((prefix, named)) => (prefix.to_owned(), Some(named.to_owned())),
            None => (path.strip_suffix("/v1").unwrap_or(&path).to_owned(), None),
        };
        base.set_path(&prefix);
        let named = named
            .map(|named| named.parse::<ProjectId>().map_err(|error| refuse(&error.to_string())))
            .transpose()?;
        let project = match (named, project) {
            (Some(named), Some(project)) if named != *project => {
                return Err(refuse(&format!(
                    "it names project {named}, and project {project} was asked for"
                )));
            }
            (Some(project), _) => project,
            (None, Some(project)) => project.clone(),
            (None, None) => return Err(refuse("no project: add /v1/<project>, or name the project")),
        };
        Ok(Self { base, project })
    }

    /// The project that is part of every path.
    #[must_use]
    pub const fn project(&self) -> &ProjectId {
        &self.project
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(segments);
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)
    }
}

/// Speaks to one endpoint as one user. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    tokens: Arc<dyn TokenSource>,
}

impl Client {
    /// Makes a client with one token; nothing is sent yet.
    ///
    /// Errors: `Error::Token` for a token that is no header value.
    pub fn new(endpoint: Endpoint, token: &SecretString) -> Result<Self, Error> {
        sensitive(token)?;
        Self::with_tokens(endpoint, Arc::new(Given(token.clone())))
    }

    /// Makes a client that asks for a token before each request; nothing is sent yet.
    ///
    /// Errors: `Error::NotReachable` when this machine cannot speak HTTP.
    pub fn with_tokens(endpoint: Endpoint, tokens: Arc<dyn TokenSource>) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT_MAX)
            .timeout(REQUEST_TIMEOUT_MAX)
            .pool_idle_timeout(CONNECTION_IDLE_MAX)
            // A token must not follow a redirect to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| Error::NotReachable { url: endpoint.to_string(), source })?;
        Ok(Self { http, endpoint, tokens })
    }

    /// Where this client sends to.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks whether the service is well; needs no token.
    pub async fn health(&self) -> Result<Health, Error> {
        self.send(Method::GET, self.endpoint.url(&["health"]), None::<&()>).await
    }

    /// Creates a workload.
    pub async fn create_workload(&self, workload: NewWorkload) -> Result<Workload, Error> {
        let body: WorkloadBody = self.post(&["workloads"], &NewWorkloadBody { workload }).await?;
        Ok(body.workload)
    }

    /// Changes a workload.
    pub async fn change_workload(&self, id: WorkloadId, workload: WorkloadChange) -> Result<Workload, Error> {
        let url = self.url(&["workloads", &id.to_string()]);
        let body: WorkloadBody = self.send(Method::PUT, url, Some(&WorkloadChangeBody { workload })).await?;
        Ok(body.workload)
    }

    /// Lists the project's workloads.
    pub async fn list_workloads(&self) -> Result<Vec<WorkloadSummary>, Error> {
        Ok(self.get::<WorkloadList>(&["workloads"], &[]).await?.workloads)
    }

    /// Shows a workload.
    pub async fn show_workload(&self, id: WorkloadId) -> Result<Workload, Error> {
        Ok(self.get::<WorkloadBody>(&["workloads", &id.to_string()], &[]).await?.workload)
    }

    /// Removes all that is kept in the cloud for the workload's next increment.
    pub async fn reset_workload(&self, id: WorkloadId) -> Result<SagaId, Error> {
        let path = ["workloads", &id.to_string(), "reset"];
        Ok(self.post::<_, SagaStarted>(&path, &serde_json::json!({})).await?.saga_id)
    }

    /// Deletes a workload; `database_only`: what is kept elsewhere stays there.
    pub async fn delete_workload(&self, id: WorkloadId, database_only: bool) -> Result<SagaStarted, Error> {
        let mut url = self.url(&["workloads", &id.to_string()]);
        if database_only {
            url.query_pairs_mut().append_pair("database_only", "True");
        }
        self.send::<(), SagaStarted>(Method::DELETE, url, None).await
    }

    /// Takes a snapshot.
    pub async fn create_snapshot(
        &self,
        workload: WorkloadId,
        full: bool,
        snapshot: NewSnapshot,
    ) -> Result<Snapshot, Error> {
        let mut url = self.url(&["workloads", &workload.to_string()]);
        if full {
            url.query_pairs_mut().append_pair("full", "1");
        }
        let body: SnapshotBody = self.send(Method::POST, url, Some(&NewSnapshotBody { snapshot })).await?;
        Ok(body.snapshot)
    }

    /// Lists snapshots, of one workload or of all.
    pub async fn list_snapshots(&self, workload: Option<WorkloadId>) -> Result<Vec<SnapshotSummary>, Error> {
        let query: Vec<_> = workload.iter().map(|id| ("workload_id", id.to_string())).collect();
        Ok(self.get::<SnapshotList>(&["snapshots"], &query).await?.snapshots)
    }

    /// Shows a snapshot.
    pub async fn show_snapshot(&self, id: SnapshotId) -> Result<Snapshot, Error> {
        Ok(self.get::<SnapshotBody>(&["snapshots", &id.to_string()], &[]).await?.snapshot)
    }

    /// Asks a running snapshot to stop; it is taken back.
    pub async fn cancel_snapshot(&self, id: SnapshotId) -> Result<Snapshot, Error> {
        let body: SnapshotBody =
            self.post(&["snapshots", &id.to_string(), "cancel"], &serde_json::json!({})).await?;
        Ok(body.snapshot)
    }

    /// Brings a snapshot back.
    pub async fn create_restore(&self, snapshot: SnapshotId, restore: NewRestore) -> Result<Restore, Error> {
        let body: RestoreBody =
            self.post(&["snapshots", &snapshot.to_string()], &NewRestoreBody { restore }).await?;
        Ok(body.restore)
    }

    /// Lists restores, of one snapshot or of all.
    pub async fn list_restores(&self, snapshot: Option<SnapshotId>) -> Result<Vec<RestoreSummary>, Error> {
        let query: Vec<_> = snapshot.iter().map(|id| ("snapshot_id", id.to_string())).collect();
        Ok(self.get::<RestoreList>(&["restores"], &query).await?.restores)
    }

    /// Shows a restore.
    pub async fn show_restore(&self, id: RestoreId) -> Result<Restore, Error> {
        Ok(self.get::<RestoreBody>(&["restores", &id.to_string()], &[]).await?.restore)
    }

    /// Asks a running restore to stop; it is taken back.
    pub async fn cancel_restore(&self, id: RestoreId) -> Result<Restore, Error> {
        let body: RestoreBody =
            self.post(&["restores", &id.to_string(), "cancel"], &serde_json::json!({})).await?;
        Ok(body.restore)
    }

    /// Lists sagas, the newest first: in one phase or in all, of the project or of all projects.
    pub async fn list_sagas(
        &self,
        phase: Option<&str>,
        all_projects: bool,
    ) -> Result<Vec<SagaSummary>, Error> {
        let mut query: Vec<_> = phase.iter().map(|phase| ("phase", (*phase).to_owned())).collect();
        query.extend(all_projects.then(|| ("all_projects", "1".to_owned())));
        Ok(self.get::<SagaList>(&["sagas"], &query).await?.sagas)
    }

    /// Shows the state of the whole.
    pub async fn show_status(&self) -> Result<Status, Error> {
        Ok(self.get::<StatusBody>(&["status"], &[]).await?.status)
    }

    /// Has leftovers looked for in all projects; gives the saga that does it.
    pub async fn start_sweep(&self, leftovers: NewSweep) -> Result<SagaId, Error> {
        Ok(self.post::<_, SagaStarted>(&["leftovers"], &NewSweepBody { leftovers }).await?.saga_id)
    }

    /// Shows what a sweep found so far.
    pub async fn show_sweep(&self, id: SagaId) -> Result<Leftovers, Error> {
        Ok(self.get::<LeftoverBody>(&["leftovers", &id.to_string()], &[]).await?.leftovers)
    }

    /// Has the service look for what is wrong: of the whole site for administrators, of the own project for others; of workloads
    /// only `workload` if it is named. Takes up to half a minute.
    pub async fn examine(&self, workload: Option<WorkloadId>) -> Result<Vec<DoctorCheck>, Error> {
        let query: Vec<_> = workload.map(|id| ("workload", id.to_string())).into_iter().collect();
        Ok(self.get::<DoctorReport>(&["doctor"], &query).await?.checks)
    }

    /// Shows a saga with its history.
    pub async fn show_saga(&self, id: SagaId) -> Result<Saga, Error> {
        Ok(self.get::<SagaBody>(&["sagas", &id.to_string()], &[]).await?.saga)
    }

    /// Draws a saga, by its id, or all sagas of a kind; `format` is `mermaid` or `dot`.
    pub async fn draw_saga(&self, name: &str, format: &str) -> Result<SagaGraph, Error> {
        let query = [("format", format.to_owned())];
        Ok(self.get::<SagaGraphBody>(&["sagas", name, "graph"], &query).await?.graph)
    }

    /// Asks a running saga to stop; it is taken back.
    pub async fn cancel_saga(&self, id: SagaId) -> Result<Saga, Error> {
        let body: SagaBody = self.post(&["sagas", &id.to_string(), "cancel"], &serde_json::json!({})).await?;
        Ok(body.saga)
    }

    /// Settles a stuck saga; `verb` is `retry`, `skip` or `abandon`.
    pub async fn settle_saga(&self, id: SagaId, verb: &str, reason: &str) -> Result<Saga, Error> {
        let decision = NewDecision { reason: reason.to_owned() };
        Ok(self.post::<_, SagaBody>(&["sagas", &id.to_string(), verb], &decision).await?.saga)
    }

    /// Lists backup targets.
    pub async fn list_targets(&self) -> Result<Vec<Target>, Error> {
        Ok(self.get::<TargetList>(&["targets"], &[]).await?.targets)
    }

    /// Lists trusts: the user's own in the project, or the project's.
    pub async fn list_trusts(&self) -> Result<Vec<Trust>, Error> {
        Ok(self.get::<TrustList>(&["trusts"], &[]).await?.trusts)
    }

    /// Shows a trust.
    pub async fn show_trust(&self, name: &str) -> Result<Trust, Error> {
        let url = self.url(&["trusts", name]);
        only(self.send::<(), TrustList>(Method::GET, url.clone(), None).await?, &url)
    }

    /// Lets the service act for the user in the project.
    pub async fn create_trust(&self, role_name: Option<String>) -> Result<Trust, Error> {
        let trusts = NewTrust { role_name, is_cloud_trust: None };
        let url = self.url(&["trusts"]);
        only(self.send(Method::POST, url.clone(), Some(&NewTrustBody { trusts })).await?, &url)
    }

    /// Takes a trust back.
    pub async fn delete_trust(&self, name: &str) -> Result<(), Error> {
        self.send::<(), TrustList>(Method::DELETE, self.url(&["trusts", name]), None).await.map(drop)
    }

    /// Asks whether jobs of a workload can run on its user's trust.
    pub async fn validate_trust(&self, workload: WorkloadId) -> Result<TrustValidity, Error> {
        self.get(&["trusts", "validate", &workload.to_string()], &[]).await
    }

    /// Lists the dead letters of the whole bus, of one queue or with one reason.
    pub async fn list_dead_letters(
        &self,
        queue: Option<&str>,
        code: Option<&str>,
    ) -> Result<Vec<DeadLetterSummary>, Error> {
        let pairs = [("queue", queue), ("code", code)];
        let query: Vec<_> =
            pairs.iter().filter_map(|(name, value)| Some((*name, (*value)?.to_owned()))).collect();
        Ok(self.get::<DeadLetterList>(&["bus", "dead-letters"], &query).await?.dead_letters)
    }

    /// Shows a dead letter.
    pub async fn show_dead_letter(&self, id: &str) -> Result<DeadLetter, Error> {
        Ok(self.get::<DeadLetterBody>(&["bus", "dead-letters", id], &[]).await?.dead_letter)
    }

    /// Sends dead letters to where they came from.
    pub async fn retry_dead_letters(&self, order: &DeadLetterOrder) -> Result<Vec<DeadLetterOutcome>, Error> {
        let body: DeadLetterOutcomes = self.post(&["bus", "dead-letters", "retry"], order).await?;
        Ok(body.outcomes)
    }

    /// Destroys dead letters.
    pub async fn drop_dead_letters(&self, order: &DeadLetterOrder) -> Result<Vec<DeadLetterOutcome>, Error> {
        let body: DeadLetterOutcomes = self.post(&["bus", "dead-letters", "drop"], order).await?;
        Ok(body.outcomes)
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut all = vec!["v1", self.endpoint.project.as_str()];
        all.extend_from_slice(segments);
        self.endpoint.url(&all)
    }

    async fn get<R: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<R, Error> {
        let mut url = self.url(segments);
        for (key, value) in query {
            url.query_pairs_mut().append_pair(key, value);
        }
        match self.send(Method::GET, url.clone(), None::<&()>).await {
            // A server may close a connection that it takes for idle just as we write to it. Reading is asked once more.
            Err(Error::NotReachable { source, .. }) if is_cut_off(&source) => {
                self.send(Method::GET, url, None::<&()>).await
            }
            outcome => outcome,
        }
    }

    async fn post<B: Serialize, R: DeserializeOwned>(&self, segments: &[&str], body: &B) -> Result<R, Error> {
        self.send(Method::POST, self.url(segments), Some(body)).await
    }

    async fn send<B: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&B>,
    ) -> Result<R, Error> {
        let text = url.to_string();
        let not_reachable = |source| Error::NotReachable { url: text.clone(), source };
        let token = self.tokens.token().await.map_err(|reason| Error::Login { reason })?;
        let mut request = self.http.request(method, url).header(TOKEN_HEADER, sensitive(&token)?);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(not_reachable)?;
        let status = response.status();
        let request_id =
            response.headers().get(REQUEST_ID_HEADER).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let bytes = response.bytes().await.map_err(not_reachable)?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|_| foreign(&text, status));
        }
        match read_refusal(&bytes) {
            Some(detail) => Err(Error::Refused { status: status.as_u16(), detail, request_id }),
            None => Err(foreign(&text, status)),
        }
    }
}

/// A header that no log shows.
fn sensitive(token: &SecretString) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| Error::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// One trust comes as a list.
fn only(list: TrustList, url: &Url) -> Result<Trust, Error> {
    list.trusts.into_iter().next().ok_or_else(|| foreign(url.as_str(), StatusCode::OK))
}

fn foreign(url: &str, status: StatusCode) -> Error {
    Error::Foreign { url: url.to_owned(), status: status.as_u16() }
}

fn read_refusal(bytes: &[u8]) -> Option<ErrorDetail> {
    serde_json::from_slice::<ErrorBody>(bytes).ok()?.detail().cloned()
}

/// Whether the connection ended under the request: neither refused, nor too slow.
fn is_cut_off(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_project(text: &str) -> ProjectId {
        text.parse().unwrap()
    }

    #[test]
    fn an_endpoint_may_name_its_project_as_keystones_catalog_does() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8780/v1/acme/", None).unwrap();
        assert_eq!(endpoint.project().as_str(), "acme");
        assert_eq!(endpoint.url(&["health"]).as_str(), "http://127.0.0.1:8780/health");
        let acme = make_project("acme");
        for text in ["https://vault.example/backup", "https://vault.example/backup/v1/acme"] {
            let endpoint = Endpoint::parse(text, Some(&acme)).unwrap();
            assert_eq!(endpoint.url(&["v1", "acme"]).as_str(), "https://vault.example/backup/v1/acme");
        }
    }

    #[test]
    fn an_endpoint_that_cannot_work_is_refused_with_its_reason() {
        let acme = make_project("acme");
        for (text, project, reason) in [
            ("127.0.0.1:8780", Some(&acme), "expected http"),
            ("ftp://x", Some(&acme), "expected http"),
            ("http://x", None, "no project"),
            ("http://x/v1/other", Some(&acme), "names project other"),
            ("http://x/v1/..%2f", None, "not a valid project id"),
        ] {
            let error = Endpoint::parse(text, project).map(|_| ()).unwrap_err();
            let text = match &error {
                Error::Endpoint { reason, .. } => reason.clone(),
                other => other.to_string(),
            };
            assert!(text.contains(reason), "{text}");
        }
    }
}
