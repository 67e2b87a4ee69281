//! Figures as Prometheus reads them: its text format, version 0.0.4.
//!
//! Written from what a service knows at this moment; there is no registry and no global state. Names and kinds are
//! checked where they are given: a wrong one is a bug, and the first look at `/metrics` shows it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// The text under construction.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    names: BTreeSet<String>,
}

/// One metric, to be given its samples.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    has_samples: bool,
}

impl Exposition {
    /// Begins a metric. One that gets no sample leaves no trace.
    ///
    /// Panics: the name is not of the form `holdfast_…`, comes twice, or does not fit its kind.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        assert!(
            name.starts_with("holdfast_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name} is no name of a metric of ours"
        );
        assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "counters, and only they, end in _total");
        assert!(self.names.insert(name.to_owned()), "{name} is given twice");
        Family { text: &mut self.text, name, kind, help, has_samples: false }
    }

    /// Writes a metric that has one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &'static str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample. Labels are few and their values bounded: never an id, never what a tenant wrote.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        if !self.has_samples {
            self.has_samples = true;
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let help = self.help.replace('\\', r"\\").replace('\n', r"\n");
            put(self.text, format_args!("# HELP {0} {help}\n# TYPE {0} {kind}\n", self.name));
        }
        self.text.push_str(self.name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            put(self.text, format_args!("{open}{label}=\"{}\"", escape(value)));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        put(self.text, format_args!(" {}\n", number(value)));
    }
}

/// A count as a sample. Exact up to 2^53.
#[must_use]
#[allow(clippy::cast_precision_loss)] // samples are floats in Prometheus, whatever we do
pub const fn count(value: u64) -> f64 {
    value as f64
}

/// Whether as a sample: 1 or 0.
#[must_use]
pub fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing into a text cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_its_help_and_kind_once_and_its_samples_below() {
        let mut exposition = Exposition::default();
        let mut family = exposition.family("holdfast_messages_total", Kind::Counter, "Messages,\nall.");
        family.sample(&[("queue", "a"), ("outcome", "done")], count(3));
        family.sample(&[("queue", "a\"b\\c\nd"), ("outcome", "dead")], 0.5);
        exposition.single("holdfast_ready", Kind::Gauge, "Whether.", flag(true));
        let expected = "# HELP holdfast_messages_total Messages,\\nall.\n# TYPE holdfast_messages_total counter\n\
            holdfast_messages_total{queue=\"a\",outcome=\"done\"} 3\n\
            holdfast_messages_total{queue=\"a\\\"b\\\\c\\nd\",outcome=\"dead\"} 0.5\n\
            # HELP holdfast_ready Whether.\n# TYPE holdfast_ready gauge\nholdfast_ready 1\n";
        assert_eq!(exposition.into_text(), expected);
    }

    #[test]
    fn a_metric_without_samples_leaves_no_trace() {
        let mut exposition = Exposition::default();
        exposition.family("holdfast_queue_consumers", Kind::Gauge, "Consumers.");
        assert_eq!(exposition.into_text(), "");
    }

    #[test]
    fn numbers_are_as_prometheus_reads_them() {
        for (value, text) in
            [(0.0, "0"), (1e21, "1000000000000000000000"), (-0.25, "-0.25"), (f64::INFINITY, "+Inf")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    #[should_panic(expected = "only they, end in _total")]
    fn a_counter_without_total_is_a_bug() {
        Exposition::default().family("holdfast_messages", Kind::Counter, "Messages.");
    }
}
