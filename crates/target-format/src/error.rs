//! Why bytes from a target cannot be read.

/// What is wrong with the bytes. The caller knows which object they came from and says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the {noun} is damaged: {reason}")]
    Damaged { noun: &'static str, reason: &'static str },
    #[error("the {noun} has format {version}, and this program reads format {}", crate::FORMAT_VERSION)]
    Version { noun: &'static str, version: u32 },
    #[error("the {noun} cannot be read: {reason}")]
    Record { noun: &'static str, reason: String },
}

impl Error {
    pub(crate) const fn damaged(noun: &'static str, reason: &'static str) -> Self {
        Self::Damaged { noun, reason }
    }
}
