//! Little-endian fields from bytes that may be anything, and into bytes.

use uuid::Uuid;

use crate::{Digest, Error};

/// Reads field after field; each read is checked against what is left.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    noun: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(noun: &'static str, bytes: &'a [u8]) -> Self {
        Self { noun, rest: bytes }
    }

    pub(crate) const fn damaged(&self, reason: &'static str) -> Error {
        Error::damaged(self.noun, reason)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(self.damaged("it ends too early"))?;
        self.rest = rest;
        Ok(*field)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, Error> {
        self.array().map(Uuid::from_bytes)
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, Error> {
        self.array().map(Digest::new)
    }

    /// Takes magic, version and cipher, which begin every binary object.
    pub(crate) fn preamble(&mut self, magic: [u8; 8]) -> Result<(), Error> {
        if self.array()? != magic {
            return Err(self.damaged("it does not begin with its magic"));
        }
        let version = self.u32()?;
        if version != crate::FORMAT_VERSION {
            return Err(Error::Version { noun: self.noun, version });
        }
        self.zeroes::<4>("its cipher is unknown")
    }

    /// Takes `N` bytes that must be zero.
    pub(crate) fn zeroes<const N: usize>(&mut self, reason: &'static str) -> Result<(), Error> {
        if self.array()? == [0; N] { Ok(()) } else { Err(self.damaged(reason)) }
    }

    /// Checks that exactly `count` rows of `row_length` and `tail_length` bytes are left, before memory is taken for them.
    pub(crate) fn check_rest(&self, rows: &[(u32, usize)], tail_length: usize) -> Result<(), Error> {
        let sum = rows.iter().try_fold(tail_length, |sum, (count, row_length)| {
            usize::try_from(*count).ok()?.checked_mul(*row_length)?.checked_add(sum)
        });
        if sum == Some(self.rest.len()) {
            Ok(())
        } else {
            Err(self.damaged("its length does not fit what it says to hold"))
        }
    }
}

/// Appends magic, version and cipher.
pub(crate) fn put_preamble(bytes: &mut Vec<u8>, magic: [u8; 8]) {
    bytes.extend_from_slice(&magic);
    put_u32(bytes, crate::FORMAT_VERSION);
    put_u32(bytes, 0);
}

pub(crate) fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&value.to_le_bytes());
}
