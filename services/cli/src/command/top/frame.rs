//! The status as lines of text. Pure.

use model::ByteCount;
use rest_api::{LifeState, PartState, Status};

use crate::output::clean;

/// How a line looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Head,
    Alarm,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// The picture as one text.
pub(super) fn whole(status: &Status) -> String {
    lines(status, None).into_iter().map(|line| line.text + "\n").collect()
}

/// The status as one line for programs.
pub(super) fn json_line(status: &Status) -> String {
    serde_json::to_string(status).expect("a status is always JSON") + "\n"
}

/// The picture. `trouble`: why it is old.
pub(super) fn lines(status: &Status, trouble: Option<&str>) -> Vec<Line> {
    let mut picture = Picture::default();
    picture.head(status, trouble);
    picture.services(status);
    picture.hosts(status);
    picture.sagas(status);
    picture.queues(status);
    picture.0
}

#[derive(Default)]
struct Picture(Vec<Line>);

impl Picture {
    fn put(&mut self, tone: Tone, text: impl AsRef<str>) {
        self.0.push(Line { text: clean(text.as_ref()).replace('\n', " "), tone });
    }

    fn head(&mut self, status: &Status, trouble: Option<&str>) {
        let time = status.gathered_at.to_string();
        let time = time.split('.').next().unwrap_or_default().replace('T', " ");
        let (version, controller) = (&status.version, &status.controller);
        self.put(Tone::Head, format!("Holdfast {version}, controller on {controller}, as of {time} UTC"));
        if let Some(trouble) = trouble {
            self.put(Tone::Alarm, format!("! this is old: {trouble}"));
        }
        for problem in &status.problems {
            self.put(Tone::Alarm, format!("! {problem}"));
        }
        if status.problems.is_empty() && trouble.is_none() {
            self.put(Tone::Plain, "all is well");
        }
    }

    fn services(&mut self, status: &Status) {
        let rows = status.services.as_ref().map(|services| {
            let row = |service: &rest_api::ServiceStatus| {
                vec![
                    service.service.clone(),
                    service.host.to_string(),
                    life(service.state),
                    format!("{} s", service.silent_seconds),
                    service.version.clone().unwrap_or_default(),
                ]
            };
            services.iter().map(row).collect()
        });
        self.table(&["SERVICE", "HOST", "STATE", "#SILENT", "VERSION"], rows, &status.catalog);
    }

    fn hosts(&mut self, status: &Status) {
        let rows = status.hosts.as_ref().map(|hosts| {
            let row = |host: &rest_api::HostStatus| {
                let percent = (u128::from(host.bytes_done) * 100).checked_div(u128::from(host.bytes_total));
                vec![
                    host.host.to_string(),
                    host.jobs_running.to_string(),
                    percent.map_or_else(String::new, |percent| format!("{percent} %")),
                    ByteCount(host.bytes_total).to_string(),
                    ByteCount(host.bytes_read).to_string(),
                    ByteCount(host.bytes_stored).to_string(),
                ]
            };
            hosts.iter().map(row).collect()
        });
        self.table(&["HOST", "#JOBS", "#DONE", "#OF", "#READ", "#STORED"], rows, &status.catalog);
    }

