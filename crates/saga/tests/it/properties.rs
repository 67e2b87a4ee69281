//! Any event in any state: nothing panics, a state survives the catalog, and twice is as once.

use model::ErrorClass;
use proptest::prelude::*;
use saga::{Command, Direction, Event, OperatorVerb, SagaState, step};

use crate::shapes::{self, Toy};

const CLASSES: [ErrorClass; 8] = [
    ErrorClass::Transient,
    ErrorClass::Throttled,
    ErrorClass::Contention,
    ErrorClass::Indeterminate,
    ErrorClass::Permanent,
    ErrorClass::Bug,
    ErrorClass::Cancelled,
    ErrorClass::Fenced,
];

fn any_class() -> impl Strategy<Value = ErrorClass> {
    prop::sample::select(CLASSES.to_vec())
}

/// Also of steps, branches and attempts that never were.
fn any_event() -> impl Strategy<Value = Event> {
    let at = (0u16..6, 0u16..3, 0u32..4);
    prop_oneof![
        1 => Just(Event::Started),
        8 => at.clone().prop_map(|(step, branch, attempt)| Event::ActionSucceeded { step, branch, attempt }),
        4 => (at.clone(), any_class(), any::<bool>()).prop_map(|((step, branch, attempt), class, effect_free)| {
            Event::ActionFailed { step, branch, attempt, class, effect_free }
        }),
        6 => at.clone().prop_map(|(step, branch, attempt)| Event::UndoSucceeded { step, branch, attempt }),
        2 => (at.clone(), any_class()).prop_map(|((step, branch, attempt), class)| {
            Event::UndoFailed { step, branch, attempt, class }
        }),
        4 => (at, any::<bool>()).prop_map(|((step, branch, attempt), undo)| {
            let direction = if undo { Direction::Undo } else { Direction::Action };
            Event::RetryDue { step, branch, attempt, direction }
        }),
        1 => Just(Event::CancelRequested),
        1 => Just(Event::DeadlinePassed),
        1 => Just(Event::StuckRetryDue),
        1 => prop::sample::select(OperatorVerb::ALL.to_vec())
            .prop_map(|verb| Event::Operator { verb }),
    ]
}

fn any_toy() -> impl Strategy<Value = Toy> {
    prop::sample::select(shapes::all())
}

fn fold(toy: &Toy, events: &[Event]) -> (SagaState, Vec<Command>) {
    let mut folded = (SagaState::new(), Vec::new());
    for event in events {
        if let Ok((state, commands)) =
            step(&toy.shape, &folded.0, event, &|index| toy.branch_count(&folded.0, index))
        {
            folded.0 = state;
            folded.1.extend(commands);
        }
    }
    folded
}

/// An answer to something the saga asked for, so that histories get somewhere.
fn answer(command: Command, choice: u8) -> Option<Event> {
    let class = CLASSES[usize::from(choice / 32)];
    match (command, choice % 4) {
        (Command::RunAction { step, branch, attempt }, 0) => {
            let effect_free = choice.is_multiple_of(8);
            Some(Event::ActionFailed { step, branch, attempt, class, effect_free })
        }
        (Command::RunAction { step, branch, attempt }, _) => {
            Some(Event::ActionSucceeded { step, branch, attempt })
        }
        (Command::RunUndo { step, branch, attempt }, 0) => {
            Some(Event::UndoFailed { step, branch, attempt, class })
        }
        (Command::RunUndo { step, branch, attempt }, _) => {
            Some(Event::UndoSucceeded { step, branch, attempt })
        }
        (Command::ScheduleRetry { step, branch, attempt, direction }, _) => {
            Some(Event::RetryDue { step, branch, attempt, direction })
        }
        (Command::AbortAction { .. } | Command::Finish(_), _) => None,
    }
}

/// Plays a saga with random answers, random noise between them, and every event twice if `twice`.
fn play(toy: &Toy, choices: &[(u8, Event)], twice: bool) -> Vec<(SagaState, Vec<Command>)> {
    let mut moves = vec![(SagaState::new(), Vec::new())];
    let mut outstanding = vec![];
    let mut take = |event: Event, outstanding: &mut Vec<Command>| {
        for _ in 0..if twice { 2 } else { 1 } {
            let state = &moves.last().expect("there is a first").0;
            if let Ok((state, commands)) =
                step(&toy.shape, state, &event, &|index| toy.branch_count(state, index))
            {
                outstanding.extend(commands.iter().copied());
                moves.push((state, commands));
            }
        }
    };
    take(Event::Started, &mut outstanding);
    for (choice, noise) in choices {
        take(*noise, &mut outstanding);
        if !outstanding.is_empty() {
            let command = outstanding.swap_remove(usize::from(*choice) % outstanding.len());
            if let Some(event) = answer(command, *choice) {
                take(event, &mut outstanding);
            }
        }
    }
    moves
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_panics(toy in any_toy(), events in prop::collection::vec(any_event(), 0..60)) {
        fold(&toy, &events);
    }

    #[test]
    fn an_event_that_comes_twice_at_once_is_as_one(
        toy in any_toy(),
        choices in prop::collection::vec((any::<u8>(), any_event()), 0..60),
    ) {
        prop_assert_eq!(play(&toy, &choices, false), play(&toy, &choices, true));
    }

    #[test]
    fn a_state_is_read_back_from_the_catalog_as_it_was(
        toy in any_toy(),
        choices in prop::collection::vec((any::<u8>(), any_event()), 0..60),
    ) {
        for (state, _) in play(&toy, &choices, false) {
            let stored = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(serde_json::from_str::<SagaState>(&stored).unwrap(), state);
        }
    }

    #[test]
    fn an_event_is_read_back_from_the_log_as_it_was(event in any_event()) {
        let stored = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&stored).unwrap(), event);
    }

    #[test]
    fn what_ended_stays_as_it_is(
        toy in any_toy(),
        choices in prop::collection::vec((any::<u8>(), any_event()), 0..200),
        late in any_event(),
    ) {
        let (state, _) = play(&toy, &choices, false).pop().expect("there is a first");
        if state.phase().is_end() {
            let answer = step(&toy.shape, &state, &late, &|index| toy.branch_count(&state, index));
            prop_assert_eq!(answer, Err(saga::Ignored::Ended));
        }
    }
}
