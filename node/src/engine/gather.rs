//! Fetches whatever connected peers hold of a feed, needed or not.

use std::time::Duration;

use datnode_feed::Bitfield;
use datnode_proto::{Target, Want};

use super::drive::{Drive, Link};
use crate::error::Error;

/// How often it is looked what is out of reach.
const LOOK: Duration = Duration::from_millis(200);

impl Drive {
    /// Fetches what connected peers hold of a feed and is not here; returns how many blocks none of them has.
    ///
    /// # Errors
    /// What our own disk says.
    pub async fn gather(&self, feed: &Link) -> Result<u64, Error> {
        let (slot, length) = (feed.slot, feed.news.borrow().length);
        if length == 0 {
            return Ok(0);
        }
        let mut wanted = self.hub.want(feed.id, Want::new(Target::Blocks(vec![0..length])));
        let out_of_reach = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let held = self.store.query(move |worker| worker.store.have(slot).clone()).await;
                let nothing_more = |all: Bitfield| all.runs().all(|run| held.all(run));
                if self.hub.in_reach(feed.id).is_some_and(nothing_more) {
                    return;
                }
            }
        };
        let ended = async {
            tokio::select! {
                () = wanted.done() => {}
                () = out_of_reach => {}
            }
        };
        if let Err(error) = self.patience.wait(&self.hub, ended).await {
            tracing::debug!(error = error.message(), "what peers claim to hold does not come");
        }
        let missing = self.store.query(move |worker| match worker.take_failure() {
            Some(error) => Err(error),
            None => {
                let held = worker.store.have(slot).iter_ones(0..length).count() as u64;
                worker.commit().map(|()| length - held)
            }
        });
        missing.await
    }

    /// Returns the drive's header.
    ///
    /// # Errors
    /// Those of [`latest`](Self::latest).
    pub async fn header(&self) -> Result<datnode_drive::Header, Error> {
        self.ask(None, |view| datnode_drive::Header::read(view)).await
    }
}
