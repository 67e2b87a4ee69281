//! What we tell of users' volumes.

/// What became of a volume on which a volume snapshot of ours lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VolumeFact {
    /// Nothing of ours lies on it any more.
    Freed,
    /// The same; and its cloud meant to delete it with its instance, which did not happen because of us.
    LeftBehind,
}

impl VolumeFact {
    pub const ALL: [Self; 2] = [Self::Freed, Self::LeftBehind];

    /// The word in facts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freed => "freed",
            Self::LeftBehind => "left_behind",
        }
    }
}
