//! `holdfast key …`

use std::path::{Path, PathBuf};

use chunk_store::FileKeys;
use clap::Subcommand;
use runtime::Entropy;

use super::Session;
use crate::error::{Error, Exit};
use crate::output::tell;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Draws a master key into a new file that only its owner may read. Every datamover needs the same file.
    #[command(after_help = "Examples:\n  holdfast key create /etc/holdfast/master.key

Keep a copy in a safe place: without it no backup on the target can be read.")]
    Create {
        /// Where the key goes; nothing may be there yet.
        file: PathBuf,
    },
}

impl Verb {
    pub(super) fn run(self, _session: &Session<'_>) -> Result<(), Error> {
        let Self::Create { file } = self;
        create(&file)?;
        tell(&format!("holdfast: wrote {}; keep a copy in a safe place", file.display()));
        Ok(())
    }
}

/// Draws a key into a new file.
pub(super) fn create(file: &Path) -> Result<(), Error> {
    match FileKeys::create(file, &Entropy) {
        Ok(_) => Ok(()),
        Err(error @ chunk_store::Error::KeyFileExists { .. }) => {
            Err(Error::new(Exit::Refused, error.to_string()))
        }
        Err(error) => Err(Error::local(error.to_string())),
    }
}
