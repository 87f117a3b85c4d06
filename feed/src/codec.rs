//! Canonical byte layouts: integers, hashes and byte strings, each with exactly one encoding.
//!
//! The reader never indexes and never allocates; what it refuses, it refuses by a typed error. Elsewhere: the
//! wire's frames, which are FlatBuffers (`datnode-proto`).

use alloc::vec::Vec;

use thiserror::Error;

use crate::hash::Hash;

/// Bytes that are no encoding of what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    #[error("the bytes end too early")]
    TooShort,
    /// A length is above its limit.
    #[error("a length is above its limit of {0}")]
    TooLong(usize),
    /// The value has a shorter or another encoding, which is the only one accepted.
    #[error("an encoding is not the canonical one")]
    NotCanonical,
    /// A value that means nothing here.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// More bytes than expected.
    #[error("there are bytes after the end")]
    Trailing,
}

/// Reads values off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns how many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Tells whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::TooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes all that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Takes the next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::TooShort)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// Takes two bytes, least significant first.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes four bytes, least significant first.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes eight bytes, least significant first.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes a hash.
    pub fn hash(&mut self) -> Result<Hash, DecodeError> {
        self.array().map(Hash)
    }

    /// Takes a LEB128 number: seven bits a byte, least significant first, in as few bytes as possible.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Invalid("number of more than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let padded = byte == 0 && shift > 0;
                return if padded { Err(DecodeError::NotCanonical) } else { Ok(value) };
            }
        }
        Err(DecodeError::Invalid("number of more than 64 bits"))
    }

    /// Takes a byte string: its length as a varint, at most `limit`, and the bytes.
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.varint()?).map_err(|_| DecodeError::TooLong(limit))?;
        if len > limit {
            return Err(DecodeError::TooLong(limit));
        }
        self.take(len)
    }

    /// Checks that nothing is left.
    pub const fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Appends values to a byte vector, in the layouts that [`Reader`] takes.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts with nothing.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Returns how many bytes were written.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns what was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what was written.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Writes two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Writes four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Writes eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Writes a hash.
    pub fn hash(&mut self, hash: &Hash) -> &mut Self {
        self.raw(&hash.0)
    }

    /// Writes a LEB128 number.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.u8(low & 0x7f);
            }
            self.u8(low | 0x80);
        }
    }

    /// Writes a byte string: its length as a varint, and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(bytes.len() as u64).raw(bytes)
    }

    /// Writes zeros until `len` bytes are there.
    pub(crate) fn pad(&mut self, len: usize) -> &mut Self {
        debug_assert!(self.bytes.len() <= len, "a layout is longer than its record");
        self.bytes.resize(len, 0);
        self
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_comes_back_from_its_encoding(value: u64) {
            let mut writer = Writer::new();
            writer.varint(value);
            let mut reader = Reader::new(writer.as_slice());
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn each_number_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let mut writer = Writer::new();
                writer.varint(value).raw(reader.rest());
                prop_assert_eq!(writer.into_vec(), bytes);
            }
        }
    }

    #[test]
    fn malformed_encodings_are_refused() {
        assert_eq!(Reader::new(&[0x80, 0x00]).varint(), Err(DecodeError::NotCanonical));
        assert_eq!(Reader::new(&[0x80]).varint(), Err(DecodeError::TooShort));
        let overlong = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert!(matches!(Reader::new(&overlong).varint(), Err(DecodeError::Invalid(_))));
        assert_eq!(Reader::new(&[5, 1, 2]).bytes(4), Err(DecodeError::TooLong(4)));
        assert_eq!(Reader::new(&[3, 1, 2]).bytes(4), Err(DecodeError::TooShort));
        assert_eq!(Reader::new(&[0]).end(), Err(DecodeError::Trailing));
    }
}
