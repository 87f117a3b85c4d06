//! Names for versions: set, moved, deleted. No file is touched.

use datnode_drive::{DrivePath, Tag, TagName, TagOp, Version};
use datnode_feed::{FeedSlot, Storage, Store};

use super::editor::{Editor, edited};
use super::{Edited, Tagged, TaggedVersion};
use crate::address::VersionSpec;
use crate::cli::escape;
use crate::error::{Code, Error};
use crate::import::{finish, here};
use crate::view::View;

/// How many tags are read at a time to tell which one was meant.
const PAGE: usize = 10_000;

impl<S: Storage> Editor<'_, S> {
    /// Gives a version a name; one that another version has is moved only by force.
    pub(super) fn tag(
        &mut self,
        name: &TagName,
        version: Option<&VersionSpec>,
        force: bool,
    ) -> Result<Edited, Error> {
        let version = match version {
            Some(spec) => self.version(spec)?,
            None => self.newest(is_of_files)?.unwrap_or_else(|| self.base.clone()),
        };
        let tag = Tag::of(&version);
        match tag_of(self.store, self.writer.changes.0, &self.base, name)? {
            Some(old) if old.version != tag.version && !force => Err(taken(name, &old)),
            _ => self.finish_tag(TagOp::Set(name.clone(), tag)),
        }
    }

    /// Takes a name away.
    pub(super) fn untag(&mut self, name: &TagName) -> Result<Edited, Error> {
        named(self.store, self.writer.changes.0, &self.base, name)?;
        self.finish_tag(TagOp::Delete(name.clone()))
    }

    fn finish_tag(&mut self, op: TagOp) -> Result<Edited, Error> {
        let name = op.name().as_str().to_owned();
        let of = match &op {
            TagOp::Set(_, tag) => Some(TaggedVersion::from(tag)),
            TagOp::Delete(_) => None,
        };
        let version = finish(self.store, self.writer, &self.base, &[], vec![op], self.message)?;
        let done = edited(&version, &self.base, &DrivePath::root(), (0, 0, 0));
        Ok(Edited { tag: Some(Tagged { name, of }), ..done })
    }

    /// Returns the version that is meant.
    fn version(&mut self, spec: &VersionSpec) -> Result<Version, Error> {
        let changes = self.writer.changes.0;
        if let VersionSpec::Tag(name) = spec {
            let tag = named(self.store, changes, &self.base, name)?;
            return here(self.base.tagged(&View::new(self.store, changes, None), &tag));
        }
        let found = match spec {
            VersionSpec::Number(number) => {
                here(self.base.find(&View::new(self.store, changes, None), *number))?
            }
            _ => self.newest(|version| spec.fits(version))?,
        };
        found.ok_or_else(|| Error::no_version(spec, self.base.number))
    }

    /// Goes back through the history to the first version that fits.
    fn newest(&mut self, fits: impl Fn(&Version) -> bool) -> Result<Option<Version>, Error> {
        let view = View::new(self.store, self.writer.changes.0, None);
        let mut at = Some(self.base.clone());
        while let Some(version) = at {
            if fits(&version) {
                return Ok(Some(version));
            }
            at = here(version.previous(&view))?;
        }
        Ok(None)
    }
}

/// Tells whether a version has other files than the one before it: one that only has other tags is not what people want to name.
fn is_of_files(version: &Version) -> bool {
    let counts = version.change.counts;
    counts.put + counts.deleted > 0
}

/// Returns what a tag names.
fn tag_of<S: Storage>(
    store: &mut Store<S>,
    changes: FeedSlot,
    base: &Version,
    name: &TagName,
) -> Result<Option<Tag>, Error> {
    here(base.tag(&View::new(store, changes, None), name))
}

/// Returns what a tag names; E-NOTFOUND with the names most like it if there is none.
pub(super) fn named<S: Storage>(
    store: &mut Store<S>,
    changes: FeedSlot,
    base: &Version,
    name: &TagName,
) -> Result<Tag, Error> {
    if let Some(tag) = tag_of(store, changes, base, name)? {
        return Ok(tag);
    }
    let tags = here(base.tags(&View::new(store, changes, None), None, PAGE))?;
    let names = tags.into_iter().map(|(name, _)| name.as_str().as_bytes().to_vec());
    Err(Error::no_tag(name, names))
}

fn taken(name: &TagName, old: &Tag) -> Error {
    let (shown, id) = (escape::text(name.as_str()), old.version.to_string());
    let message = format!("the tag {shown} names version {} · {}", old.number, &id[..6]);
    Error::new(Code::Conflict, message).hint("--force lets it name another version")
}
