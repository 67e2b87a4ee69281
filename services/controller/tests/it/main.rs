//! The controller's sagas and engine, without a broker: the definitions played in memory, and the engine over a real
//! database with scripted workers.

mod definitions;
mod engine;
mod harness;
mod rest;
mod orders;
mod process;
mod world;
