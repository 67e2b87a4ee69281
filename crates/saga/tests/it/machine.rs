//! Single stories, each a sentence.

use model::ErrorClass;
use saga::{
    Branch, Cause, Command, Direction, Event, Ignored, OperatorVerb, Phase, SagaState, StepIndex, step,
};

use crate::shapes::{self, Toy};

struct Story {
    toy: Toy,
    state: SagaState,
}

impl Story {
    fn of(toy: Toy) -> Self {
        let mut story = Self { toy, state: SagaState::new() };
        story.tell(Event::Started);
        story
    }

    #[track_caller]
    fn tell(&mut self, event: Event) -> Vec<Command> {
        let branches = |index| self.toy.branch_count(&self.state, index);
        let (state, commands) =
            step(&self.toy.shape, &self.state, &event, &branches).expect("takes the event");
        self.state = state;
        commands
    }

    #[track_caller]
    fn ignores(&self, event: Event, why: Ignored) {
        let branches = |index| self.toy.branch_count(&self.state, index);
        assert_eq!(step(&self.toy.shape, &self.state, &event, &branches), Err(why));
    }

    #[track_caller]
    fn succeed(&mut self, step: StepIndex, branch: Branch) -> Vec<Command> {
        let attempt = self.state.attempt(step, branch, Direction::Action);
        self.tell(Event::ActionSucceeded { step, branch, attempt })
    }

    #[track_caller]
    fn fail(
        &mut self,
        step: StepIndex,
        branch: Branch,
        class: ErrorClass,
        effect_free: bool,
    ) -> Vec<Command> {
        let attempt = self.state.attempt(step, branch, Direction::Action);
        self.tell(Event::ActionFailed { step, branch, attempt, class, effect_free })
    }

    #[track_caller]
    fn undone(&mut self, step: StepIndex, branch: Branch) -> Vec<Command> {
        let attempt = self.state.attempt(step, branch, Direction::Undo);
        self.tell(Event::UndoSucceeded { step, branch, attempt })
    }

    #[track_caller]
    fn check(&self, phase: Phase, words: &[&str]) {
        let view = self.state.view(&self.toy.shape);
        assert_eq!(view.phase, phase);
        assert_eq!(view.steps.iter().map(|step| step.status).collect::<Vec<_>>(), words);
    }
}

const fn run(step: StepIndex, branch: Branch, attempt: u32) -> Command {
    Command::RunAction { step, branch, attempt }
}

const fn undo(step: StepIndex, branch: Branch, attempt: u32) -> Command {
    Command::RunUndo { step, branch, attempt }
}

#[test]
fn branches_of_a_step_run_in_parallel_and_the_next_step_waits_for_all() {
    let mut story = Story { toy: shapes::fan_out(), state: SagaState::new() };
    assert_eq!(story.tell(Event::Started), [run(0, 0, 1), run(0, 1, 1)]);
    assert_eq!(story.succeed(0, 1), []);
    assert_eq!(story.succeed(0, 0), [run(1, 0, 1)]);
    assert_eq!(story.succeed(1, 0), [run(2, 0, 1)]);
    assert_eq!(story.succeed(2, 0), [run(3, 0, 1)]);
    assert_eq!(story.succeed(3, 0), [Command::Finish(Phase::Succeeded)]);
    story.check(Phase::Succeeded, &["done", "done", "done", "done"]);
    story.ignores(Event::Started, Ignored::Ended);
}

#[test]
fn a_step_without_branches_is_passed_at_once() {
    let mut story = Story::of(shapes::chain());
    assert_eq!(story.succeed(0, 0), [run(2, 0, 1)]);
    story.check(Phase::Forward, &["done", "nothing to do", "running", "pending", "pending"]);
}

#[test]
fn a_failure_for_good_stops_the_siblings_and_undoes_all_that_may_have_had_an_effect() {
    let mut story = Story::of(shapes::fan_out());
    let abort = Command::AbortAction { step: 0, branch: 0, attempt: 1 };
    assert_eq!(story.fail(0, 1, ErrorClass::Permanent, false), [abort, undo(0, 0, 1), undo(0, 1, 1)]);
    story.ignores(Event::ActionSucceeded { step: 0, branch: 0, attempt: 1 }, Ignored::Stale);
    assert_eq!(story.undone(0, 0), []);
    assert_eq!(story.undone(0, 1), [Command::Finish(Phase::Compensated)]);
    assert_eq!(story.state.cause(), Some(Cause::Failed { step: 0, branch: 1 }));
}

