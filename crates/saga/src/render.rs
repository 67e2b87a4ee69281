//! Pictures of a saga's steps, drawn from what the machine itself reads: Mermaid and DOT.

use std::fmt::Write as _;

use crate::shape::{Shape, StepKind, StepShape};
use crate::state::SagaState;

/// Draws the steps as a Mermaid flowchart: compensations dotted, the pivot as a hexagon.
#[must_use]
pub fn mermaid(shape: &Shape) -> String {
    draw_mermaid(shape, None)
}

/// Draws the steps of one saga as a Mermaid flowchart, each with how it stands.
#[must_use]
pub fn mermaid_live(shape: &Shape, state: &SagaState) -> String {
    draw_mermaid(shape, Some(state))
}

/// Draws the steps as a DOT graph: compensations dashed, the pivot with a double border.
#[must_use]
pub fn dot(shape: &Shape) -> String {
    let mut text = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", shape.kind);
    text.push_str("  start [shape=circle, label=\"\"];\n  end [shape=doublecircle, label=\"\"];\n");
    for (index, step) in shape.steps.iter().enumerate() {
        let border = if step.kind == StepKind::Pivot { ", peripheries=2" } else { "" };
        add(&mut text, format_args!("  s{index} [label=\"{}\"{border}];\n", step.name));
        if let Some(undo) = step.undo {
            add(&mut text, format_args!("  u{index} [label=\"{undo}\", style=dashed];\n"));
            add(
                &mut text,
                format_args!("  s{index} -> u{index} [style=dashed, dir=none, constraint=false];\n"),
            );
        }
        if let Some(settled) = step.settles {
            add(&mut text, format_args!("  s{index} -> u{settled} [style=dotted, label=\"settles\"];\n"));
        }
    }
    add(&mut text, format_args!("  {};\n}}\n", chain(shape, " -> ")));
    text
}

fn draw_mermaid(shape: &Shape, state: Option<&SagaState>) -> String {
    let view = state.map(|state| state.view(shape));
    let mut text = String::from("flowchart LR\n  start(( ))\n  finish((( )))\n");
    for (index, step) in shape.steps.iter().enumerate() {
        let status = view.as_ref().map_or(String::new(), |view| format!("<br/>{}", view.steps[index].status));
        let label = format!("\"{}{status}\"", step.name);
        let (open, close) = brackets(step);
        add(&mut text, format_args!("  s{index}{open}{label}{close}\n"));
        if let Some(undo) = step.undo {
            add(&mut text, format_args!("  u{index}([\"{undo}\"])\n  s{index} -.- u{index}\n"));
        }
        if let Some(settled) = step.settles {
            add(&mut text, format_args!("  s{index} -. settles .-> u{settled}\n"));
        }
    }
    add(&mut text, format_args!("  {}\n", chain(shape, " --> ").replace("end", "finish")));
    text
}

const fn brackets(step: &StepShape) -> (&'static str, &'static str) {
    match step.kind {
        StepKind::Compensable => ("[", "]"),
        StepKind::Pivot => ("{{", "}}"),
        StepKind::Forward => ("[[", "]]"),
    }
}

fn chain(shape: &Shape, arrow: &str) -> String {
    let mut nodes = vec!["start".to_owned()];
    nodes.extend((0..shape.steps.len()).map(|index| format!("s{index}")));
    nodes.push("end".to_owned());
    nodes.join(arrow)
}

fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a string takes any text");
}
