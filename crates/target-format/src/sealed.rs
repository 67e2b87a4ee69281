//! What is stored of a chunk or a segment: its bytes compressed, or as they are when that gains little.

use std::borrow::Cow;

use crate::Error;

/// Level 1: compression is nearly the whole cost of a backup, and higher levels gain a few percent.
const ZSTD_LEVEL: i32 = 1;

/// Bytes as they go into a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub stored: Vec<u8>,
    pub plain_length: u32,
    /// Whether `stored` is a zstd frame; else it is the plaintext.
    pub zstd: bool,
    /// CRC-32 of `stored`.
    pub crc32: u32,
}

/// Compresses; keeps the plaintext when less than 5 % is gained.
///
/// Panics: `plain` is longer than 256 MiB.
#[must_use]
pub fn seal(plain: &[u8]) -> Sealed {
    let plain_length = u32::try_from(plain.len()).expect("chunks and segments are far below 4 GiB");
    let worth_it = |stored: &Vec<u8>| stored.len() as u64 * 100 <= u64::from(plain_length) * 95;
    // A compressor that fails costs room, not data.
    let compressed = zstd::bulk::compress(plain, ZSTD_LEVEL).ok().filter(worth_it);
    let zstd = compressed.is_some();
    let stored = compressed.unwrap_or_else(|| plain.to_vec());
    let crc32 = crc32fast::hash(&stored);
    Sealed { stored, plain_length, zstd, crc32 }
}

/// Gives the plaintext back.
///
/// Errors: it is not `plain_length` bytes, or no zstd frame. Takes memory for `plain_length` bytes and no more.
pub fn unseal(stored: &[u8], plain_length: u32, zstd: bool) -> Result<Cow<'_, [u8]>, Error> {
    let damaged = |reason| Error::damaged("chunk", reason);
    let length = usize::try_from(plain_length).expect("the address space has 32 bits or more");
    let plain = if zstd {
        let opened = zstd::bulk::decompress(stored, length);
        Cow::Owned(opened.map_err(|_| damaged("it does not decompress"))?)
    } else {
        Cow::Borrowed(stored)
    };
    if plain.len() == length { Ok(plain) } else { Err(damaged("it has another length than it should")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_compresses_is_compressed_and_what_does_not_is_kept() {
        let sealed = seal(&[7; 100_000]);
        assert!(sealed.zstd && sealed.stored.len() < 1000);
        let mut noise = [0; 4096];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(!seal(&noise).zstd);
        assert!(!seal(&[]).zstd);
    }

    #[test]
    fn a_frame_that_opens_to_more_than_it_should_is_refused() {
        let bomb = seal(&vec![0; 16 << 20]);
        assert!(bomb.stored.len() < 4096);
        assert!(unseal(&bomb.stored, 4096, true).is_err());
        assert!(unseal(&bomb.stored, (16 << 20) + 1, true).is_err());
        assert_eq!(unseal(&bomb.stored, 16 << 20, true).unwrap().len(), 16 << 20);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(plain: Vec<u8>) {
            let sealed = seal(&plain);
            prop_assert_eq!(&*unseal(&sealed.stored, sealed.plain_length, sealed.zstd).unwrap(), plain);
        }

        #[test]
        fn anything_opens_or_is_refused(stored: Vec<u8>, length in 0u32..10_000, zstd: bool) {
            if let Ok(plain) = unseal(&stored, length, zstd) {
                prop_assert_eq!(plain.len(), length as usize);
            }
        }
    }
}
