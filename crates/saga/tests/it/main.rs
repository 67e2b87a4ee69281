//! Tests of the saga machine and of what stands on it.

mod definitions;
mod machine;
mod model;
mod mutants;
mod outside;
mod pictures;
mod properties;
mod shapes;
