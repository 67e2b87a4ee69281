//! A private Prometheus, and its own checker of metrics.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use sandbox::Supervised;
use serde_json::Value;

/// Scrapes once a second, on a free port, with data of its own. Stopped when dropped.
pub(super) struct Prometheus {
    url: String,
    log: PathBuf,
    _process: Supervised,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it. `targets`: name and `host:port`.
    ///
    /// Errors: it is not installed.
    pub(super) fn start(targets: &[(&str, String)]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-prometheus-").tempdir()?;
        let mut config = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n".to_owned();
        for (name, address) in targets {
            let job = format!("  - job_name: {name}\n    static_configs: [{{targets: ['{address}']}}]\n");
            config.push_str(&job);
        }
        let (file, log) = (dir.path().join("prometheus.yml"), dir.path().join("log"));
        std::fs::write(&file, config)?;
        let port = sandbox::free_port()?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", dir.path());
        let process = Supervised::spawn("prometheus", &command, &log)?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), log, _process: process, _dir: dir })
    }

    /// The value of a query that gives one; `None` while it does not answer or knows none.
    pub(super) async fn query(&self, query: &str) -> Result<Option<f64>> {
        let mut url = url::Url::parse(&self.url)?.join("/api/v1/query")?;
        url.query_pairs_mut().append_pair("query", query);
        let Ok(answer) = reqwest::get(url).await else { return Ok(None) };
        let answer: Value = serde_json::from_str(&answer.text().await?).unwrap_or_default();
        ensure!(answer["status"] != "error", "{query}: {answer}");
        let Some([one]) = answer["data"]["result"].as_array().map(Vec::as_slice) else { return Ok(None) };
        let value = one["value"][1].as_str().context("a sample has a value")?;
        Ok(Some(value.parse()?))
    }

    /// What it said.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Lets `promtool` judge a text of metrics: form, names, units, help.
pub(super) fn check_text(text: &str) -> Result<()> {
    let mut checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool cannot be started; install the package prometheus")?;
    checker.stdin.take().context("it has an input")?.write_all(text.as_bytes())?;
    let output = checker.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "promtool: {said}");
    Ok(())
}
