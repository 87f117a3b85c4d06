//! How much of the past a mirror keeps, and which blocks of the content that takes.

use std::fmt;
use std::str::FromStr;

use datnode_drive::Entry;
use datnode_feed::Bitfield;
use datnode_feed::limits::HELD_END;

use crate::address::VersionSpec;
use crate::engine::Snapshot;
use crate::error::Error;

/// How many versions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// All.
    All,
    /// The last ones.
    Last(u64),
}

impl FromStr for History {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "latest" => Ok(Self::Last(1)),
            number => match number.parse() {
                Ok(count @ 1..) => Ok(Self::Last(count)),
                _ => Err("write all, latest, or a number of versions, 1 or more".to_owned()),
            },
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("full history"),
            Self::Last(1) => f.write_str("latest version"),
            Self::Last(count) => write!(f, "last {count} versions"),
        }
    }
}

/// The blocks of the content that versions need: of the oldest that is kept, and what was put since.
///
/// As versions come, blocks are added and none is taken away; now and then it is looked anew, and what only versions needed that have
/// passed since is freed. What was here before the mirror began stays: it may be all that is left of it anywhere.
#[derive(Debug)]
pub(super) struct Kept {
    /// The number of the newest version that is in it, and of the newest one when it was looked.
    newest: u64,
    looked_at: u64,
    pub(super) blocks: Bitfield,
}

impl Kept {
    /// Looks what the last versions need, up to this one, whose index is here.
    ///
    /// # Errors
    /// Those of [`Snapshot::walk`].
    pub(super) async fn of(latest: &Snapshot, count: u64) -> Result<Self, Error> {
        let oldest = latest.version.number.saturating_sub(count - 1);
        let first = latest.drive.version(&VersionSpec::Number(oldest)).await?;
        let looked_at = latest.version.number;
        let mut kept = Self { newest: oldest, looked_at, blocks: Bitfield::new() };
        let end = end_of(latest);
        first
            .walk(|_, entry| {
                kept.add(&entry, end);
                Ok(())
            })
            .await?;
        kept.grow(latest).await?;
        Ok(kept)
    }

    /// Adds what the versions put since, up to this one, whose index is here.
    ///
    /// # Errors
    /// Those of [`Snapshot::ops`].
    pub(super) async fn grow(&mut self, latest: &Snapshot) -> Result<(), Error> {
        let end = end_of(latest);
        for position in latest.changes_since(self.newest).await? {
            let version = latest.at(position).await?;
            version
                .ops(|_, entry| {
                    entry.iter().for_each(|entry| self.add(entry, end));
                    Ok(())
                })
                .await?;
        }
        self.newest = latest.version.number;
        Ok(())
    }

    /// Returns how many versions came since it was looked.
    pub(super) const fn passed(&self) -> u64 {
        self.newest - self.looked_at
    }

    /// Returns what is in it and not in another one.
    pub(super) fn without(&self, other: &Self) -> Bitfield {
        let mut rest = self.blocks.clone();
        other.blocks.runs().for_each(|run| rest.clear_range(run));
        rest
    }

    fn add(&mut self, entry: &Entry, end: u64) {
        for extent in &entry.extents {
            self.blocks.set_range(extent.blocks_before(end));
        }
    }
}

/// Returns how many blocks of content there are; what an index claims beyond them is nowhere.
fn end_of(snapshot: &Snapshot) -> u64 {
    snapshot.version.change.feeds.first().map_or(0, |feed| feed.length).min(HELD_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_words_or_numbers() {
        for (text, right) in [
            ("all", Ok(History::All)),
            ("latest", Ok(History::Last(1))),
            ("1", Ok(History::Last(1))),
            ("12", Ok(History::Last(12))),
            ("0", Err(())),
            ("-1", Err(())),
            ("some", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(text.parse::<History>().map_err(drop), right, "{text}");
        }
    }
}
