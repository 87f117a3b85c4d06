//! Names that must not or cannot be written here: the first ones with the reason, of the rest a hash each.
//!
//! Invariant: whatever a drive names, no more than [`REFUSED_NAMED`] names are kept, and 16 bytes of each other one.

use std::collections::{BTreeMap, HashSet};

use datnode_drive::Key;

use super::limits::REFUSED_NAMED;

/// Those names.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    named: BTreeMap<Key, String>,
    more: HashSet<[u8; 16]>,
}

impl Refused {
    /// Adds a name, and why.
    pub(super) fn insert(&mut self, name: Key, why: String) {
        if self.named.len() < REFUSED_NAMED || self.named.contains_key(&name) {
            self.named.insert(name, why);
        } else {
            self.more.insert(hash(&name));
        }
    }

    /// Tells whether a name is refused.
    pub fn contains(&self, name: &Key) -> bool {
        self.named.contains_key(name) || !self.more.is_empty() && self.more.contains(&hash(name))
    }

    /// Tells whether none is.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Returns how many are.
    pub fn count(&self) -> u64 {
        (self.named.len() + self.more.len()) as u64
    }

    /// Returns the first ones, and why.
    pub fn into_named(self) -> BTreeMap<Key, String> {
        self.named
    }
}

/// Returns what nobody finds a second name for.
fn hash(name: &Key) -> [u8; 16] {
    let hash = blake3::hash(name.as_bytes());
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use datnode_drive::DrivePath;

    use super::*;

    #[test]
    fn so_many_names_are_kept_and_the_rest_is_known_all_the_same() {
        let name = |number: usize| {
            DrivePath::from_bytes(format!("folder/{number}").as_bytes()).unwrap().key()
        };
        let mut refused = Refused::default();
        assert!(refused.is_empty() && !refused.contains(&name(0)));
        for number in 0..3 * REFUSED_NAMED {
            // A version that is looked at twice.
            (0..2).for_each(|_| refused.insert(name(number), String::from("why")));
        }
        assert_eq!(refused.count(), 3 * REFUSED_NAMED as u64);
        assert!((0..3 * REFUSED_NAMED).all(|number| refused.contains(&name(number))));
        assert!(!refused.contains(&name(3 * REFUSED_NAMED)));
        assert_eq!(refused.into_named().len(), REFUSED_NAMED);
    }
}
