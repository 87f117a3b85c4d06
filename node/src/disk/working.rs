//! Reading of working files, where in-place blocks live, through a few open descriptors.
//!
//! Nothing here vouches for the bytes: whoever reads a block in place hashes it again.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::beneath::Beneath;

/// How many working files stay open for reading.
const OPEN_MAX: usize = 64;

/// Open working files, the one used last in front.
#[derive(Debug, Default)]
pub(super) struct WorkingFiles {
    open: VecDeque<(Vec<u8>, File)>,
}

impl WorkingFiles {
    /// Reads exactly `into.len()` bytes of the file at `path`.
    pub(super) fn read(
        &mut self,
        folder: &Beneath,
        path: &[u8],
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<()> {
        self.file(folder, path)?.read_exact_at(into, offset)
    }

    fn file(&mut self, folder: &Beneath, path: &[u8]) -> io::Result<&File> {
        let known = self.open.iter().position(|(open, _)| open == path);
        let entry = match known.and_then(|position| self.open.remove(position)) {
            // A file that was removed or replaced is opened anew under its name.
            Some((_, file)) if rustix::fs::fstat(&file)?.st_nlink == 0 => {
                (path.to_vec(), folder.file(path)?.0)
            }
            Some(entry) => entry,
            None => (path.to_vec(), folder.file(path)?.0),
        };
        self.open.truncate(OPEN_MAX - 1);
        self.open.push_front(entry);
        Ok(&self.open[0].1)
    }
}
