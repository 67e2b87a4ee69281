//! What the pictures say.

use saga::render;
use saga::{Event, SagaState, step};

use crate::shapes;

#[test]
fn a_flowchart_shows_steps_compensations_what_settles_and_the_pivot() {
    let expected = "\
flowchart LR
  start(( ))
  finish((( )))
  s0[\"freeze\"]
  u0([\"thaw\"])
  s0 -.- u0
  s1[\"cut\"]
  u1([\"delete_cut\"])
  s1 -.- u1
  s2[\"thaw_after\"]
  s2 -. settles .-> u0
  s3{{\"commit\"}}
  start --> s0 --> s1 --> s2 --> s3 --> finish
";
    assert_eq!(render::mermaid(&shapes::freeze().shape), expected);
}

#[test]
fn a_graph_for_dot_has_the_same() {
    let text = render::dot(&shapes::freeze().shape);
    assert!(text.starts_with("digraph freeze {\n"), "{text}");
    for line in [
        "  s3 [label=\"commit\", peripheries=2];\n",
        "  u0 [label=\"thaw\", style=dashed];\n",
        "  s2 -> u0 [style=dotted, label=\"settles\"];\n",
        "  start -> s0 -> s1 -> s2 -> s3 -> end;\n}\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in {text}");
    }
}

#[test]
fn a_living_saga_shows_how_each_step_stands() {
    let toy = shapes::chain();
    let (state, _) =
        step(&toy.shape, &SagaState::new(), &Event::Started, &|index| toy.branch_count(index)).unwrap();
    let text = render::mermaid_live(&toy.shape, &state);
    assert!(text.contains("s0[\"lock<br/>running\"]"), "{text}");
    assert!(text.contains("s4[[\"clean_up<br/>pending\"]]"), "{text}");
}
