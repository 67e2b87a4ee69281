//! Waiting for a job: a bar per disk where a person watches, else one line per change.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rest_api::{Restore, Saga, Snapshot};

use crate::error::{Error, Exit};
use crate::output::tell;

/// A job's rows change at each heartbeat of a datamover; asking more often shows nothing new.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A controller that restarts is back within this.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// What waiting needs to know of a job.
pub(crate) struct Progress {
    noun: &'static str,
    id: String,
    status: String,
    message: String,
    error: Option<(String, String)>,
    disks: Vec<DiskProgress>,
}

struct DiskProgress {
    name: String,
    status: String,
    bytes_total: u64,
    bytes_done: u64,
}

/// A job that can be waited for.
pub(crate) trait Watched {
    /// Where it stands now.
    fn progress(&self) -> Progress;
}

impl Watched for Snapshot {
    fn progress(&self) -> Progress {
        let disks = self.instances.iter().flat_map(|instance| {
            instance.vdisks.iter().map(|disk| DiskProgress {
                name: format!("{}/{}", instance.name, disk.label),
                status: disk.status.clone(),
                bytes_total: disk.bytes_total,
                bytes_done: disk.bytes_done,
            })
        });
        Progress {
            noun: "snapshot",
            id: self.summary.id.to_string(),
            status: self.summary.status.clone(),
            message: self.summary.progress_msg.clone(),
            error: error_of(self.summary.error_msg.as_ref(), self.summary.error_code.as_ref()),
            disks: disks.collect(),
        }
    }
}

impl Watched for Restore {
    fn progress(&self) -> Progress {
        let name_of = |id| {
            let original =
                |instance: &&rest_api::RestoreInstance| instance.metadata.get("instance_id") == Some(&id);
            self.instances.iter().find(original).map_or_else(|| id.clone(), |instance| instance.name.clone())
        };
        let disks = self.disks.iter().map(|disk| DiskProgress {
            name: format!("{}/{}", name_of(disk.instance_id.to_string()), disk.id),
            status: disk.status.clone(),
            bytes_total: disk.bytes_total,
            bytes_done: disk.bytes_done,
        });
        Progress {
            noun: "restore",
            id: self.summary.id.to_string(),
            status: self.summary.status.clone(),
            message: self.summary.progress_msg.clone(),
            error: error_of(self.summary.error_msg.as_ref(), self.summary.error_code.as_ref()),
            disks: disks.collect(),
        }
    }
}

impl Watched for Saga {
    fn progress(&self) -> Progress {
        let summary = &self.summary;
        Progress {
            noun: "saga",
            id: summary.id.to_string(),
            status: summary.phase.clone(),
            message: summary.step.clone().unwrap_or_default(),
            error: error_of(summary.error_msg.as_ref(), summary.error_code.as_ref()),
            disks: Vec::new(),
        }
    }
}

fn error_of(message: Option<&String>, code: Option<&String>) -> Option<(String, String)> {
    message.map(|message| (message.clone(), code.cloned().unwrap_or_default()))
}

impl Progress {
    /// Whether it ended, and how. A snapshot under a restore was committed long before.
    fn ending(&self) -> Option<Result<(), Error>> {
        match self.status.as_str() {
            "available" | "succeeded" => Some(Ok(())),
            "restoring" if self.noun == "snapshot" => Some(Ok(())),
            "error" | "cancelled" | "deleted" | "compensated" | "stuck" | "abandoned" => {
                let why = match &self.error {
                    Some((message, code)) if code.is_empty() => format!(": {message}"),
                    Some((message, code)) => format!(": {message} [{code}]"),
                    None => String::new(),
                };
                let ended = if self.status == "error" { "failed" } else { &self.status };
                let message = format!("{} {} {ended}{why}", self.noun, self.id);
                Some(Err(Error::new(Exit::Failed, message)))
            }
            _ => None,
        }
    }
}

/// Asks `poll` until the job ended; gives the last answer, and how it ended.
///
/// Errors: the service stayed silent for too long, or refuses.
pub(crate) async fn wait<T, F>(poll: impl Fn() -> F) -> Result<(T, Result<(), Error>), Error>
where
    T: Watched,
    F: Future<Output = Result<T, rest_api::Error>>,
{
    let mut view = View::new();
    let mut silent_since: Option<Instant> = None;
    loop {
        match poll().await {
            Ok(job) => {
                silent_since = None;
                let progress = job.progress();
                view.update(&progress);
                if let Some(ending) = progress.ending() {
                    view.finish();
                    return Ok((job, ending));
                }
            }
            Err(error) => {
                let error = Error::from(error);
                let since = *silent_since.get_or_insert_with(Instant::now);
                if error.exit() != Exit::NotReachable || since.elapsed() > SILENCE_MAX {
                    view.finish();
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What the person or the log sees.
enum View {
    Bars { all: MultiProgress, head: ProgressBar, disks: BTreeMap<String, ProgressBar> },
    Lines { head: String, disks: BTreeMap<String, String> },
}

impl View {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines { head: String::new(), disks: BTreeMap::new() };
        }
        let all = MultiProgress::new();
        let head = all.add(ProgressBar::new_spinner());
        head.enable_steady_tick(Duration::from_millis(120));
        Self::Bars { all, head, disks: BTreeMap::new() }
    }

    fn update(&mut self, progress: &Progress) {
        let text = format!("{} {} is {}", progress.noun, progress.id, progress.status);
        let text = if progress.message.is_empty() { text } else { format!("{text}: {}", progress.message) };
        match self {
            Self::Bars { all, head, disks } => {
                head.set_message(text);
                for disk in &progress.disks {
                    let bar = disks.entry(disk.name.clone()).or_insert_with(|| all.add(make_bar(&disk.name)));
                    bar.set_length(disk.bytes_total);
                    bar.set_position(disk.bytes_done);
                    bar.set_message(disk.status.clone());
                }
            }
            Self::Lines { head, disks } => {
                if *head != text {
                    tell(&text);
                    *head = text;
                }
                for disk in &progress.disks {
                    let line = line_of(disk);
                    if disks.get(&disk.name) != Some(&line) {
                        tell(&line);
                        disks.insert(disk.name.clone(), line);
                    }
                }
            }
        }
    }

    fn finish(&self) {
        if let Self::Bars { head, disks, .. } = self {
            head.finish();
            for bar in disks.values() {
                bar.abandon();
            }
        }
    }
}

fn make_bar(name: &str) -> ProgressBar {
    let template = "{prefix:30!} {bar:30} {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12} {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is constant and valid");
    ProgressBar::new(0).with_style(style).with_prefix(name.to_owned())
}

/// Tenths only: a log wants no line for each megabyte.
fn line_of(disk: &DiskProgress) -> String {
    let tenths = (disk.bytes_done * 10).checked_div(disk.bytes_total).unwrap_or(0).min(10);
    format!("  disk {} is {}, {} %", disk.name, disk.status, tenths * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_can_be_drawn_for_any_disk() {
        let bar = make_bar("web-1/vda");
        bar.set_length(u64::MAX);
        bar.set_position(1);
        bar.abandon();
    }

    #[test]
    fn a_line_changes_with_the_tenth_only() {
        let line = |bytes_done| {
            let (name, status) = ("web-1/vda".to_owned(), "running".to_owned());
            line_of(&DiskProgress { name, status, bytes_total: 100, bytes_done })
        };
        assert_eq!(line(10), line(19));
        assert_ne!(line(19), line(20));
        assert!(line(100).ends_with("100 %"));
    }
}
