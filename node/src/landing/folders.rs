//! The folders of a version with their modes and times, in little room: there may be a million of them.
//!
//! ```text
//! path | mode u16 | seconds i64 | nanos u32 | length of the path u16        and so on; read from the end
//! ```

use datnode_drive::{Entry, Mtime};

const TAIL: usize = 16;

/// Folders, of which the last one comes back first: deepest first, if they were added in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Folders {
    bytes: Vec<u8>,
}

impl Folders {
    pub(super) fn push(&mut self, path: &[u8], entry: &Entry) {
        self.bytes.extend_from_slice(path);
        self.bytes.extend_from_slice(&entry.mode.to_le_bytes());
        self.bytes.extend_from_slice(&entry.mtime.seconds.to_le_bytes());
        self.bytes.extend_from_slice(&entry.mtime.nanos.to_le_bytes());
        let len = u16::try_from(path.len()).expect("a path has at most 4,096 bytes");
        self.bytes.extend_from_slice(&len.to_le_bytes());
    }

    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, Entry)> {
        let (rest, tail) = self.bytes.split_last_chunk::<TAIL>()?;
        let [m0, m1, s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, l0, l1] = *tail;
        let path = rest.len() - usize::from(u16::from_le_bytes([l0, l1]));
        let seconds = i64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let mtime = Mtime { seconds, nanos: u32::from_le_bytes([n0, n1, n2, n3]) };
        let found = (rest[path..].to_vec(), Entry::directory(u16::from_le_bytes([m0, m1]), mtime));
        self.bytes.truncate(path);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_back_as_they_were_the_last_one_first() {
        let folder = |mode, seconds, nanos| Entry::directory(mode, Mtime { seconds, nanos });
        let all = [
            (b"a".to_vec(), folder(0o755, -1, 5)),
            (vec![b'x'; 4_096], folder(0o777, i64::MIN, 999_999_999)),
            (b"a/b".to_vec(), folder(0, i64::MAX, 0)),
        ];
        let mut folders = Folders::default();
        all.iter().for_each(|(path, entry)| folders.push(path, entry));
        let back: Vec<_> = std::iter::from_fn(|| folders.pop()).collect();
        assert!(back.iter().eq(all.iter().rev()));
    }
}
