//! Holds what is stored against its signatures, again and again, at a low cost: what rotted is dropped, and fetched anew.
//!
//! A little is hashed at a time, and then the disk and the processor are left to others for far longer than that took.

use std::ops::Range;
use std::time::Instant;

use datnode_feed::{BlockIndex, StoreError};

use super::member::{Event, House, Member};
use crate::engine::{Drive, Link, Worker};
use crate::error::Error;

/// How many bytes are hashed before others have their turn.
const PIECE_BYTES: u64 = 8 << 20;
/// How many times longer than a piece takes they have it: a tenth of a processor and of a disk are used at most.
const REST_TIMES: u32 = 9;

/// Checks all of a drive; returns how many blocks were not what was signed. They are dropped.
pub(super) async fn check(member: &Member, house: &House) -> Result<u64, Error> {
    let Some(drive) = member.state().drive.clone() else { return Ok(0) };
    let mut bad = 0;
    for link in drive.content_feeds().into_iter().chain([drive.changes.clone()]) {
        let mut next = Some(0);
        while let Some(from) = next {
            // Its store may have been let go.
            let open = member.state().drive.as_ref().map(|open| open.changes.id);
            if open != Some(drive.changes.id) {
                return Ok(bad);
            }
            let began = Instant::now();
            let (found, rest) = piece(&drive, &link, from).await?;
            if !found.is_empty() {
                bad += found.len() as u64;
                let runs: Vec<Range<u64>> =
                    found.into_iter().map(|block| block.0..block.0 + 1).collect();
                drive.hub.lost(link.id, runs);
            }
            next = rest;
            tokio::time::sleep(began.elapsed() * REST_TIMES).await;
        }
    }
    if bad > 0 {
        let _ = house.tell.send(Event::Damaged(member.key, bad));
        member.poke();
    }
    Ok(bad)
}

/// Checks some blocks, and drops those that are not what was signed; returns where to go on.
async fn piece(
    drive: &Drive,
    link: &Link,
    from: u64,
) -> Result<(Vec<BlockIndex>, Option<u64>), Error> {
    let slot = link.slot;
    let check = move |worker: &mut Worker| {
        let mut bad = Vec::new();
        let mut note = |block| bad.push(block);
        let (_, rest) = worker.store.check_blocks(slot, from, true, PIECE_BYTES, &mut note)?;
        for &block in &bad {
            worker.store.discard(slot, block)?;
        }
        Ok::<_, StoreError>((bad, rest))
    };
    drive.store.query(check).await.map_err(Error::store)
}
