//! The controller: its definitions played in memory, its engine over a real database with scripted workers, its REST API,
//! and its process between a real broker and a cloud in a folder.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod attached;
mod definitions;
mod engine;
mod facts;
mod false_changes;
mod harness;
mod host_leftovers;
mod identity;
mod leaving;
mod orders;
mod partial;
mod pictures;
mod process;
mod replies;
mod rest;
mod second_round;
mod stopping;

mod world;
mod world_leaving;
mod world_volumes;