#[test]
fn what_is_proved_to_have_had_no_effect_is_not_undone() {
    let mut story = Story::of(shapes::fan_out());
    story.succeed(0, 0);
    assert_eq!(story.fail(0, 1, ErrorClass::Permanent, true), [undo(0, 0, 1)]);
    story.check(Phase::Backward, &["undoing", "pending", "pending", "pending"]);
}

#[test]
fn a_clean_last_attempt_does_not_vouch_for_an_earlier_one() {
    let mut story = Story::of(shapes::fan_out());
    story.succeed(0, 0);
    let direction = Direction::Action;
    let retry = Command::ScheduleRetry { step: 0, branch: 1, attempt: 1, direction };
    assert_eq!(story.fail(0, 1, ErrorClass::Fenced, false), [retry]);
    let due = Event::RetryDue { step: 0, branch: 1, attempt: 1, direction };
    story.ignores(Event::ActionSucceeded { step: 0, branch: 1, attempt: 1 }, Ignored::Stale);
    assert_eq!(story.tell(due), [run(0, 1, 2)]);
    story.ignores(due, Ignored::Stale);
    story.ignores(Event::ActionSucceeded { step: 0, branch: 1, attempt: 1 }, Ignored::Stale);
    story.ignores(Event::ActionSucceeded { step: 0, branch: 1, attempt: 3 }, Ignored::Senseless);
    assert_eq!(story.fail(0, 1, ErrorClass::Permanent, true), [undo(0, 0, 1), undo(0, 1, 1)]);
}

#[test]
fn a_settled_step_is_not_undone_and_an_unsettled_one_is() {
    let mut story = Story::of(shapes::freeze());
    story.succeed(0, 0);
    story.succeed(1, 0);
    let mut thaw_failed = Story { toy: story.toy.clone(), state: story.state.clone() };
    story.succeed(2, 0);
    assert_eq!(story.fail(3, 0, ErrorClass::Permanent, true), [undo(1, 0, 1)]);
    assert_eq!(story.undone(1, 0), [Command::Finish(Phase::Compensated)]);
    story.check(Phase::Compensated, &["settled", "undone", "done", "failed"]);
    assert_eq!(thaw_failed.fail(2, 0, ErrorClass::Permanent, false), [undo(1, 0, 1)]);
    assert_eq!(thaw_failed.undone(1, 0), [undo(0, 0, 1)]);
}

#[test]
fn laps_are_walked_one_after_the_other_and_back_in_reverse() {
    let mut story = Story { toy: shapes::laps(), state: SagaState::new() };
    assert_eq!(story.tell(Event::Started), [run(0, 0, 1)]);
    assert_eq!(story.succeed(0, 0), [run(1, 0, 1)]);
    assert_eq!(story.succeed(1, 0), [run(2, 0, 1)]);
    assert_eq!(story.succeed(2, 0), [run(0, 1, 1)]);
    let mut early = Story { toy: story.toy.clone(), state: story.state.clone() };
    assert_eq!(early.fail(0, 1, ErrorClass::Permanent, false), [undo(0, 1, 1)], "its own lap first");
    assert_eq!(early.undone(0, 1), [undo(2, 0, 1)]);
    assert_eq!(early.undone(2, 0), [Command::Finish(Phase::Compensated)], "the first guest is thawed");
    assert_eq!(story.succeed(0, 1), [run(1, 1, 1)]);
    assert_eq!(story.succeed(1, 1), [run(2, 1, 1)]);
    assert_eq!(story.succeed(2, 1), [run(3, 0, 1)]);
    assert_eq!(story.fail(3, 0, ErrorClass::Permanent, true), [undo(2, 1, 1)]);
    assert_eq!(story.undone(2, 1), [undo(2, 0, 1)]);
    assert_eq!(story.undone(2, 0), [Command::Finish(Phase::Compensated)]);
}

#[test]
fn only_the_branch_that_was_not_settled_is_undone() {
    let mut story = Story::of(shapes::freeze_two());
    story.succeed(0, 0);
    story.succeed(0, 1);
    story.succeed(1, 0);
    assert_eq!(story.fail(1, 1, ErrorClass::Permanent, false), [undo(0, 1, 1)]);
}

