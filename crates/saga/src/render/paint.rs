//! The picture before it is written down: nodes in two columns and the ways between them, with how a saga stands.

use std::collections::BTreeSet;

use super::explore::{Place, Reached, Why};
use crate::shape::{Shape, StepIndex, StepKind, StepShape};
use crate::state::{BranchState, Phase, SagaState, Status};

/// What the legend says; both languages show it.
pub(super) const LEGEND: &[&str] = &[
    "black: done, or skipped by an operator",
    "red: failed for good, cancelled or past the deadline of the saga",
    "dashed: taken back",
    "grey: abandoned by an operator while stuck",
];

/// A picture.
pub(super) struct Picture {
    pub(super) kind: &'static str,
    pub(super) nodes: Vec<Node>,
    pub(super) ways: Vec<Way>,
    /// One saga is painted in.
    pub(super) is_live: bool,
}

/// A place of the picture.
pub(super) struct Node {
    pub(super) place: Place,
    /// One line each.
    pub(super) label: Vec<String>,
    pub(super) form: Form,
    pub(super) color: Option<Color>,
}

/// What kind of place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Start,
    Step(StepKind),
    Undo,
    End,
}

/// How a saga stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Color {
    Done,
    Gone,
    Failed,
    Running,
    Waiting,
    Stuck,
}

/// From one place to another.
pub(super) struct Way {
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) line: Line,
    /// Empty where the kind of line says it.
    pub(super) label: String,
}

/// How a way is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    GoesOn,
    TurnsBack,
    TakesBack,
    Abandons,
}

impl Color {
    pub(super) const ALL: [Self; 6] =
        [Self::Done, Self::Gone, Self::Failed, Self::Running, Self::Waiting, Self::Stuck];

    /// Name and fill.
    pub(super) const fn look(self) -> (&'static str, &'static str) {
        match self {
            Self::Done => ("done", "#c8e6c9"),
            Self::Gone => ("gone", "#e0e0e0"),
            Self::Failed => ("failed", "#ffcc80"),
            Self::Running => ("running", "#90caf9"),
            Self::Waiting => ("waiting", "#fff59d"),
            Self::Stuck => ("stuck", "#ef9a9a"),
        }
    }
}

impl Place {
    /// The node's name in either language.
    pub(super) fn id(self) -> String {
        match self {
            Self::Start => "start".to_owned(),
            Self::Action(step) => format!("s{step}"),
            Self::Undo(step) => format!("u{step}"),
            Self::End(phase) => phase.as_str().to_owned(),
        }
    }
}

impl Picture {
    pub(super) fn of(shape: &Shape, reached: &Reached, state: Option<&SagaState>) -> Self {
        let places: BTreeSet<Place> = reached.edges.keys().flat_map(|(from, to)| [*from, *to]).collect();
        let nodes = places.into_iter().map(|place| node(shape, reached, state, place)).collect();
        let ways = reached.edges.iter().map(|((from, to), why)| way(*from, *to, why)).collect();
        Self { kind: shape.kind, nodes, ways, is_live: state.is_some() }
    }
}

fn node(shape: &Shape, reached: &Reached, state: Option<&SagaState>, place: Place) -> Node {
    let step_of = |step: StepIndex| &shape.steps[usize::from(step)];
    let (form, name) = match place {
        Place::Start => (Form::Start, String::new()),
        Place::Action(step) => (Form::Step(step_of(step).kind), step_of(step).name.to_owned()),
        Place::Undo(step) => (Form::Undo, undo_name(step_of(step)).to_owned()),
        Place::End(phase) => (Form::End, phase.as_str().to_owned()),
    };
    let mut label = vec![name];
    let mut color = None;
    match state {
        None => {
            if form == Form::Step(StepKind::Pivot) {
                label.push("the pivot".to_owned());
            }
            if reached.stuck.contains(&place) {
                label.push("may get stuck".to_owned());
            }
        }
        Some(state) => {
            let (words, how) = standing(state, place);
            label.extend(words);
            color = how;
        }
    }
    Node { place, label, form, color }
}

fn undo_name(step: &StepShape) -> &'static str {
    step.undo.unwrap_or(step.name)
}

