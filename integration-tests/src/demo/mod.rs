//! `make demo`: Holdfast's main job on this machine's own files, with an account that comes from comparing bytes.

mod account;
mod queues;
mod stage;
mod story;

pub use story::run;
