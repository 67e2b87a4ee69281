//! The wire contract: what was published once keeps its meaning.

mod golden;
mod parsing;