/// In words and color, how a saga stands at a place; nothing where it has not been.
fn standing(state: &SagaState, place: Place) -> (Option<String>, Option<Color>) {
    let branches_of = |step: StepIndex| state.steps.get(usize::from(step)).map_or(&[][..], Vec::as_slice);
    match place {
        Place::Start => (None, state.is_started().then_some(Color::Done)),
        Place::End(phase) => (None, (state.phase() == phase).then(|| color_of_end(phase))),
        Place::Action(step) => {
            sum_up(branches_of(step).iter().map(|branch| (action_status(branch), branch.attempt)))
        }
        Place::Undo(step) => {
            let undone = branches_of(step).iter().filter(|branch| branch.undo_attempt > 0);
            sum_up(undone.map(|branch| (undo_status(branch), branch.undo_attempt)))
        }
    }
}

const fn color_of_end(phase: Phase) -> Color {
    match phase {
        Phase::Succeeded => Color::Done,
        Phase::Abandoned => Color::Stuck,
        _ => Color::Gone,
    }
}

type Standing = (&'static str, Color);

/// How the action stands; of a branch that is being taken back only that it ran is known.
const fn action_status(branch: &BranchState) -> Standing {
    match branch.status {
        Status::Running => ("running", Color::Running),
        Status::Waiting => ("waiting to retry", Color::Waiting),
        Status::Done => ("done", Color::Done),
        Status::Failed => ("failed", Color::Failed),
        Status::Stuck => ("stuck", Color::Stuck),
        Status::Aborted => ("aborted", Color::Failed),
        Status::Skipped if branch.undo_attempt == 0 => ("skipped", Color::Done),
        _ => ("taken back", Color::Gone),
    }
}

const fn undo_status(branch: &BranchState) -> Standing {
    match branch.status {
        Status::Undoing => ("running", Color::Running),
        Status::UndoWaiting => ("waiting to retry", Color::Waiting),
        Status::UndoStuck => ("stuck", Color::Stuck),
        Status::Skipped => ("skipped", Color::Done),
        _ => ("done", Color::Done),
    }
}

/// `running`, or `3 done, 1 running` of several branches; the most urgent gives the color.
fn sum_up(branches: impl Iterator<Item = (Standing, u32)>) -> (Option<String>, Option<Color>) {
    let all: Vec<(Standing, u32)> = branches.collect();
    let mut words: Vec<&'static str> = Vec::new();
    for ((word, _), _) in &all {
        if !words.contains(word) {
            words.push(word);
        }
    }
    let count = |word: &str| all.iter().filter(|((other, _), _)| *other == word).count();
    let mut texts: Vec<String> = match (all.len(), words.as_slice()) {
        (0, _) => return (None, None),
        (1, [word]) => vec![(*word).to_owned()],
        _ => words.iter().map(|word| format!("{} {word}", count(word))).collect(),
    };
    let busy = |color: Color| matches!(color, Color::Running | Color::Waiting | Color::Stuck);
    let attempt = all.iter().filter(|((_, color), _)| busy(*color)).map(|(_, attempt)| *attempt).max();
    texts.extend(attempt.filter(|attempt| *attempt > 1).map(|attempt| format!("attempt {attempt}")));
    (Some(texts.join(", ")), all.iter().map(|((_, color), _)| *color).max())
}

fn way(from: Place, to: Place, why: &BTreeSet<Why>) -> Way {
    let line = match (from, to) {
        (_, Place::End(Phase::Abandoned)) => Line::Abandons,
        (Place::Undo(_), _) => Line::TakesBack,
        (_, Place::Undo(_) | Place::End(Phase::Compensated)) => Line::TurnsBack,
        _ => Line::GoesOn,
    };
    let words = [Why::Failed, Why::Cancel, Why::Deadline, Why::Skip];
    let text = |why: &Why| match why {
        Why::Failed => "failed",
        Why::Cancel => "cancel",
        Why::Deadline => "deadline",
        _ => "skip",
    };
    // The usual reasons are in the legend; a way that lacks some of them names those it has.
    let is_usual = match line {
        Line::GoesOn => why.contains(&Why::Done) || why.contains(&Why::Started),
        Line::TurnsBack => [Why::Failed, Why::Cancel, Why::Deadline].iter().all(|usual| why.contains(usual)),
        Line::TakesBack | Line::Abandons => true,
    };
    let label = if is_usual {
        String::new()
    } else {
        words.iter().filter(|word| why.contains(word)).map(text).collect::<Vec<_>>().join(", ")
    };
    Way { from, to, line, label }
}
