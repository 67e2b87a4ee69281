//! Secrets on the bus: sealed to the one host that is to open them, so that neither the broker nor the catalog holds them in the
//! clear. Anybody may seal; the broker vouches for who sent a message. NaCl's sealed boxes (X25519, XSalsa20-Poly1305).

use std::path::Path;
use std::{fmt, fs, io};

use crypto_box::aead::OsRng;
use crypto_box::{PublicKey, SecretKey};
use model::Failure;
use runtime::atomic_file;

/// The key pair of a host, kept in a file of its own.
pub struct HostKey(SecretKey);

impl HostKey {
    /// Takes the key from the file `name` in `dir`; makes it, with mode 0600, where there is none.
    ///
    /// Errors: the file cannot be read or made, or holds no key.
    pub fn open(dir: &Path, name: &str) -> io::Result<Self> {
        let path = dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => SecretKey::from_slice(&bytes).map(Self).map_err(|_| {
                io::Error::other(format!("{} holds no key: remove it, another is made", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(dir, name),
            Err(error) => Err(error),
        }
    }

    /// Appears whole: a key of half its length would be no key ever after.
    fn make(dir: &Path, name: &str) -> io::Result<Self> {
        let key = SecretKey::generate(&mut OsRng);
        atomic_file::write(dir, name, &key.to_bytes())?;
        Ok(Self(key))
    }

    /// What others seal to. Shape: 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.0.public_key().as_bytes().to_vec()
    }

    /// Opens what was sealed to this host. Codes: `SEAL_BROKEN`.
    pub fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        self.0.unseal(sealed).map_err(|_| {
            let message = "a secret was sealed to another key than this host's: its key file was replaced; start the job again";
            Failure::permanent("SEAL_BROKEN", message)
        })
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostKey(not shown)")
    }
}

/// Seals to a host. Codes: `COMMAND_INVALID` when `public_key` is none.
pub fn seal(public_key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Failure> {
    let none = |_| Failure::permanent("COMMAND_INVALID", "field public_key: it is no key");
    let public_key = PublicKey::from_slice(public_key).map_err(none)?;
    public_key
        .seal(&mut OsRng, plain)
        .map_err(|_| Failure::permanent("COMMAND_INVALID", "nothing can be sealed"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_sealed_to_a_host_is_opened_by_it_alone_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.key");
        let key = HostKey::open(dir.path(), "host.key").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = seal(&key.public_key(), b"chap secret").unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"chap"));
        assert_eq!(HostKey::open(dir.path(), "host.key").unwrap().unseal(&sealed).unwrap(), b"chap secret");
        let other = HostKey::open(dir.path(), "other.key").unwrap();
        assert_eq!(other.unseal(&sealed).unwrap_err().code, "SEAL_BROKEN");
        assert_eq!(key.unseal(&sealed[1..]).unwrap_err().code, "SEAL_BROKEN");
    }

    #[test]
    fn a_key_file_of_another_length_is_refused_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.key");
        fs::write(&path, b"short").unwrap();
        HostKey::open(dir.path(), "host.key").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(seal(b"short", b"x").unwrap_err().code, "COMMAND_INVALID");
    }
}
