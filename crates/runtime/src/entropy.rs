//! Randomness: ids and jitter.

use rand::Rng as _;
use uuid::Uuid;

/// Draws ids and jitter from the operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entropy;

impl Entropy {
    /// A uuid that sorts by time (version 7): good for primary keys and object names.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // this is the door
    pub fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// A number in `0.0..1.0`.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        rand::rng().random()
    }

    /// 32 random bytes, for keys.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        rand::rng().random()
    }
}
