//! The tags of a drive: names for its versions.

use datnode_drive::{TAGS, Tag, TagDifference, TagName};

use super::drive::StoreView;
use super::snapshot::Snapshot;
use crate::error::Error;

/// How many tags are asked for at a time.
const PAGE: usize = 1_000;
/// How many differences of tags are told, 20 MB of them.
const DIFFERENCES_MAX: usize = 65_536;
/// How many names are looked at to find what was meant; a drive's author chooses how many there are.
const NAMES_MAX: usize = 100_000;

impl Snapshot {
    /// Returns what a tag names, as this version has it.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn tag(&self, name: &TagName) -> Result<Option<Tag>, Error> {
        let (version, name) = (self.version.clone(), name.clone());
        self.drive.ask(None, move |view| version.tag(view, &name)).await
    }

    /// Calls `each` for the tags that this version has, in the order of their names, until it says that this is enough.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest), and what `each` says.
    pub async fn tags(
        &self,
        mut each: impl FnMut(TagName, Tag) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut after: Option<TagName> = None;
        loop {
            let version = self.version.clone();
            let read = move |view: &StoreView<'_>| version.tags(view, after.as_ref(), PAGE);
            let page = self.drive.ask(None, read).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (name, tag) in page {
                if !each(name, tag)? {
                    return Ok(());
                }
            }
        }
    }

    /// Returns the version that a tag of this one names.
    ///
    /// # Errors
    /// E-NOTFOUND with the names most like it if there is no such tag, and those of [`Drive::latest`](super::Drive::latest).
    pub async fn named(&self, name: &TagName) -> Result<Self, Error> {
        let Some(tag) = self.tag(name).await? else { return Err(self.no_tag(name).await) };
        let version = self.version.clone();
        let found = self.drive.ask(None, move |view| version.tagged(view, &tag)).await?;
        self.drive.snapshot(found).await
    }

    /// Returns what this version's change did to the tags, in the order of their names.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn tags_touched(&self) -> Result<Vec<TagDifference>, Error> {
        match self.previous().await? {
            Some(before) => before.tags_changed(self).await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns what differs in the tags of `newer`, in the order of their names; the first ones, if it is more than a change of tags by
    /// hand ever has.
    ///
    /// # Errors
    /// Those of [`Drive::latest`](super::Drive::latest).
    pub async fn tags_changed(&self, newer: &Self) -> Result<Vec<TagDifference>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        let [old, new] = [self, newer].map(|side| side.version.change.root(TAGS));
        if old == new {
            return Ok(all);
        }
        loop {
            let (old, new) = (self.version.clone(), newer.version.clone());
            let read =
                move |view: &StoreView<'_>| old.tags_changed(&new, view, after.as_ref(), PAGE);
            let mut page = self.drive.ask(None, read).await?;
            all.append(&mut page.differences);
            match page.next {
                Some(next) if all.len() < DIFFERENCES_MAX => after = Some(next),
                _ => return Ok(all),
            }
        }
    }

    async fn no_tag(&self, name: &TagName) -> Error {
        let mut names = Vec::new();
        let keep = |name: TagName, _| {
            names.push(name.as_str().as_bytes().to_vec());
            Ok(names.len() < NAMES_MAX)
        };
        // A hint is not worth another failure, such as peers that are gone.
        let _ = self.tags(keep).await;
        Error::no_tag(name, names)
    }
}
