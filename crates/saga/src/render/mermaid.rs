//! Pictures in the language of Mermaid, which code hosts show in place.

use super::add;
use super::paint::{Color, Form, LEGEND, Line, Picture, Way};
use crate::shape::StepKind;

pub(super) fn write(picture: &Picture) -> String {
    let mut text = String::from("flowchart TB\n");
    for node in &picture.nodes {
        let (open, close) = brackets(node.form);
        let class = node.color.map(|color| format!(":::{}", color.look().0)).unwrap_or_default();
        let label = match node.form {
            Form::Start => " ".to_owned(),
            _ => format!("\"{}\"", node.label.join("<br/>")),
        };
        let id = node.place.id();
        add(&mut text, format_args!("  {id}{open}{label}{close}{class}\n"));
    }
    for way in &picture.ways {
        add(&mut text, format_args!("  {} {} {}\n", way.from.id(), arrow(way), way.to.id()));
    }
    for (line, look) in [(Line::TurnsBack, "stroke:#c62828"), (Line::Abandons, "stroke:#9e9e9e")] {
        let numbers: Vec<String> = (0..picture.ways.len())
            .filter(|number| picture.ways[*number].line == line)
            .map(|number| number.to_string())
            .collect();
        if !numbers.is_empty() {
            add(&mut text, format_args!("  linkStyle {} {look}\n", numbers.join(",")));
        }
    }
    for undo in picture.nodes.iter().filter(|node| node.form == Form::Undo) {
        add(&mut text, format_args!("  style {} stroke-dasharray:4\n", undo.place.id()));
    }
    if picture.is_live {
        for color in Color::ALL {
            let (name, fill) = color.look();
            add(&mut text, format_args!("  classDef {name} fill:{fill}\n"));
        }
    }
    add(&mut text, format_args!("  legend[\"{}\"]\n", LEGEND.join("<br/>")));
    text.push_str("  style legend fill:none,stroke:none\n");
    text
}

const fn brackets(form: Form) -> (&'static str, &'static str) {
    match form {
        Form::Start => ("((", "))"),
        Form::Step(StepKind::Compensable) => ("[", "]"),
        Form::Step(StepKind::Pivot) => ("{{", "}}"),
        Form::Step(StepKind::Forward) => ("[[", "]]"),
        Form::Undo => ("(", ")"),
        Form::End => ("([", "])"),
    }
}

fn arrow(way: &Way) -> String {
    let (plain, open, close) = match way.line {
        Line::GoesOn | Line::TurnsBack => ("-->", "-- \"", "\" -->"),
        Line::TakesBack | Line::Abandons => ("-.->", "-. \"", "\" .->"),
    };
    if way.label.is_empty() { plain.to_owned() } else { format!("{open}{}{close}", way.label) }
}
