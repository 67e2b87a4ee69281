//! `holdfast top`, on a terminal and without one.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rest_api::Status;

use crate::command::run;
use crate::fixture::{ADMIN, MEMBER, Service, make_status};
use crate::terminal::Terminal;

const ENTER_SCREEN: &str = "\u{1b}[?1049h";
const LEAVE_SCREEN: &str = "\u{1b}[?1049l";

/// A service with a status, in a runtime that works on while the test blocks.
struct Bench {
    service: Service,
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let service = runtime.block_on(Service::start());
        let endpoint = format!("{}/v1/acme", service.url);
        let bench = Self { service, endpoint, _runtime: runtime };
        bench.gather(make_status());
        bench
    }

    fn gather(&self, status: Status) {
        self.service.board.send_replace(Some(Arc::new(status)));
    }

    fn variables<'a>(&'a self, token: &'a str) -> [(&'a str, &'a str); 2] {
        [("HOLDFAST_ENDPOINT", &self.endpoint), ("HOLDFAST_TOKEN", token)]
    }

    fn open(&self) -> Terminal {
        let terminal = Terminal::start(&self.variables(ADMIN), &["top", "--interval", "1"]);
        terminal.wait_for("no sign of life for 95 s", 1);
        terminal
    }
}

#[track_caller]
fn check_ended_well(terminal: &mut Terminal) {
    assert_eq!(terminal.wait_for_exit(), Some(0), "{:?}", terminal.drawn());
    terminal.wait_for(LEAVE_SCREEN, 1);
    let drawn = terminal.drawn();
    assert!(drawn.rfind(ENTER_SCREEN).unwrap() < drawn.rfind(LEAVE_SCREEN).unwrap());
    assert!(drawn.contains("\u{1b}[?25h"), "the cursor stays hidden: {drawn:?}");
    assert!(!terminal.is_taken_over(), "the terminal was not given back");
}

#[test]
fn one_look_is_a_text_or_the_same_json_as_the_api() {
    let bench = Bench::start();
    let table = run(&bench.variables(ADMIN), &["top", "--once"]);
    assert_eq!(table.exit, 0, "{table:?}");
    for part in [
        "! the datamover on host-a has given no sign of life for 95 s",
        "datamover  host-a  SILENT    95 s  1.2.2",
        "queue: not known, not configured: the controller's config has no [broker]",
        "outbox: 0 waiting",
    ] {
        assert!(table.stdout.contains(part), "{part} is not in:\n{}", table.stdout);
    }
    let json = run(&bench.variables(ADMIN), &["top", "--once", "-f", "json"]).json();
    assert_eq!(serde_json::from_value::<Status>(json).unwrap(), make_status());
    run(&bench.variables(MEMBER), &["top", "--once"]).check_refused(4, "status:status_show");
    run(&bench.variables(ADMIN), &["top", "-f", "value"]).check_refused(2, "-f json");
    run(&bench.variables(ADMIN), &["top", "--interval", "0"]).check_refused(2, "--interval");
}

#[test]
fn into_a_pipe_go_lines_of_json_until_its_reader_has_enough() {
    let bench = Bench::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .envs(bench.variables(ADMIN))
        .args(["top", "-f", "json", "--interval", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Status>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next(), make_status());
    let well = Status { problems: Vec::new(), ..make_status() };
    bench.gather(well.clone());
    assert!((0..60).any(|_| next() == well), "the new state is not told");
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0), "a pipe that is closed is a wish, not an error");
}

#[test]
fn on_a_terminal_it_draws_the_latest_and_q_gives_the_terminal_back() {
    let bench = Bench::start();
    let mut terminal = bench.open();
    assert!(terminal.is_taken_over());
    bench.gather(Status { problems: Vec::new(), ..make_status() });
    terminal.wait_for("all is well", 1);
    terminal.press(b"xq");
    check_ended_well(&mut terminal);
}

#[test]
fn control_c_and_a_signal_end_it_as_q_does() {
    let bench = Bench::start();
    let mut terminal = bench.open();
    terminal.press(&[3]);
    check_ended_well(&mut terminal);
    let mut terminal = bench.open();
    terminal.terminate();
    check_ended_well(&mut terminal);
}

#[test]
fn no_line_is_wider_than_the_terminal_also_after_it_shrank() {
    let bench = Bench::start();
    let mut terminal = bench.open();
    terminal.resize(20);
    terminal.wait_for("! the datamover on h\u{1b}", 1);
    terminal.press(b"q");
    check_ended_well(&mut terminal);
}

#[test]
fn a_controller_that_goes_away_leaves_the_last_picture_and_says_that_it_is_old() {
    let bench = Bench::start();
    let mut terminal = bench.open();
    drop(bench);
    terminal.wait_for("! this is old: ", 1);
    terminal.press(b"q");
    check_ended_well(&mut terminal);
}
