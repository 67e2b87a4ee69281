//! The status as one page: no assets, no framework. Rendered whole on each request, it is good without a script too; with
//! one, only its figures are exchanged, so that nothing flickers and nobody loses his place.

use std::fmt::Write as _;

use model::ByteCount;
use rest_api::{
    ApiTime, DeadLetterFigures, HostStatus, LifeState, PartState, QueueFigures, SagaCount, SagaFigures,
    ServiceStatus, Status,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What is in a cell, and how it looks.
enum Cell {
    Text(String),
    Name(String),
    Number(String),
    Time(String),
    Good(String),
    Alarm(String),
    AlarmNumber(String),
}

/// Renders the page. `nonce`: what lets this script run and no other.
pub(super) fn render(status: &Status, nonce: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         img-src data:; connect-src 'self'; script-src 'nonce-{nonce}'\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<p id=\"stale\" class=\"verdict bad\" hidden></p>\n{live}\
         <script nonce=\"{nonce}\">\n{SCRIPT}</script>\n</body>\n</html>\n",
        title = if status.problems.is_empty() { "Holdfast" } else { "Holdfast: look here" },
        live = live(status),
    )
}

/// What is exchanged at each refresh.
fn live(status: &Status) -> String {
    let mut html = format!(
        "<main id=\"live\">\n<header><h1>Holdfast</h1><span class=\"soft\">controller {} on {}, as of {}</span></header>\n",
        escape(&status.version),
        escape(status.controller.as_str()),
        clock(status.gathered_at),
    );
    html.push_str(&verdict(&status.problems));
    html.push_str("<div class=\"grid\">\n");
    let missing = &status.catalog;
    html.push_str(&section("Services", true, status.services.as_deref().map(services), missing));
    html.push_str(&section("Hosts", true, status.hosts.as_deref().map(hosts), missing));
    html.push_str(&section("Sagas", false, status.sagas.as_ref().map(sagas), missing));
    let missing = &status.broker_management;
    html.push_str(&section("Dead letters", false, status.dead_letters.as_deref().map(dead_letters), missing));
    let outbox = status.outbox.as_ref().map(|outbox| match outbox.oldest_seconds {
        None => "<p>Nothing waits to be published.</p>\n".to_owned(),
        Some(age) => format!("<p>{} waiting, the oldest for {}.</p>\n", outbox.depth, ago(age)),
    });
    html.push_str(&section("Outbox", false, outbox, &status.catalog));
    html.push_str(&section("Queues", true, status.queues.as_deref().map(queues), missing));
    html.push_str("</div>\n</main>\n");
    html
}

fn verdict(problems: &[String]) -> String {
    if problems.is_empty() {
        return "<div class=\"verdict ok\">All is well</div>\n".to_owned();
    }
    let items: String = problems.iter().map(|problem| format!("<li>{}</li>", escape(problem))).collect();
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    format!("<div class=\"verdict bad\">{count} {noun}<ul>{items}</ul></div>\n")
}

/// A part of the page; without content it says what did not answer.
fn section(title: &str, wide: bool, content: Option<String>, part: &PartState) -> String {
    let class = if wide { " class=\"wide\"" } else { "" };
    let content = content.unwrap_or_else(|| {
        let reason = part.reason.as_deref().unwrap_or("no answer");
        format!("<p class=\"soft\">Not known, {}: {}</p>\n", part.state.as_str(), escape(reason))
    });
    format!("<section{class}>\n<h2>{title}</h2>\n{content}</section>\n")
}

fn services(rows: &[ServiceStatus]) -> String {
    let row = |row: &ServiceStatus| {
        vec![
            Cell::Text(row.service.clone()),
            Cell::Name(row.host.to_string()),
            life(row.state),
            Cell::Number(ago(row.silent_seconds)),
            Cell::Text(row.version.clone().unwrap_or_default()),
            Cell::Time(clock(row.started_at)),
        ]
    };
    let heads = ["service", "host", "state", "#last sign of life", "version", "runs since"];
    table(&heads, rows.iter().map(row), "No service was heard of.")
}

