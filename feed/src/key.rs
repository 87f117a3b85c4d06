//! Keys of feeds: who may sign, and what may be told to strangers.
//!
//! Invariant: a [`PublicKey`] is the one canonical encoding of a point that is not of small order, so that two
//! keys are equal if and only if their bytes are. No randomness here: seeds come in as arguments.

use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// What the discovery key is a keyed hash of.
pub(crate) const DISCOVERY_CONTEXT: &[u8] = b"datnode discovery v1";

/// Bytes that are no usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// They encode no point, or not in the canonical way.
    #[error("these 32 bytes are not a public key")]
    Invalid,
    /// The point has small order: one signature would fit nearly every message.
    #[error("this public key is weak: anybody could sign under it")]
    Weak,
}

/// The name of a feed, and what its signatures are checked with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the 32 bytes of a key, refusing weak and non-canonical ones.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        // SPEC 2.5
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Invalid)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        if *key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::Invalid);
        }
        Ok(Self(bytes))
    }

    /// Returns the 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the discovery key, which strangers may be told: it does not lead back to this key.
    pub fn discovery(&self) -> DiscoveryKey {
        DiscoveryKey(*blake3::keyed_hash(&self.0, DISCOVERY_CONTEXT).as_bytes()) // SPEC 2.6
    }

    /// Tells whether `signature` is this key's over `message`, by the strict rules.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok()) // SPEC 3.3
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// What signs a feed. It is wiped from memory when dropped and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes the key of a seed, which must be 32 random bytes.
    pub fn from_bytes(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(SigningKey::from_bytes(&seed))
    }

    /// Returns the public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Returns the seed.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Signs `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SecretKey of {:?}", self.public())
    }
}

/// A keyed hash of a public key: names a feed to those who cannot read it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiscoveryKey(pub [u8; 32]);

impl fmt::Debug for DiscoveryKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}
