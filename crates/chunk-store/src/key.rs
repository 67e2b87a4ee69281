//! Where keys come from: a port, and a key file behind it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use model::LineageId;
use runtime::Entropy;
use secrecy::{ExposeSecret as _, SecretBox};
use target_format::Digest;

use crate::Error;

/// Written in front of the key, so that a later format can be told apart.
const FILE_HEADER: &str = "holdfast-key 0";
/// Separates this key from others derived of the same master. BLAKE3 asks for a context that occurs nowhere else.
const HASH_CONTEXT: &str = "holdfast 2026 lineage chunk hash key v0";
const ID_CONTEXT: &str = "holdfast 2026 lineage key id v0";

/// Gives the key of a lineage.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// Errors: the source has none for this lineage, or cannot be read.
    fn lineage_key(&self, lineage: LineageId) -> Result<LineageKey, Error>;
}

/// What digests of one lineage are keyed with, so that who owns the target cannot test for known content.
#[derive(Clone)]
pub struct LineageKey {
    hash_key: Arc<SecretBox<[u8; 32]>>,
}

impl LineageKey {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub fn new(hash_key: [u8; 32]) -> Self {
        Self { hash_key: Arc::new(SecretBox::new(Box::new(hash_key))) }
    }

    /// The keyed digest of a chunk's plaintext.
    pub(crate) fn digest(&self, plain: &[u8]) -> Digest {
        blake3::keyed_hash(self.hash_key.expose_secret(), plain).into()
    }

    /// Tells two keys apart without telling anything of them; written in manifests.
    pub(crate) fn id(&self) -> [u8; 16] {
        let derived = blake3::derive_key(ID_CONTEXT, self.hash_key.expose_secret());
        std::array::from_fn(|index| derived[index])
    }
}

impl fmt::Debug for LineageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineageKey(..)")
    }
}

/// Derives the key of every lineage from a master key in a file that only its owner may read.
#[derive(Clone)]
pub struct FileKeys {
    master: Arc<SecretBox<[u8; 32]>>,
}

impl FileKeys {
    /// Draws a master key and writes it to a new file with mode 0600.
    ///
    /// Errors: `KeyFileExists`: a key is never overwritten, as what it protects would be lost.
    pub fn create(path: &Path, entropy: &Entropy) -> Result<Self, Error> {
        let write = |master: &[u8; 32]| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(format!("{FILE_HEADER}\n{}\n", Digest::new(*master)).as_bytes())?;
            file.sync_all()
        };
        let master = entropy.key();
        match write(&master) {
            Ok(()) => Ok(Self::from_master(master)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::KeyFileExists { path: path.to_owned() })
            }
            Err(source) => Err(Error::KeyFileIo { path: path.to_owned(), source }),
        }
    }

    /// Reads the master key.
    ///
    /// Errors: `KeyFileMissing`, `KeyFileMode` when others than the owner may read or write it, `KeyFileInvalid`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::KeyFileMissing { path: path.to_owned() },
            _ => Error::KeyFileIo { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o177 != 0 {
            return Err(Error::KeyFileMode { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(1024).read_to_string(&mut text).map_err(failed)?;
        let master = parse(&text).ok_or_else(|| Error::KeyFileInvalid { path: path.to_owned() })?;
        Ok(Self::from_master(master))
    }

    fn from_master(master: [u8; 32]) -> Self {
        Self { master: Arc::new(SecretBox::new(Box::new(master))) }
    }
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let mut lines = text.lines();
    if lines.next() != Some(FILE_HEADER) {
        return None;
    }
    let key: Digest = lines.next()?.trim_end().parse().ok()?;
    lines.all(|line| line.trim().is_empty()).then_some(*key.as_bytes())
}

impl KeySource for FileKeys {
    fn lineage_key(&self, lineage: LineageId) -> Result<LineageKey, Error> {
        // The master is key material, the lineage its salt: two lineages of one disk image share no digest.
        let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
        hasher.update(self.master.expose_secret());
        hasher.update(lineage.uuid().as_bytes());
        Ok(LineageKey::new(hasher.finalize().into()))
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKeys(..)")
    }
}
