//! Where a mistyped link is wrong.
//!
//! A character that is wrong, missing or doubled, and two that changed places, are found by trying, with the checksum of bech32m
//! as the judge: to solve for its errors panics in `bech32` 0.12 where there are many. The right key is never guessed: people copy
//! it again.

use super::key::{self, LINK_LEN, LINK_PREFIX};
use super::ticket;

/// The characters of a link behind its prefix.
pub(super) const CHARSET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Returns the position of the one mistake in a word that begins with `dat1`.
pub(super) fn in_link(word: &[u8]) -> Option<usize> {
    if let Some(place) = odd_case(word) {
        return Some(place);
    }
    let lower = word.to_ascii_lowercase();
    let body = LINK_PREFIX.len();
    let alien = lower.iter().skip(body).position(|byte| !CHARSET.contains(byte));
    match lower.len() {
        LINK_LEN => {
            alien.map(|place| body + place).or_else(|| wrong(&lower)).or_else(|| swapped(&lower))
        }
        len if len == LINK_LEN + 1 => extra(&lower),
        len if len + 1 == LINK_LEN && alien.is_none() => missing(&lower),
        _ => None,
    }
}

/// Returns the position of a mistake in the first characters of what is otherwise a link or ticket.
pub(super) fn in_prefix(lower: &str) -> Option<usize> {
    if !lower.is_ascii() {
        return None;
    }
    // The prefix with one character missing, changed or too many.
    let link = [(3, LINK_LEN - 1), (4, LINK_LEN), (5, LINK_LEN + 1)];
    for (from, len) in link {
        if lower.len() == len
            && let Some(body) = lower.get(from..)
            && key::decode(format!("{LINK_PREFIX}{body}").as_bytes()).is_some()
        {
            return Some(mismatch(lower, LINK_PREFIX));
        }
    }
    if lower.len() < LINK_LEN {
        return None;
    }
    if lower.len() == LINK_LEN
        && let Some(place) = (0..LINK_PREFIX.len()).find(|&place| swap_makes_link(lower, place))
    {
        return Some(place);
    }
    let body = ticket::PREFIX.len();
    for from in [body - 1, body, body + 1] {
        if let Some(rest) = lower.get(from..)
            && ticket::Ticket::parse(format!("{}{rest}", ticket::PREFIX).as_bytes()).is_ok()
        {
            return Some(mismatch(lower, ticket::PREFIX));
        }
    }
    None
}

/// The first character that differs from the prefix.
fn mismatch(lower: &str, prefix: &str) -> usize {
    lower.bytes().zip(prefix.bytes()).position(|(a, b)| a != b).unwrap_or(prefix.len() - 1)
}

/// The first letter whose case differs from that of most letters.
fn odd_case(word: &[u8]) -> Option<usize> {
    let upper = word.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let lower = word.iter().filter(|byte| byte.is_ascii_lowercase()).count();
    if upper <= lower {
        word.iter().position(u8::is_ascii_uppercase)
    } else {
        word.iter().position(u8::is_ascii_lowercase)
    }
}

/// One character is another.
fn wrong(lower: &[u8]) -> Option<usize> {
    (LINK_PREFIX.len()..lower.len()).find(|&place| some_char_makes_link(lower.to_vec(), place))
}

fn some_char_makes_link(mut word: Vec<u8>, place: usize) -> bool {
    CHARSET.iter().any(|&char| {
        if let Some(slot) = word.get_mut(place) {
            *slot = char;
        }
        key::decode(&word).is_some()
    })
}

/// Two neighbours changed places.
fn swapped(lower: &[u8]) -> Option<usize> {
    (LINK_PREFIX.len()..lower.len() - 1).find(|&place| swap_makes_link(lower, place))
}

fn swap_makes_link(word: impl AsRef<[u8]>, place: usize) -> bool {
    let mut word = word.as_ref().to_vec();
    word.swap(place, place + 1);
    key::decode(&word).is_some()
}

/// A character too many.
fn extra(lower: &[u8]) -> Option<usize> {
    (LINK_PREFIX.len()..lower.len()).find(|&place| {
        let mut word = lower.to_vec();
        word.remove(place);
        key::decode(&word).is_some()
    })
}

/// A character too few.
fn missing(lower: &[u8]) -> Option<usize> {
    (LINK_PREFIX.len()..=lower.len()).find(|&place| {
        let mut word = lower.to_vec();
        word.insert(place, b'q');
        some_char_makes_link(word, place)
    })
}
