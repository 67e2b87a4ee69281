//! All definitions, asked what every definition is asked, on the real machine.

use controller::sagas::base_release::{self, BaseRelease, NeedlessBase};
use controller::sagas::clearing;
use controller::sagas::leftover_sweep::{self, LeftoverSweep};
use controller::sagas::restore_new::{self, RestoreInstance, RestoreNew};
use controller::sagas::snapshot_create::{self, SnapshotCreate};
use controller::sagas::workload_delete::WorkloadDelete;
use controller::sagas::workload_reset::WorkloadReset;
use model::{
    InstanceId, LineageId, RestoreId, SagaId, SnapshotId, SnapshotKind, TargetId, VolumeId, WorkloadId,
    WorkloadType,
};
use saga::Saga;
use saga::check::{Case, World as SagaWorld};

use crate::world::{World, make_uuid};

fn make_snapshot() -> snapshot_create::Params {
    snapshot_create::Params {
        project_id: "acme".parse().unwrap(),
        workload_id: WorkloadId::from_uuid(make_uuid(1)),
        snapshot_id: SnapshotId::from_uuid(make_uuid(2)),
        target_id: TargetId::from_uuid(make_uuid(3)),
        kind: SnapshotKind::Incremental,
        instance_ids: vec![InstanceId::from_uuid(make_uuid(10)), InstanceId::from_uuid(make_uuid(11))],
    }
}

fn make_restore() -> restore_new::Params {
    let instance = |number, name: &str| RestoreInstance {
        instance_id: InstanceId::from_uuid(make_uuid(number)),
        new_name: name.to_owned(),
    };
    restore_new::Params {
        project_id: "acme".parse().unwrap(),
        workload_id: WorkloadId::from_uuid(make_uuid(1)),
        snapshot_id: SnapshotId::from_uuid(make_uuid(2)),
        restore_id: RestoreId::from_uuid(make_uuid(4)),
        target_id: TargetId::from_uuid(make_uuid(3)),
        one_click: false,
        instances: vec![instance(10, "web-new"), instance(11, "db-new")],
    }
}

fn snapshot_case(params: &snapshot_create::Params) -> Case<'_, SnapshotCreate, World> {
    Case { saga_id: SagaId::from_uuid(make_uuid(5)), params, make_world: World::with_local_disks }
}

fn lossy_case(params: &snapshot_create::Params) -> Case<'_, SnapshotCreate, World> {
    Case { make_world: World::with_a_loss, ..snapshot_case(params) }
}

/// Each way in which an instance may fail while the others go on.
fn partial_cases(params: &snapshot_create::Params) -> Vec<Case<'_, SnapshotCreate, World>> {
    partial_cases_of(params, &PARTIAL_WORLDS)
}

fn partial_cases_of<'a>(
    params: &'a snapshot_create::Params,
    worlds: &[fn() -> World],
) -> Vec<Case<'a, SnapshotCreate, World>> {
    worlds.iter().map(|make_world| Case { make_world: *make_world, ..snapshot_case(params) }).collect()
}

const PARTIAL_WORLDS: [fn() -> World; 12] = [
    || World::with_a_break("describe_instance", "INSTANCE_IN_ERROR"),
    || World::with_a_break("freeze_guest", "INSTANCE_NOT_FOUND"),
    || World::with_a_break("cut_disks", "CUT_FAILED"),
    || World::with_a_break("create_volume_snapshot", "VOLUME_IN_ERROR"),
    || World::with_a_break("thaw_guest", "HOST_NOT_ENROLLED"),
    || World::with_a_break("transfer_disk", "SOURCE_READ_FAILED"),
    || World::with_a_break("transfer_disk", "POINT_IN_TIME_LOST"),
    || World::with_a_break("verify_manifest", "PACK_MISSING"),
    World::with_a_loss_and_a_break,
    || World::with_a_break("describe_connector", "CONNECTOR_OFF"),
    || World::with_a_break("create_volume", "VOLUME_FAILED"),
    || World::with_a_break("attach_volume", "ATTACHMENT_FAILED"),
];

fn in_turn(mut world: World) -> World {
    world.workload_type = WorkloadType::Serial;
    world
}

/// The same of a serial workload, whose first instance fails.
const SERIAL_WORLDS: [fn() -> World; 12] = [
    || in_turn(PARTIAL_WORLDS[0]()),
    || in_turn(PARTIAL_WORLDS[1]()),
    || in_turn(PARTIAL_WORLDS[2]()),
    || in_turn(PARTIAL_WORLDS[3]()),
    || in_turn(PARTIAL_WORLDS[4]()),
    || in_turn(PARTIAL_WORLDS[5]()),
    || in_turn(PARTIAL_WORLDS[6]()),
    || in_turn(PARTIAL_WORLDS[7]()),
    || in_turn(PARTIAL_WORLDS[8]()),
    || in_turn(PARTIAL_WORLDS[9]()),
    || in_turn(PARTIAL_WORLDS[10]()),
    || in_turn(PARTIAL_WORLDS[11]()),
];