fn hosts(rows: &[HostStatus]) -> String {
    let row = |row: &HostStatus| {
        let pools: Vec<&str> = row.pools.iter().map(model::PoolName::as_str).collect();
        let percent = (u128::from(row.bytes_done) * 100).checked_div(u128::from(row.bytes_total));
        let progress = percent
            .map_or_else(String::new, |percent| format!("{percent} % of {}", ByteCount(row.bytes_total)));
        vec![
            Cell::Name(row.host.to_string()),
            life(row.state),
            Cell::Text(pools.join(", ")),
            Cell::Number(row.jobs_running.to_string()),
            Cell::Number(progress),
            Cell::Number(ByteCount(row.bytes_read).to_string()),
            Cell::Number(ByteCount(row.bytes_stored).to_string()),
        ]
    };
    let heads = ["host", "state", "pools", "#jobs", "#done", "#read", "#stored"];
    table(&heads, rows.iter().map(row), "No datamover was heard of.")
}

fn sagas(figures: &SagaFigures) -> String {
    let row = |when: &'static str| {
        move |row: &SagaCount| {
            let phase = match row.phase.as_str() {
                "stuck" => Cell::Alarm(row.phase.clone()),
                _ => Cell::Text(row.phase.clone()),
            };
            vec![
                Cell::Text(row.kind.clone()),
                phase,
                Cell::Number(row.count.to_string()),
                Cell::Text(when.to_owned()),
            ]
        }
    };
    let unfinished = figures.unfinished.iter().map(row("now"));
    let ended = figures.ended_last_day.iter().map(row("in 24 h"));
    let mut html = table(
        &["kind", "phase", "#sagas", ""],
        unfinished.chain(ended),
        "None runs, and none ended in 24 h.",
    );
    if !figures.stuck.is_empty() {
        let row = |saga: &rest_api::StuckSaga| {
            vec![
                Cell::Name(saga.id.to_string()),
                Cell::Text(saga.kind.clone()),
                Cell::Alarm(saga.error_code.clone().unwrap_or_default()),
                Cell::Time(clock(saga.since)),
            ]
        };
        html.push_str(&table(&["stuck", "kind", "code", "since"], figures.stuck.iter().map(row), ""));
    }
    html
}

fn dead_letters(rows: &[DeadLetterFigures]) -> String {
    let row = |row: &DeadLetterFigures| {
        let count = match row.count {
            Some(count) if count > 0 => Cell::AlarmNumber(count.to_string()),
            count => Cell::Number(known(count)),
        };
        vec![Cell::Text(row.class.clone()), count]
    };
    table(&["class", "#letters"], rows.iter().map(row), "")
}

fn queues(rows: &[QueueFigures]) -> String {
    let row = |row: &QueueFigures| {
        vec![
            Cell::Name(row.name.clone()),
            Cell::Number(known(row.depth)),
            Cell::Number(known(row.unacked)),
            Cell::Number(known(row.consumers)),
        ]
    };
    table(&["queue", "#ready", "#unacked", "#consumers"], rows.iter().map(row), "There are no queues.")
}

