//! Where a mistyped link is wrong.
//!
//! The checksum of bech32m tells where a single wrong character stands; characters that are missing, doubled or swapped are
//! found by trying. The right key is never guessed: people copy it again.

use bech32::Bech32m;
use bech32::primitives::correction::CorrectableError as _;
use bech32::primitives::decode::CheckedHrpstring;

use super::key::{self, LINK_LEN, LINK_PREFIX};
use super::ticket;

/// The characters of a link behind its prefix.
const CHARSET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

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
    let text = std::str::from_utf8(lower).ok()?;
    let error = CheckedHrpstring::new::<Bech32m>(text).err()?;
    let corrector = error.correction_context::<Bech32m>()?;
    let mut errors = corrector.bch_errors()?;
    let (from_end, _) = errors.next()?;
    // Positions count from the end; one in the prefix is a coincidence, as the prefix is right.
    let place = lower.len().checked_sub(1)?.checked_sub(from_end)?;
    (errors.next().is_none() && place >= LINK_PREFIX.len()).then_some(place)
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
        CHARSET.iter().any(|&char| {
            if let Some(slot) = word.get_mut(place) {
                *slot = char;
            }
            key::decode(&word).is_some()
        })
    })
}