    fn sagas(&mut self, status: &Status) {
        let rows = status.sagas.as_ref().map(|sagas| {
            let row = |when: &'static str| {
                move |row: &rest_api::SagaCount| {
                    vec![row.kind.clone(), row.phase.clone(), row.count.to_string(), when.to_owned()]
                }
            };
            let ended = sagas.ended_last_day.iter().map(row("in 24 h"));
            sagas.unfinished.iter().map(row("now")).chain(ended).collect()
        });
        self.table(&["SAGA", "PHASE", "#COUNT", "WHEN"], rows, &status.catalog);
        if let Some(outbox) = &status.outbox {
            let age =
                outbox.oldest_seconds.map_or_else(String::new, |age| format!(", the oldest for {age} s"));
            self.put(Tone::Plain, format!("outbox: {} waiting{age}", outbox.depth));
        }
    }

    fn queues(&mut self, status: &Status) {
        let known = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
        let rows = status.queues.as_ref().map(|queues| {
            let row = |queue: &rest_api::QueueFigures| {
                vec![queue.name.clone(), known(queue.depth), known(queue.unacked), known(queue.consumers)]
            };
            queues.iter().map(row).collect()
        });
        self.table(&["QUEUE", "#READY", "#UNACKED", "#CONSUMERS"], rows, &status.broker_management);
    }

    /// Columns as wide as they need; a head that begins with `#` stands over numbers.
    fn table(&mut self, heads: &[&str], rows: Option<Vec<Vec<String>>>, part: &PartState) {
        self.put(Tone::Plain, "");
        let Some(rows) = rows else {
            let reason = part.reason.as_deref().unwrap_or("no answer");
            let noun = heads[0].to_ascii_lowercase();
            self.put(Tone::Head, format!("{noun}: not known, {}: {reason}", part.state.as_str()));
            return;
        };
        let heads: Vec<(&str, bool)> = heads
            .iter()
            .map(|head| head.strip_prefix('#').map_or((*head, false), |head| (head, true)))
            .collect();
        let width = |index: usize| {
            let cells = rows.iter().map(|row| row[index].chars().count());
            cells.chain([heads[index].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let join = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).zip(&heads).map(|((cell, &width), (_, is_number))| {
                if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.put(Tone::Head, join(heads.iter().map(|(head, _)| *head).collect()));
        for row in &rows {
            let tone = if row.iter().any(|cell| cell == "SILENT" || cell == "stuck") {
                Tone::Alarm
            } else {
                Tone::Plain
            };
            self.put(tone, join(row.iter().map(String::as_str).collect()));
        }
    }
}

/// In capitals where a human should look.
fn life(state: LifeState) -> String {
    match state {
        LifeState::Up => state.as_str().to_owned(),
        LifeState::Silent => state.as_str().to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use rest_api::{OutboxFigures, QueueFigures, Reach, SagaCount, SagaFigures};

    use super::*;

    fn make_status() -> Status {
        Status {
            gathered_at: "2026-01-31T23:59:59.5".parse().unwrap(),
            controller: "node-1".parse().unwrap(),
            version: "1.0.0".to_owned(),
            problems: Vec::new(),
            catalog: PartState::ok(),
            broker: PartState::ok(),
            broker_management: PartState::ok(),
            services: Some(Vec::new()),
            hosts: Some(Vec::new()),
            sagas: Some(SagaFigures {
                unfinished: vec![SagaCount {
                    kind: "snapshot_create".to_owned(),
                    phase: "stuck".to_owned(),
                    count: 12,
                }],
                ended_last_day: Vec::new(),
                stuck: Vec::new(),
            }),
            outbox: Some(OutboxFigures { depth: 3, oldest_seconds: Some(2) }),
            queues: Some(vec![QueueFigures {
                name: "holdfast.q.\u{1b}[2Jdmapi".to_owned(),
                depth: Some(5),
                unacked: None,
                consumers: Some(2),
            }]),
            dead_letters: None,
        }
    }

    #[test]
    fn numbers_stand_right_under_their_heads_and_nothing_drives_the_terminal() {
        let text = whole(&make_status());
        assert!(
            text.contains("SAGA             PHASE  COUNT  WHEN\nsnapshot_create  stuck     12  now\n"),
            "{text}"
        );
        assert!(
            text.contains("all is well") && text.contains("outbox: 3 waiting, the oldest for 2 s"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let row = text.lines().last().unwrap();
        assert_eq!(row.split_whitespace().skip(1).collect::<Vec<_>>(), ["5", "-", "2"]);
    }

    #[test]
    fn what_is_not_known_and_what_is_wrong_is_said_on_top_or_in_place() {
        let mut status = make_status();
        status.problems = vec!["a saga is stuck".to_owned()];
        status.broker_management = PartState::not(Reach::NotConfigured, "no [broker]".to_owned());
        status.queues = None;
        let lines = lines(&status, Some("connection refused"));
        assert_eq!(
            (lines[1].text.as_str(), lines[1].tone),
            ("! this is old: connection refused", Tone::Alarm)
        );
        assert_eq!(lines[2].text, "! a saga is stuck");
        assert_eq!(lines.last().unwrap().text, "queue: not known, not configured: no [broker]");
        assert!(lines.iter().any(|line| line.tone == Tone::Alarm && line.text.contains("stuck     12")));
    }
}
