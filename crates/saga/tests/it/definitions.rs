//! Typed definitions, put to the questions; and definitions that are wrong, which the questions find out.

use std::collections::BTreeMap;
use std::time::Duration;

use saga::check::{Case, World};
use saga::{Branch, Ctx, Definition, ErasedSaga as _, Registry, Saga, ShapeError, Step, Steps};
use serde::{Deserialize, Serialize};

/// Builds rooms, furnishes them, and gives out the keys.
#[derive(Debug)]
struct House;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    rooms: Branch,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Facts {
    walls: BTreeMap<Branch, String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Request {
    Make(String),
    Remove(String),
}

impl Saga for House {
    const KIND: &'static str = "house";
    const VERSION: u32 = 3;
    const DEADLINE: Duration = Duration::from_secs(3600);
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = String;

    fn steps() -> Steps<Self> {
        Steps::new()
            .step(build(true))
            .step(
                Step::new("furnish")
                    .branches(|_, facts: &Facts| {
                        Branch::try_from(facts.walls.len()).expect("a house is small")
                    })
                    .action(|ctx: &Ctx<'_, House>, branch| {
                        Request::Make(format!("chair in {}", ctx.facts.walls[&branch]))
                    })
                    .undo("clear", |ctx: &Ctx<'_, House>, branch| {
                        Request::Remove(format!("chair in {}", ctx.facts.walls[&branch]))
                    })
                    .attempts_max(2),
            )
            .pivot(Step::new("hand_over").action(|_, _| Request::Make("key".to_owned())))
            .forward(Step::new("celebrate").action(|_, _| Request::Make("party".to_owned())))
    }
}

fn build<S: Saga<Params = Params, Facts = Facts, Request = Request, Output = String>>(undo: bool) -> Step<S> {
    let step = Step::new("build")
        .branches(|params: &Params, _| params.rooms)
        .action(|ctx, branch| Request::Make(format!("{} room {branch}", ctx.step)))
        .learn(|facts: &mut Facts, branch, output: &String| {
            facts.walls.insert(branch, output.clone());
        });
    if undo {
        step.undo("tear_down", |_, branch| Request::Remove(format!("build room {branch}")))
    } else {
        step
    }
}

#[derive(Debug, Default)]
struct Site(Vec<String>);

impl<S: Saga<Request = Request, Output = String>> World<S> for Site {
    fn act(&mut self, _: &'static str, _: Branch, request: Request) -> String {
        let Request::Make(thing) = request else { panic!("an action removes: {request:?}") };
        if !self.0.contains(&thing) {
            self.0.push(thing.clone());
        }
        thing
    }

    fn undo(&mut self, _: &'static str, _: Branch, request: Request) {
        let Request::Remove(thing) = request else { panic!("a compensation makes: {request:?}") };
        self.0.retain(|there| *there != thing);
    }

    fn leftovers(&self) -> Vec<String> {
        self.0.clone()
    }
}

const PARAMS: Params = Params { rooms: 2 };

fn make_case<S: Saga<Params = Params>>() -> Case<'static, S, Site> {
    let saga_id = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().expect("is a uuid");
    Case { saga_id, params: &PARAMS, make_world: Site::default }
}

#[test]
fn a_sound_definition_passes_every_question() {
    let case = make_case::<House>();
    let played = case.play();
    assert_eq!(played.dispatched, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0)]);
    assert_eq!(played.world.0.len(), 6);
    case.check_each_step_can_fail();
    case.check_steps_can_repeat();
    case.check_compensations_can_repeat();
    case.check_crash_after_each_event();
}

/// As [`House`], but nothing tears the rooms down.
#[derive(Debug)]
struct Ruin;

impl Saga for Ruin {
    const KIND: &'static str = "ruin";
    const VERSION: u32 = 1;
    const DEADLINE: Duration = Duration::from_secs(3600);
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = String;

    fn steps() -> Steps<Self> {
        Steps::new()
            .step(build(false))
            .pivot(Step::new("hand_over").action(|_, _| Request::Make("key".to_owned())))
    }
}

#[test]
#[should_panic(expected = "compensated and left")]
fn a_missing_compensation_is_found() {
    make_case::<Ruin>().check_each_step_can_fail();
}

#[test]
#[should_panic(expected = "compensated and left")]
fn a_cancel_finds_it_too() {
    make_case::<Ruin>().check_crash_after_each_event();
}

#[test]
fn a_registry_finds_a_definition_by_kind_and_version() {
    let registry = Registry::<Request, String>::new().with::<House>().unwrap().with::<Ruin>().unwrap();
    let house = registry.get("house", 3).expect("is registered");
    assert_eq!(house.shape().steps[0].undo, Some("tear_down"));
    assert_eq!(house.shape().steps[1].attempts_max, 2);
    assert!(registry.get("house", 2).is_none());
    assert_eq!(registry.iter().map(|saga| saga.kind()).collect::<Vec<_>>(), ["house", "ruin"]);
}

#[test]
fn facts_are_learned_and_kept_as_json() {
    let definition = Definition::<House>::new().unwrap();
    let facts = definition.facts_initial_json().unwrap();
    let saga_id = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap();
    let mut loaded = definition.load(saga_id, r#"{"rooms":1}"#, &facts).unwrap();
    assert_eq!(loaded.action(0, 0), Request::Make("build room 0".to_owned()));
    loaded.learn(0, 0, &"brick".to_owned());
    assert_eq!(loaded.branches(1), 1);
    assert_eq!(loaded.undo(1, 0), Request::Remove("chair in brick".to_owned()));
    assert_eq!(loaded.facts_json().unwrap(), r#"{"walls":{"0":"brick"}}"#);
}

#[test]
fn kept_data_that_do_not_fit_are_refused_by_name() {
    let definition = Definition::<House>::new().unwrap();
    let saga_id = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap();
    let refused = definition.load(saga_id, "{}", "{}").err().expect("is refused");
    assert_eq!(refused.to_string(), "the parameters of a saga house version 3 cannot be read");
}

/// A step without an action, and one that settles nothing there is.
#[derive(Debug)]
struct Hollow;

impl Saga for Hollow {
    const KIND: &'static str = "hollow";
    const VERSION: u32 = 1;
    const DEADLINE: Duration = Duration::from_secs(3600);
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = String;

    fn steps() -> Steps<Self> {
        Steps::new().step(Step::new("nothing"))
    }
}

#[test]
fn a_step_without_an_action_is_no_step() {
    let refused = Definition::<Hollow>::new().unwrap_err();
    assert_eq!(refused, ShapeError::NoAction { kind: "hollow", step: "nothing" });
}
