//! What the pictures say.

use std::collections::BTreeSet;

use model::ErrorClass;
use saga::render::{Format, draw};
use saga::{Event, OperatorVerb, SagaState, step};

use crate::shapes::{self, Toy};

/// The ways of a picture of `toy` in DOT, without their looks.
fn ways(toy: &Toy) -> BTreeSet<String> {
    let text = draw(&toy.shape, None, Format::Dot);
    let lines = text.lines().filter(|line| line.contains(" -> "));
    lines.map(|line| line.trim().split_once(" [").map_or(line, |(way, _)| way).to_owned()).collect()
}

#[track_caller]
fn check_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found.trim() == *line), "{line:?} is missing in\n{text}");
    }
}

fn tell(toy: &Toy, state: &SagaState, event: Event) -> SagaState {
    step(&toy.shape, state, &event, &|index| toy.branch_count(state, index)).expect("the event counts").0
}

#[test]
fn a_picture_has_every_way_that_the_machine_can_go_and_no_other() {
    let expected = [
        "start -> s0",
        "start -> compensated",
        "s0 -> s1",
        "s0 -> u0",
        "s0 -> compensated",
        "s1 -> s2",
        "s1 -> u1",
        "s1 -> u0",
        "s2 -> s3",
        "s2 -> u1",
        "s3 -> succeeded",
        // The thaw was done by then: the way back passes the freeze by.
        "s3 -> u1",
        "s3 -> abandoned",
        "u1 -> u0",
        "u1 -> compensated",
        "u1 -> abandoned",
        "u0 -> compensated",
        "u0 -> abandoned",
    ];
    assert_eq!(ways(&shapes::freeze()), expected.map(str::to_owned).into());
}

#[test]
fn a_definition_shows_kinds_of_steps_reasons_to_turn_back_and_where_it_may_get_stuck() {
    let toy = shapes::freeze();
    check_lines(
        &draw(&toy.shape, None, Format::Dot),
        &[
            "digraph freeze {",
            "s0 [label=\"freeze\", shape=\"box\"];",
            "s3 [label=\"commit\\nthe pivot\\nmay get stuck\", shape=\"box\", peripheries=\"2\"];",
            "u0 [label=\"thaw\\nmay get stuck\", shape=\"box\", style=\"dashed\"];",
            "{ rank=same; s0; u0; }",
            "s3 -> u1 [color=\"#c62828\", fontcolor=\"#c62828\", constraint=false, label=\"failed\"];",
        ],
    );
    check_lines(
        &draw(&toy.shape, None, Format::Mermaid),
        &[
            "flowchart TB",
            "s3{{\"commit<br/>the pivot<br/>may get stuck\"}}",
            "u1(\"delete_cut<br/>may get stuck\")",
            "s0 --> s1",
            "s3 -- \"failed\" --> u1",
            "u1 -.-> u0",
        ],
    );
}

#[test]
fn a_saga_without_compensations_or_pivot_is_drawn_too() {
    assert!(ways(&shapes::no_pivot()).contains("s1 -> succeeded"));
    assert!(ways(&shapes::chain()).contains("s4 -> abandoned"), "behind the pivot it may get stuck");
}

#[test]
fn a_living_saga_is_painted_into_the_picture_of_its_definition() {
    let toy = shapes::fan_out();
    let failed =
        |branch, class| Event::ActionFailed { step: 0, branch, attempt: 1, class, effect_free: false };
    let mut state = tell(&toy, &SagaState::new(), Event::Started);
    state = tell(&toy, &state, Event::ActionSucceeded { step: 0, branch: 0, attempt: 1 });
    state = tell(&toy, &state, failed(1, ErrorClass::Transient));
    let direction = saga::Direction::Action;
    state = tell(&toy, &state, Event::RetryDue { step: 0, branch: 1, attempt: 1, direction });
    let text = draw(&toy.shape, Some(&state), Format::Dot);
    check_lines(
        &text,
        &[
            "s0 [label=\"create\\n1 done, 1 running, attempt 2\", shape=\"box\", style=\"filled\", fillcolor=\"#90caf9\"];",
        ],
    );
    state = tell(&toy, &state, Event::CancelRequested);
    state = tell(&toy, &state, Event::UndoSucceeded { step: 0, branch: 0, attempt: 1 });
    let class = ErrorClass::Permanent;
    state = tell(&toy, &state, Event::UndoFailed { step: 0, branch: 1, attempt: 1, class });
    let text = draw(&toy.shape, Some(&state), Format::Mermaid);
    check_lines(
        &text,
        &[
            "s0[\"create<br/>2 taken back\"]:::gone",
            "u0(\"delete<br/>1 done, 1 stuck\"):::stuck",
            "s1[\"verify\"]",
            "classDef stuck fill:#ef9a9a",
        ],
    );
    state = tell(&toy, &state, Event::Operator { verb: OperatorVerb::Skip });
    let text = draw(&toy.shape, Some(&state), Format::Mermaid);
    check_lines(
        &text,
        &["compensated([\"compensated\"]):::gone", "u0(\"delete<br/>1 done, 1 skipped\"):::done"],
    );
}

#[test]
fn a_format_that_is_none_is_refused_with_those_there_are() {
    assert_eq!("dot".parse(), Ok(Format::Dot));
    let error = "png".parse::<Format>().unwrap_err();
    assert!(error.contains("mermaid or dot"), "{error}");
}