fn make_serial() -> World {
    let mut world = World::with_a_loss();
    world.workload_type = WorkloadType::Serial;
    world
}

fn serial_case(params: &snapshot_create::Params) -> Case<'_, SnapshotCreate, World> {
    Case { make_world: make_serial, ..snapshot_case(params) }
}

/// One of four that is well, and three with another fate each.
fn make_every_fate() -> World {
    let mut world = World::with_local_disks().with_every_fate();
    world.allow_partial = true;
    world.workload_type = WorkloadType::Serial;
    world
}

fn restore_case(params: &restore_new::Params) -> Case<'_, RestoreNew, World> {
    Case { saga_id: SagaId::from_uuid(make_uuid(6)), params, make_world: World::with_agents }
}

#[test]
fn a_snapshot_leaves_its_records_and_transfers_and_nothing_else() {
    let played = snapshot_case(&make_snapshot()).play();
    let is_kept =
        |thing: &str| ["record ", "transfer ", "begun", "leases"].iter().any(|kind| thing.starts_with(kind));
    assert!(played.world.things().iter().all(|thing| is_kept(thing)), "{:?}", played.world.things());
    let markers = played.world.things().iter().filter(|thing| thing.ends_with("/snapshot.json")).count();
    assert_eq!(markers, 6, "one marker per disk");
}

#[test]
fn a_lost_point_in_time_leaves_no_more_than_another() {
    let (smooth, lossy) = (snapshot_case(&make_snapshot()).play(), lossy_case(&make_snapshot()).play());
    assert_eq!(lossy.world.things(), smooth.world.things());
}

#[test]
fn each_step_of_a_snapshot_can_fail() {
    snapshot_case(&make_snapshot()).check_each_step_can_fail();
    lossy_case(&make_snapshot()).check_each_step_can_fail();
}

#[test]
fn steps_of_a_snapshot_can_repeat() {
    snapshot_case(&make_snapshot()).check_steps_can_repeat();
    lossy_case(&make_snapshot()).check_steps_can_repeat();
}

#[test]
fn compensations_of_a_snapshot_can_repeat() {
    snapshot_case(&make_snapshot()).check_compensations_can_repeat();
    lossy_case(&make_snapshot()).check_compensations_can_repeat();
}

#[test]
fn a_snapshot_survives_a_crash_or_a_cancel_after_each_event() {
    snapshot_case(&make_snapshot()).check_crash_after_each_event();
    lossy_case(&make_snapshot()).check_crash_after_each_event();
}

#[test]
fn an_instance_that_is_left_out_leaves_nothing_however_it_failed() {
    let params = make_snapshot();
    let mut others = params.clone();
    others.instance_ids.remove(0);
    let alone = snapshot_case(&others).play().world.things();
    for case in partial_cases(&params) {
        let played = case.play();
        assert_eq!(played.world.things(), alone, "{:?}", played.world.breaks);
    }
}

#[test]
fn an_instance_that_fails_in_the_middle_of_its_lap_does_not_let_the_next_one_into_it() {
    let params = make_snapshot();
    let mut others = params.clone();
    others.instance_ids.remove(0);
    let alone = snapshot_case(&others).play().world.things();
    for case in partial_cases_of(&params, &SERIAL_WORLDS) {
        let played = case.play();
        assert_eq!(played.world.things(), alone, "{:?}", played.world.breaks);
    }
}

/// Those that differ most: the others are as these up to where they fail.
fn chosen_cases(params: &snapshot_create::Params) -> Vec<Case<'_, SnapshotCreate, World>> {
    let cases = partial_cases(params).into_iter().enumerate();
    cases.filter(|(number, _)| [0, 5, 8].contains(number)).map(|(_, case)| case).collect()
}

#[test]
fn each_step_of_a_partial_snapshot_can_fail() {
    chosen_cases(&make_snapshot()).iter().for_each(Case::check_each_step_can_fail);
}

#[test]
fn steps_and_compensations_of_a_partial_snapshot_can_repeat() {
    for case in chosen_cases(&make_snapshot()) {
        case.check_steps_can_repeat();
        case.check_compensations_can_repeat();
    }
}

#[test]
fn a_partial_snapshot_survives_a_crash_or_a_cancel_after_each_event() {
    chosen_cases(&make_snapshot()).iter().for_each(Case::check_crash_after_each_event);
}

