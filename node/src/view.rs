//! A store as `datnode_drive` reads it.

use std::borrow::Cow;
use std::cell::RefCell;

use datnode_drive::{Blocks, Location};
use datnode_feed::{FeedSlot, Storage, Store, StoreError};

/// The feeds of one drive in a store, by the slots of its feed table: 0 for changes, 1 for content.
pub struct View<'a, S> {
    /// The store.
    pub store: RefCell<&'a mut Store<S>>,
    slots: [Option<FeedSlot>; 2],
}

impl<'a, S: Storage> View<'a, S> {
    /// Reads the drive whose feeds are `changes` and `content`.
    pub fn new(store: &'a mut Store<S>, changes: FeedSlot, content: Option<FeedSlot>) -> Self {
        Self { store: RefCell::new(store), slots: [Some(changes), content] }
    }
}

impl<S: Storage> Blocks for View<'_, S> {
    type Error = StoreError;

    fn block(&self, at: Location) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let Some(slot) = self.slots.get(usize::from(at.slot)).copied().flatten() else {
            return Ok(None);
        };
        Ok(self.store.borrow_mut().read(slot, at.block)?.map(Cow::Owned))
    }
}
