//! Pictures in the language of Graphviz.

use super::add;
use super::explore::Place;
use super::paint::{Form, LEGEND, Line, Node, Picture, Way};
use crate::shape::StepKind;
use crate::state::Phase;

pub(super) fn write(picture: &Picture) -> String {
    let mut text = format!("digraph {} {{\n", picture.kind);
    text.push_str(
        "  rankdir=TB; nodesep=0.5; ranksep=0.3; fontname=\"Helvetica\"; labelloc=b; labeljust=l;\n",
    );
    text.push_str("  node [fontname=\"Helvetica\", shape=box]; edge [fontname=\"Helvetica\"];\n");
    let legend: String = LEGEND.iter().map(|line| format!("{line}\\l")).collect();
    add(&mut text, format_args!("  label=\"{legend}\";\n"));
    for node in &picture.nodes {
        add(&mut text, format_args!("  {} [{}];\n", node.place.id(), attributes(node)));
    }
    // A compensation stands beside its step, the ends beside the first and the last of them.
    for node in &picture.nodes {
        let beside = match node.place {
            Place::Undo(step) => Place::Action(step),
            Place::End(Phase::Compensated) => Place::Start,
            _ => continue,
        };
        add(&mut text, format_args!("  {{ rank=same; {}; {}; }}\n", beside.id(), node.place.id()));
    }
    for way in &picture.ways {
        add(&mut text, format_args!("  {} -> {}{};\n", way.from.id(), way.to.id(), look(way)));
    }
    text.push_str("}\n");
    text
}

fn attributes(node: &Node) -> String {
    let label = node.label.join("\\n");
    let (shape, style) = match node.form {
        Form::Start => ("circle", ""),
        Form::Step(StepKind::Compensable) => ("box", ""),
        Form::Step(StepKind::Pivot) => ("box\", peripheries=\"2", ""),
        Form::Step(StepKind::Forward) => ("box", "rounded"),
        Form::Undo => ("box", "dashed"),
        Form::End => ("oval", "bold"),
    };
    let fill = node.color.map(|color| color.look().1);
    let styles: Vec<&str> = [style, if fill.is_some() { "filled" } else { "" }]
        .into_iter()
        .filter(|style| !style.is_empty())
        .collect();
    let mut text = format!("label=\"{label}\", shape=\"{shape}\"");
    if node.form == Form::Start {
        text.push_str(", width=0.2, fixedsize=true");
    }
    if !styles.is_empty() {
        add(&mut text, format_args!(", style=\"{}\"", styles.join(",")));
    }
    if let Some(fill) = fill {
        add(&mut text, format_args!(", fillcolor=\"{fill}\""));
    }
    text
}

fn look(way: &Way) -> String {
    let look = match way.line {
        Line::GoesOn => "weight=10",
        Line::TurnsBack => "color=\"#c62828\", fontcolor=\"#c62828\", constraint=false",
        Line::TakesBack => "style=dashed, constraint=false",
        Line::Abandons => "style=dotted, color=\"#9e9e9e\"",
    };
    let label = if way.label.is_empty() { String::new() } else { format!(", label=\"{}\"", way.label) };
    format!(" [{look}{label}]")
}