#[test]
fn a_serial_snapshot_leaves_no_more_than_a_parallel_one_and_bears_the_same() {
    let params = make_snapshot();
    let (serial, parallel) = (serial_case(&params).play(), lossy_case(&params).play());
    assert_eq!(serial.world.things(), parallel.world.things());
    serial_case(&params).check_each_step_can_fail();
    serial_case(&params).check_steps_can_repeat();
    serial_case(&params).check_compensations_can_repeat();
    serial_case(&params).check_crash_after_each_event();
}

#[test]
fn a_serial_snapshot_with_every_fate_of_an_instance_keeps_those_that_are_left() {
    let instance_ids = (10..14).map(|number| InstanceId::from_uuid(make_uuid(number))).collect();
    let params = snapshot_create::Params { instance_ids, ..make_snapshot() };
    let case = Case { make_world: make_every_fate, ..snapshot_case(&params) };
    let transfers = case.play().world.things().iter().filter(|thing| thing.starts_with("transfer ")).count();
    assert_eq!(transfers, 6, "of two instances");
    case.check_steps_can_repeat();
}

#[test]
fn a_restore_leaves_instances_with_their_volumes() {
    let played = restore_case(&make_restore()).play();
    let count = |kind: &str| played.world.things().iter().filter(|thing| thing.starts_with(kind)).count();
    assert_eq!((count("instance "), count("volume ")), (2, 4));
}

#[test]
fn each_step_of_a_restore_can_fail() {
    restore_case(&make_restore()).check_each_step_can_fail();
}

#[test]
fn steps_of_a_restore_can_repeat() {
    restore_case(&make_restore()).check_steps_can_repeat();
}

#[test]
fn compensations_of_a_restore_can_repeat() {
    restore_case(&make_restore()).check_compensations_can_repeat();
}

#[test]
fn a_restore_survives_a_crash_or_a_cancel_after_each_event() {
    restore_case(&make_restore()).check_crash_after_each_event();
}

fn make_clearing() -> clearing::Params {
    let workload_id = WorkloadId::from_uuid(make_uuid(1));
    clearing::Params { project_id: "acme".parse().unwrap(), workload_id, database_only: false }
}

fn make_release() -> base_release::Params {
    let base = |number| NeedlessBase {
        lineage_id: LineageId::from_uuid(make_uuid(number)),
        tag: format!("saga/step/{number}"),
        volume_id: VolumeId::from_uuid(make_uuid(number)),
        volume_name: "data".to_owned(),
        instance_id: InstanceId::from_uuid(make_uuid(10)),
        why: "the volume is not attached any more".to_owned(),
        is_left_behind: false,
    };
    base_release::Params {
        project_id: "acme".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        workload_id: WorkloadId::from_uuid(make_uuid(1)),
        bases: vec![base(0), base(1)],
    }
}

/// Sagas that only take away: nothing of theirs is left at any end.
#[track_caller]
fn check_all<S: Saga>(params: &S::Params)
where
    World: SagaWorld<S>,
{
    let saga_id = SagaId::from_uuid(make_uuid(7));
    let case = Case::<S, World> { saga_id, params, make_world: World::with_agents };
    assert_eq!(case.play().world.things(), Vec::<String>::new());
    case.check_each_step_can_fail();
    case.check_steps_can_repeat();
    case.check_compensations_can_repeat();
    case.check_crash_after_each_event();
}

#[test]
fn a_reset_fails_repeats_and_crashes_well_at_each_step() {
    check_all::<WorkloadReset>(&make_clearing());
    check_all::<WorkloadReset>(&clearing::Params { database_only: true, ..make_clearing() });
}

#[test]
fn a_deletion_fails_repeats_and_crashes_well_at_each_step() {
    check_all::<WorkloadDelete>(&make_clearing());
    check_all::<WorkloadDelete>(&clearing::Params { database_only: true, ..make_clearing() });
}

#[test]
fn a_release_of_bases_fails_repeats_and_crashes_well_at_each_step() {
    check_all::<BaseRelease>(&make_release());
}

#[test]
fn a_sweep_of_leftovers_fails_repeats_and_crashes_well_at_each_step() {
    let owner = model::Owner { project_id: "acme".parse().unwrap(), user_id: "alice".parse().unwrap() };
    check_all::<LeftoverSweep>(&leftover_sweep::Params {
        project_id: "acme".parse().unwrap(),
        owners: vec![owner],
        age_min_seconds: 0,
        is_removed: true,
        is_by_itself: false,
        hosts: vec!["node-1".parse().unwrap(), "node-2".parse().unwrap()],
        silent_hosts: Vec::new(),
    });
}
