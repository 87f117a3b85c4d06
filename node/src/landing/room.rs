//! Tells before anything is written whether the disk has room for it.

use std::path::Path;

use super::target::temporary;
use super::{FolderOf, Landing, State};
use crate::error::Error;

impl Landing {
    /// Refuses what cannot fit, even if each file that is replaced gives its room to others.
    ///
    /// What passes may still fill the disk: others write to it as well.
    pub(super) fn check_room(&self, root: &Path) -> Result<(), Error> {
        let Some(free) = self.folder.free() else { return Ok(()) };
        let needed = sum(self.missing().map(|(_, size)| size));
        if needed <= free {
            return Ok(());
        }
        let has = sum(self.missing().map(|(name, size)| self.has(name, size)));
        let needed = needed.saturating_sub(has);
        if needed <= free {
            return Ok(());
        }
        let error = Error::space(root, needed, free);
        Err(match self.of {
            FolderOf::Reader { .. } => error.hint("or clone a part of the drive: KEY/FOLDER"),
            FolderOf::Writer => error,
        })
    }

    /// Returns the files that are to be written, and their sizes in bytes.
    fn missing(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.states.iter().enumerate().filter_map(|(file, state)| match state {
            State::Missing(size) => Some((self.plan.name(file), *size)),
            State::Landed | State::Left => None,
        })
    }

    /// Returns how many bytes a file has on the disk already: what a run before this one wrote, and what it replaces.
    fn has(&self, name: &[u8], size: u64) -> u64 {
        let begun = self.folder.look(&temporary(name)).map_or(0, |there| there.allocated.min(size));
        let replaced = self.folder.look(name).map_or(0, |there| there.allocated);
        begun.saturating_add(replaced)
    }
}

/// Adds sizes, which are what a drive claims.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