#[test]
fn a_cancel_is_obeyed_until_the_pivot_is_dispatched() {
    let mut story = Story::of(shapes::fan_out());
    story.succeed(0, 0);
    story.succeed(0, 1);
    let mut early = Story { toy: story.toy.clone(), state: story.state.clone() };
    let abort = Command::AbortAction { step: 1, branch: 0, attempt: 1 };
    assert_eq!(early.tell(Event::CancelRequested), [abort, undo(0, 0, 1), undo(0, 1, 1)]);
    early.check(Phase::Backward, &["undoing", "aborted", "pending", "pending"]);
    assert_eq!(early.state.cause(), Some(Cause::Cancelled));
    early.ignores(Event::CancelRequested, Ignored::TurnedBack);
    assert!(story.state.may_cancel(&story.toy.shape));
    story.succeed(1, 0);
    assert!(!story.state.may_cancel(&story.toy.shape));
    story.ignores(Event::CancelRequested, Ignored::TooLate);
}

#[test]
fn a_deadline_turns_back_until_the_pivot_is_dispatched_and_is_then_too_late() {
    let mut story = Story::of(shapes::fan_out());
    story.succeed(0, 0);
    story.succeed(0, 1);
    let mut early = Story { toy: story.toy.clone(), state: story.state.clone() };
    let abort = Command::AbortAction { step: 1, branch: 0, attempt: 1 };
    assert_eq!(early.tell(Event::DeadlinePassed), [abort, undo(0, 0, 1), undo(0, 1, 1)]);
    assert_eq!(early.state.cause(), Some(Cause::DeadlinePassed));
    early.ignores(Event::DeadlinePassed, Ignored::TurnedBack);
    early.ignores(Event::CancelRequested, Ignored::TurnedBack);
    story.succeed(1, 0);
    story.ignores(Event::DeadlinePassed, Ignored::TooLate);
}

#[test]
fn a_stuck_saga_is_tried_again_when_it_has_rested_and_no_other_is() {
    let mut story = story_at_pivot();
    story.succeed(3, 0);
    story.ignores(Event::StuckRetryDue, Ignored::NotStuck);
    story.fail(4, 0, ErrorClass::Permanent, true);
    assert_eq!(story.tell(Event::StuckRetryDue), [run(4, 0, 2)]);
    story.ignores(Event::StuckRetryDue, Ignored::NotStuck);
}

/// The leftovers as (step, branch, is an effect).
fn leftovers(story: &Story) -> Vec<(u16, u16, bool)> {
    let all = story.state.leftovers(&story.toy.shape, &|step| story.toy.branch_count(&story.state, step));
    all.into_iter().map(|left| (left.step, left.branch, left.direction == Direction::Undo)).collect()
}

#[test]
fn on_the_way_back_effects_are_left_and_behind_the_pivot_work() {
    let mut back = Story::of(shapes::no_pivot());
    back.succeed(0, 0);
    back.succeed(0, 1);
    back.tell(Event::CancelRequested);
    assert_eq!(leftovers(&back), [(0, 0, true), (0, 1, true), (1, 0, true)]);
    back.undone(1, 0);
    back.undone(0, 0);
    assert_eq!(leftovers(&back), [(0, 1, true)]);
    let mut forth = story_at_pivot();
    assert_eq!(
        leftovers(&forth),
        [(0, 0, true), (2, 0, true), (3, 0, false), (4, 0, false), (4, 1, false)],
        "a pivot in doubt"
    );
    forth.succeed(3, 0);
    forth.succeed(4, 1);
    assert_eq!(leftovers(&forth), [(4, 0, false)]);
    forth.succeed(4, 0);
    assert_eq!(leftovers(&forth), []);
}

#[test]
fn a_settled_effect_and_one_that_an_operator_saw_to_are_not_left() {
    let mut story = Story::of(shapes::freeze());
    for step in 0..3 {
        story.succeed(step, 0);
    }
    story.fail(3, 0, ErrorClass::Permanent, true);
    assert_eq!(leftovers(&story), [(1, 0, true)], "the thaw settled the freeze");
    let stuck = Event::UndoFailed { step: 1, branch: 0, attempt: 1, class: ErrorClass::Permanent };
    story.tell(stuck);
    story.tell(Event::Operator { verb: OperatorVerb::Skip });
    assert_eq!(leftovers(&story), []);
}

#[test]
fn a_saga_cancelled_before_its_start_never_starts() {
    let mut story = Story { toy: shapes::chain(), state: SagaState::new() };
    assert_eq!(story.tell(Event::CancelRequested), [Command::Finish(Phase::Compensated)]);
    story.ignores(Event::Started, Ignored::Ended);
}

fn story_at_pivot() -> Story {
    let mut story = Story::of(shapes::chain());
    story.succeed(0, 0);
    story.succeed(2, 0);
    story
}

