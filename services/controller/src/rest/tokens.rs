//! Tokens from a file, for sites without Keystone: each names its user, project and roles.
//!
//! ```toml
//! [[token]]
//! token = "at least 16 characters, for example from: openssl rand -hex 24"
//! user = "alice"
//! project = "acme"
//! roles = ["member"]
//! ```

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use model::{ProjectId, UserId};
use runtime::Entropy;
use serde::Deserialize;

use super::Authenticator;
use crate::app::{Caller, Error, Role};

/// Shorter ones can be guessed.
const TOKEN_LENGTH_MIN: usize = 16;

/// The tokens of a file, kept as digests under a key of this process.
pub struct TokensFile {
    key: [u8; 32],
    entries: Vec<(blake3::Hash, Caller)>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error("failed to read the tokens file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the tokens file {} may be read by others (mode {mode:o}): run chmod 600 on it", path.display())]
    Mode { path: PathBuf, mode: u32 },
    /// The reason never quotes the file.
    #[error("the tokens file {} is not valid: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

/// Not `Debug`: it holds a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    token: String,
    user: UserId,
    project: ProjectId,
    roles: Vec<String>,
}

impl TokensFile {
    /// Reads the file; its mode must be 0600 or less.
    pub fn open(path: &Path) -> Result<Self, TokensError> {
        let read_error = |source| TokensError::Read { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(read_error)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokensError::Mode { path: path.to_owned(), mode });
        }
        let text = std::fs::read_to_string(path).map_err(read_error)?;
        Self::parse(&text).map_err(|reason| TokensError::Invalid { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            // The error's own text quotes the line, and the line may be a token.
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        })?;
        let key = Entropy.key();
        let mut entries: Vec<(blake3::Hash, Caller)> = Vec::with_capacity(file.token.len());
        for (index, entry) in file.token.into_iter().enumerate() {
            let place = format!("[[token]] number {}", index + 1);
            let token = entry.token.as_str();
            if token.len() < TOKEN_LENGTH_MIN {
                return Err(format!("{place}: the token is shorter than {TOKEN_LENGTH_MIN} characters"));
            }
            let digest = blake3::keyed_hash(&key, token.as_bytes());
            if entries.iter().any(|(other, _)| *other == digest) {
                return Err(format!("{place}: the same token is there already"));
            }
            let roles: Result<BTreeSet<Role>, String> = entry.roles.iter().map(|role| role.parse()).collect();
            let mut roles = roles.map_err(|reason| format!("{place}: {reason}"))?;
            // Without a cloud that lends rights an administrator's own do for writing.
            if roles.contains(&Role::Admin) {
                roles.insert(Role::Member);
            }
            entries.push((digest, Caller::new(entry.user, entry.project, roles)));
        }
        Ok(Self { key, entries })
    }
}

impl std::fmt::Debug for TokensFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokensFile").field("token_count", &self.entries.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Authenticator for TokensFile {
    async fn authenticate(&self, token: &str) -> Result<Option<Caller>, Error> {
        let digest = blake3::keyed_hash(&self.key, token.as_bytes());
        // `blake3::Hash` compares in constant time, and every entry is looked at.
        let mut found = None;
        for (known, caller) in &self.entries {
            if *known == digest {
                found = Some(caller);
            }
        }
        Ok(found.cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[token]]\ntoken = \"0123456789abcdef\"\nuser = \"alice\"\nproject = \"acme\"\nroles = [\"member\"]\n";

    #[tokio::test]
    async fn a_known_token_gives_its_caller_and_another_nothing() {
        let tokens = TokensFile::parse(GOOD).unwrap();
        let caller = tokens.authenticate("0123456789abcdef").await.unwrap().unwrap();
        assert_eq!((caller.user.as_str(), caller.project.as_str()), ("alice", "acme"));
        for token in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert!(tokens.authenticate(token).await.unwrap().is_none());
        }
    }

    #[test]
    fn a_bad_file_is_refused_without_quoting_a_token() {
        for (from, to, expected) in [
            ("0123456789abcdef", "short-secret", "shorter than 16"),
            ("member", "king", "\"king\" is no role"),
            ("user", "usr", "line 3"),
            ("\"0123456789abcdef\"", "0123456789abcdefg", "line 2"),
        ] {
            let error = TokensFile::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("0123456789") && !error.contains("short-secret"), "{error}");
        }
        assert!(TokensFile::parse(&GOOD.repeat(2)).unwrap_err().contains("already"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        std::fs::write(&path, GOOD).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(TokensFile::open(&path), Err(TokensError::Mode { mode: 0o640, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(TokensFile::open(&path).is_ok());
    }
}
