//! Copying the files of a store out of another storage.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use datnode_feed::{FileId, Storage};

/// How much is copied at a time; as much that is all zeros is left as a hole, of which tables have many.
const PIECE_BYTES: u64 = 64 << 10;

/// Copies one file into a folder, durably; one that was never written is not made.
pub(super) fn file(from: &dyn Storage, id: FileId, folder: &Path) -> io::Result<()> {
    let len = from.len(id).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(());
    }
    let to = File::create_new(folder.join(id.to_string()))?;
    to.set_len(len)?;
    let mut piece = Vec::new();
    for at in (0..len).step_by(PIECE_BYTES as usize) {
        let size = usize::try_from(PIECE_BYTES.min(len - at)).expect("a piece is small");
        piece.resize(size, 0);
        from.read(id, at, &mut piece).map_err(io::Error::other)?;
        if piece.iter().any(|byte| *byte != 0) {
            to.write_all_at(&piece, at)?;
        }
    }
    to.sync_all()
}
