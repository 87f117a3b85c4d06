//! Which names somebody may have meant.

/// How many names are offered.
const NEAR_MAX: usize = 3;
/// Names are compared by their first bytes; no more are typed by hand.
const LEN_MAX: usize = 255;

/// Returns the names most like `wanted`, best first: those that few slips of the hand would turn into it.
pub fn nearest(wanted: &[u8], names: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut near: Vec<(usize, Vec<u8>)> = Vec::new();
    for name in names {
        let Some(slips) = slips(wanted, &name) else { continue };
        let place = near.partition_point(|other| (other.0, &other.1) <= (slips, &name));
        near.insert(place, (slips, name));
        near.truncate(NEAR_MAX);
    }
    near.into_iter().map(|(_, name)| name).collect()
}

/// Returns how many slips lie between two names; none if there are too many for one to have been meant.
fn slips(wanted: &[u8], name: &[u8]) -> Option<usize> {
    let (wanted, name) = (fold(wanted), fold(name));
    let slips = distance(&wanted, &name);
    let allowed = (wanted.len().min(name.len()) / 3).max(1);
    // A name that was only begun: `READ` for `README.md`.
    let begun = wanted.len() >= 3 && name.starts_with(&wanted);
    (slips <= allowed || begun).then_some(slips)
}

/// Upper and lower case are easily confused, and cost nothing.
fn fold(name: &[u8]) -> Vec<u8> {
    name.get(..LEN_MAX).unwrap_or(name).to_ascii_lowercase()
}

/// Returns how many bytes have to be inserted, deleted, replaced, or swapped with their neighbour.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, &left) in a.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, &right) in b.iter().enumerate() {
            let replaced = last[column] + usize::from(left != right);
            let mut best = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            let turned = row > 0 && column > 0 && left == b[column - 1] && a[row - 1] == right;
            if turned {
                best = best.min(before[column - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(wanted: &str, names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| name.as_bytes().to_vec());
        let found = nearest(wanted.as_bytes(), names);
        found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn slips_of_the_hand_are_counted() {
        let table = [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("readme", "readme", 0),
            ("raedme", "readme", 1),
            ("redme", "readme", 1),
            ("reaadme", "readme", 1),
            ("rxadme", "readme", 1),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ];
        for (a, b, slips) in table {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), slips, "{a} {b}");
            assert_eq!(distance(b.as_bytes(), a.as_bytes()), slips, "{b} {a}");
        }
    }

    #[test]
    fn the_most_likely_names_come_first() {
        let names = ["README.md", "readme.txt", "data", "date", "zebra", "a"];
        assert_eq!(near("READMEE.md", &names), ["README.md"]);
        assert_eq!(near("readme.md", &names), ["README.md", "readme.txt"]);
        assert_eq!(near("READ", &names), ["README.md", "readme.txt"]);
        assert_eq!(near("dota", &names), ["data"]);
        assert_eq!(near("data", &names), ["data", "date"]);
        assert_eq!(near("something else", &names), Vec::<String>::new());
        assert_eq!(near("", &["b", "long"]), ["b"]);
    }

    #[test]
    fn no_more_than_three_are_offered_whatever_the_order() {
        let names = ["aaa1", "aaa2", "aaa3", "aaa4", "aaa"];
        assert_eq!(near("aaa", &names), ["aaa", "aaa1", "aaa2"]);
        let turned: Vec<&str> = names.iter().rev().copied().collect();
        assert_eq!(near("aaa", &turned), ["aaa", "aaa1", "aaa2"]);
    }
}
