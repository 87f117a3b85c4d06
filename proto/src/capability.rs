//! Proof that a peer knows a feed's key, bound to both ends of the stream. SPEC 6.4.

use datnode_feed::PublicKey;

use crate::ids::Binding;

const CONTEXT: &[u8] = b"datnode 2026 open v1";

/// How many random bytes an Open carries.
pub const NONCE_LEN: usize = 16;

/// Returns the tag that the sender of an Open shows: BLAKE3 keyed by the feed's key.
///
/// `sender` and `receiver` are the two ends as the carrier authenticated them, so that a tag is of no use on another stream
/// or in the other direction. Lengths go before the strings, so that no two inputs collide.
pub fn tag(
    key: &PublicKey,
    sender: &[u8],
    receiver: &[u8],
    nonce: &[u8; NONCE_LEN],
) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
    for part in [CONTEXT, sender, receiver, nonce] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// Tells whether `tag` was made by the other end for this feed; the comparison takes constant time.
pub fn matches(
    key: &PublicKey,
    binding: &Binding,
    nonce: &[u8; NONCE_LEN],
    tag_bytes: &[u8; 32],
) -> bool {
    tag(key, &binding.theirs, &binding.ours, nonce) == blake3::Hash::from_bytes(*tag_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datnode_feed::SecretKey;

    #[test]
    fn a_tag_is_for_one_feed_one_direction_and_one_stream() {
        let key = SecretKey::from_bytes([1; 32]).public();
        let other = SecretKey::from_bytes([2; 32]).public();
        let nonce = [7; NONCE_LEN];
        let shown = *tag(&key, b"alice", b"bob", &nonce).as_bytes();
        let binding =
            |ours: &[u8], theirs: &[u8]| Binding { ours: ours.into(), theirs: theirs.into() };
        let bob = binding(b"bob", b"alice");
        assert!(matches(&key, &bob, &nonce, &shown));
        assert!(!matches(&other, &bob, &nonce, &shown));
        assert!(!matches(&key, &binding(b"alice", b"bob"), &nonce, &shown));
        assert!(!matches(&key, &binding(b"bob", b"carol"), &nonce, &shown));
        assert!(!matches(&key, &binding(b"bobalice", b""), &nonce, &shown));
        assert!(!matches(&key, &bob, &[8; NONCE_LEN], &shown));
    }
}