/// A head that begins with `#` stands over numbers.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<Cell>>, none: &str) -> String {
    let mut html = "<div class=\"scroll\"><table>\n<tr>".to_owned();
    for head in heads {
        match head.strip_prefix('#') {
            Some(head) => put(&mut html, format_args!("<th class=\"num\">{head}</th>")),
            None => put(&mut html, format_args!("<th>{head}</th>")),
        }
    }
    html.push_str("</tr>\n");
    let mut is_empty = true;
    for row in rows {
        is_empty = false;
        html.push_str("<tr>");
        for cell in row {
            let (class, text) = match &cell {
                Cell::Text(text) => ("", text),
                Cell::Name(text) => (" class=\"name\"", text),
                Cell::Number(text) => (" class=\"num\"", text),
                Cell::Time(text) => (" class=\"time\"", text),
                Cell::Good(text) => (" class=\"good\"", text),
                Cell::Alarm(text) => (" class=\"alarm\"", text),
                Cell::AlarmNumber(text) => (" class=\"num alarm\"", text),
            };
            put(&mut html, format_args!("<td{class}>{}</td>", escape(text)));
        }
        html.push_str("</tr>\n");
    }
    if is_empty {
        return format!("<p class=\"soft\">{none}</p>\n");
    }
    html.push_str("</table></div>\n");
    html
}

fn life(state: LifeState) -> Cell {
    let word = state.as_str().to_owned();
    match state {
        LifeState::Up => Cell::Good(word),
        LifeState::Silent => Cell::Alarm(word),
    }
}

fn known(figure: Option<u64>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string())
}

fn clock(time: ApiTime) -> String {
    let text = time.to_string();
    text.split('.').next().unwrap_or_default().replace('T', " ") + " UTC"
}

/// A time span in the unit that one would say.
fn ago(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Takes its meaning from every character that has one in HTML, within and outside of quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn put(html: &mut String, arguments: std::fmt::Arguments<'_>) {
    html.write_fmt(arguments).expect("writing into a text cannot fail");
}

#[cfg(test)]
mod tests {
    use rest_api::Reach;

    use super::super::sample::make_status;
    use super::*;

    #[test]
    fn a_site_where_all_is_well_says_so_and_shows_its_figures() {
        let html = render(&make_status(), "n0nce");
        for part in [
            "All is well",
            "<td class=\"name\">holdfast.q.dmapi</td><td class=\"num\">5</td><td class=\"num\">1</td><td class=\"num\">2</td>",
            "<td class=\"name\">holdfast.q.fresh</td><td class=\"num\">–</td>",
            "<td class=\"num\">25 % of 4.00 GiB</td>",
            "<td>snapshot_create</td><td>forward</td><td class=\"num\">2</td>",
            "3 waiting, the oldest for 2 s",
            "2023-11-14 22:13:20 UTC",
            "<script nonce=\"n0nce\">",
        ] {
            assert!(html.contains(part), "{part} is not in:\n{html}");
        }
        assert!(!html.contains("src=") && !html.contains("http://") && !html.contains("https://"), "{html}");
    }

    #[test]
    fn what_others_wrote_is_text_and_never_markup() {
        let mut status = make_status();
        let hostile = "<script>alert('x')</script>\"&";
        status.problems = vec![hostile.to_owned()];
        status.services.as_mut().unwrap()[0].version = Some(hostile.to_owned());
        status.queues.as_mut().unwrap()[0].name = hostile.to_owned();
        status.sagas.as_mut().unwrap().unfinished[0].kind = hostile.to_owned();
        status.broker_management = PartState::not(Reach::Refused, hostile.to_owned());
        status.dead_letters = None;
        let html = render(&status, "n");
        assert!(!html.contains("<script>"), "{html}");
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;";
        assert_eq!(html.matches(escaped).count(), 5);
        assert!(html.contains("1 problem<ul>"));
    }

    #[test]
    fn what_is_not_known_says_why() {
        let mut status = make_status();
        status.catalog = PartState::not(Reach::Unreachable, "the disk is gone".to_owned());
        (status.services, status.hosts, status.sagas, status.outbox) = (None, None, None, None);
        let html = render(&status, "n");
        assert_eq!(html.matches("Not known, unreachable: the disk is gone").count(), 4, "{html}");
    }

    #[test]
    fn time_spans_are_said_in_one_unit() {
        for (seconds, text) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d"), (900_000, "10 d")]
        {
            assert_eq!(ago(seconds), text);
        }
    }
}