#[test]
fn a_pivot_that_surely_did_not_happen_compensates() {
    let mut story = story_at_pivot();
    assert_eq!(story.fail(3, 0, ErrorClass::Permanent, true), [undo(2, 0, 1)]);
    assert_eq!(story.undone(2, 0), [undo(0, 0, 1)]);
    assert_eq!(story.undone(0, 0), [Command::Finish(Phase::Compensated)]);
}

#[test]
fn a_pivot_of_unknown_outcome_is_asked_again_beyond_any_budget_and_never_compensated() {
    let mut story = story_at_pivot();
    let direction = Direction::Action;
    for attempt in 1..10 {
        let retry = Command::ScheduleRetry { step: 3, branch: 0, attempt, direction };
        assert_eq!(story.fail(3, 0, ErrorClass::Indeterminate, attempt > 1), [retry]);
        story.tell(Event::RetryDue { step: 3, branch: 0, attempt, direction });
    }
    assert_eq!(story.fail(3, 0, ErrorClass::Permanent, true), [Command::Finish(Phase::Stuck)]);
    story.ignores(Event::CancelRequested, Ignored::TooLate);
    let verb = OperatorVerb::Skip;
    assert_eq!(story.tell(Event::Operator { verb }), [run(4, 0, 1), run(4, 1, 1)]);
    story.check(Phase::Forward, &["done", "nothing to do", "done", "skipped", "running"]);
}

#[test]
fn behind_the_pivot_one_stuck_branch_waits_for_an_operator_while_its_sibling_goes_on() {
    let mut story = story_at_pivot();
    story.succeed(3, 0);
    assert_eq!(story.fail(4, 0, ErrorClass::Bug, true), [Command::Finish(Phase::Stuck)]);
    story.check(Phase::Stuck, &["done", "nothing to do", "done", "done", "stuck"]);
    assert_eq!(story.succeed(4, 1), []);
    assert_eq!(story.tell(Event::Operator { verb: OperatorVerb::Retry }), [run(4, 0, 2)]);
    story.ignores(Event::Operator { verb: OperatorVerb::Retry }, Ignored::NotStuck);
    assert_eq!(story.succeed(4, 0), [Command::Finish(Phase::Succeeded)]);
}

#[test]
fn an_undo_is_tried_without_limit_and_gets_stuck_only_for_good() {
    let mut story = Story::of(shapes::no_pivot());
    story.tell(Event::CancelRequested);
    story.undone(0, 1);
    for attempt in 1..10 {
        let class = ErrorClass::Transient;
        let direction = Direction::Undo;
        let retry = Command::ScheduleRetry { step: 0, branch: 0, attempt, direction };
        assert_eq!(story.tell(Event::UndoFailed { step: 0, branch: 0, attempt, class }), [retry]);
        assert_eq!(
            story.tell(Event::RetryDue { step: 0, branch: 0, attempt, direction }),
            [undo(0, 0, attempt + 1)]
        );
    }
    let stuck = Event::UndoFailed { step: 0, branch: 0, attempt: 10, class: ErrorClass::Permanent };
    assert_eq!(story.tell(stuck), [Command::Finish(Phase::Stuck)]);
    let mut abandoned = Story { toy: story.toy.clone(), state: story.state.clone() };
    let verb = OperatorVerb::Skip;
    assert_eq!(story.tell(Event::Operator { verb }), [Command::Finish(Phase::Compensated)]);
    let verb = OperatorVerb::Abandon;
    assert_eq!(abandoned.tell(Event::Operator { verb }), [Command::Finish(Phase::Abandoned)]);
}

#[test]
fn an_event_that_names_what_never_was_is_senseless() {
    let story = Story::of(shapes::fan_out());
    for (step, branch) in [(9, 0), (0, 9), (1, 0)] {
        story.ignores(Event::ActionSucceeded { step, branch, attempt: 1 }, Ignored::Senseless);
    }
    story.ignores(Event::ActionSucceeded { step: 0, branch: 0, attempt: 0 }, Ignored::Senseless);
    story.ignores(Event::UndoSucceeded { step: 0, branch: 0, attempt: 1 }, Ignored::Senseless);
    story.ignores(Event::Operator { verb: OperatorVerb::Abandon }, Ignored::NotStuck);
}

#[test]
fn the_view_is_written_with_words() {
    let mut story = Story::of(shapes::fan_out());
    story.succeed(0, 1);
    let json = serde_json::to_value(story.state.view(&story.toy.shape)).unwrap();
    assert_eq!(json["phase"], "forward");
    assert_eq!(json["steps"][0]["branches"][0]["status"], "running");
    assert_eq!(json["steps"][0]["branches"][1]["status"], "done");
}
