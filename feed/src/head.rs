//! The signed head: what a writer says about the whole feed.
//!
//! Invariant: a head that [`SignedHead::verify`] accepted is within the limits, and names an ancestor if and only
//! if its fork is above zero. Elsewhere: whether a tree has this root (`store::verify`).

use alloc::vec::Vec;

use thiserror::Error;

use crate::codec::{DecodeError, Reader, Writer};
use crate::hash::Hash;
use crate::key::{PublicKey, SecretKey};
use crate::limits;

/// What the signed bytes begin with.
pub(crate) const HEAD_CONTEXT: &[u8] = b"datnode 2026 feed head v1";

/// Why a head is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The signature is not the feed key's over this head.
    #[error("the signature does not match the head")]
    BadSignature,
    /// The length or byte length is above the limit.
    #[error("the head is longer than a feed can be")]
    TooLong,
    /// The ancestor is missing, superfluous, or not before the head.
    #[error("the head's ancestor does not fit its fork")]
    BadAncestor,
}

/// Where a fork left the history before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    /// The fork that was left.
    pub fork: u64,
    /// How many of its blocks were kept.
    pub length: u64,
    /// The root hash at that length.
    pub root: Hash,
}

/// A feed at one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// Counts the times that history was left behind openly; zero in normal use.
    pub fork: u64,
    /// How many blocks there are.
    pub length: u64,
    /// How many bytes all blocks have.
    pub byte_length: u64,
    /// The hash over all peaks.
    pub root: Hash,
    /// Where this fork began; present if and only if `fork` is above zero.
    pub ancestor: Option<Ancestor>,
}

impl Head {
    /// Returns the bytes that are signed for this head under `key`.
    pub fn signed_bytes(&self, key: &PublicKey) -> Vec<u8> {
        // SPEC 3.2
        let mut writer = Writer::new();
        writer.raw(HEAD_CONTEXT).raw(key.as_bytes());
        self.write(&mut writer);
        writer.into_vec()
    }

    /// Checks what can be told without the signature.
    pub fn validate(&self) -> Result<(), HeadError> {
        // SPEC 3.1
        if self.length >= limits::LENGTH_END || self.byte_length >= limits::BYTE_LENGTH_END {
            return Err(HeadError::TooLong);
        }
        let fits = match &self.ancestor {
            None => self.fork == 0,
            Some(ancestor) => ancestor.fork < self.fork && ancestor.length <= self.length,
        };
        if fits { Ok(()) } else { Err(HeadError::BadAncestor) }
    }

    fn write(&self, writer: &mut Writer) {
        writer.u64(self.fork).u64(self.length).u64(self.byte_length).hash(&self.root);
        if let Some(ancestor) = &self.ancestor {
            writer.u64(ancestor.fork).u64(ancestor.length).hash(&ancestor.root);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (fork, length, byte_length) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let root = reader.hash()?;
        let ancestor = match fork {
            0 => None,
            _ => {
                Some(Ancestor { fork: reader.u64()?, length: reader.u64()?, root: reader.hash()? })
            }
        };
        Ok(Self { fork, length, byte_length, root, ancestor })
    }
}

/// A head and the signature over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// The ed25519 signature by the feed's key.
    pub signature: [u8; 64],
}

impl SignedHead {
    /// Signs `head`.
    pub fn sign(head: Head, key: &SecretKey) -> Self {
        assert!(head.validate().is_ok(), "only a valid head is ever signed");
        let signature = key.sign(&head.signed_bytes(&key.public()));
        Self { head, signature }
    }

    /// Checks the limits and the signature.
    pub fn verify(&self, key: &PublicKey) -> Result<(), HeadError> {
        self.head.validate()?;
        if key.verifies(&self.head.signed_bytes(key), &self.signature) {
            Ok(())
        } else {
            Err(HeadError::BadSignature)
        }
    }

    /// Returns the canonical bytes: the head's fields in order, and the signature.
    pub fn encode(&self) -> Vec<u8> {
        // SPEC 3.4
        let mut writer = Writer::new();
        self.head.write(&mut writer);
        writer.raw(&self.signature);
        writer.into_vec()
    }

    /// Takes the bytes that [`SignedHead::encode`] made; the signature is not checked yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let head = Head::read(&mut reader)?;
        let signature = reader.array()?;
        reader.end()?;
        head.validate().map_err(|_| DecodeError::Invalid("head"))?;
        Ok(Self { head, signature })
    }
}
