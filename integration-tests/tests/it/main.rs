//! The whole, with real processes around a real broker, on real disks. Each test has a Holdfast of its own.

mod actor_panics;
mod attached_volumes;
mod commits;
mod corruption;
mod dead_letters;
mod doctor;
mod doctor_limits;
mod drill;
mod facts;
mod failing_effects;
mod fixture;
mod full_disks;
mod host_leftovers;
mod intake;
mod kills;
mod leaving;
mod moments;
mod moved_instance;
mod nothing_held;
mod refusals;
mod resume;
mod saga_verbs;
mod snapshot_and_restore;
mod status;
mod stopped_mover;
