//! One published feed, read from the server: nodes by pages that are kept for a while, bytes in long ranges that are read on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use datnode_feed::limits::BLOCK_BYTES_MAX;
use datnode_feed::{
    Bitfield, BlockIndex, BlockProof, Comparison, LeavesProof, Node, NodeIndex, PublicKey,
    UpgradeProof, peaks, upgrade_nodes,
};
use datnode_proto::{Done, Failure, Job};
use futures::future::try_join_all;

use super::http::{Body, Client, WebError};
use crate::published::{Kind, NODE_LEN, Published, decode_node, file, nodes_over, place_of};

/// How many nodes are fetched at a time: 40 KiB.
const PAGE_NODES: u64 = 1_024;
/// How many such pages are kept: 10 MiB.
const PAGES_MAX: usize = 256;
/// How many are fetched at once.
const PAGES_AT_ONCE: usize = 8;
/// How many bytes one request for data asks for at most.
const RANGE_MAX: u64 = 8 << 20;

/// What of the feed was asked for and is to be sent, which says how far to read on.
pub(super) type Asked = Arc<Mutex<Bitfield>>;

/// A feed on a server.
pub(super) struct Feed {
    client: Arc<Client>,
    key: PublicKey,
    fork: u64,
    length: u64,
    head: datnode_feed::SignedHead,
    have: Bitfield,
    asked: Asked,
    pages: BTreeMap<u64, Bytes>,
    /// In the order in which they came.
    order: VecDeque<u64>,
    flow: Option<Flow>,
}

/// A range that is being read.
struct Flow {
    /// Where its next byte is in the feed.
    at: u64,
    body: Body,
}

impl Feed {
    pub(super) fn new(client: Arc<Client>, published: &Published, asked: Asked) -> Self {
        let head = published.head;
        Self {
            client,
            key: published.key,
            fork: head.head.fork,
            length: head.head.length,
            head,
            have: published.have(),
            asked,
            pages: BTreeMap::new(),
            order: VecDeque::new(),
            flow: None,
        }
    }

    /// Takes over what is published now, of the same history.
    pub(super) fn grow(&mut self, published: &Published) {
        // The last page was cut where the nodes ended.
        let last = nodes_over(self.length) / PAGE_NODES;
        self.pages.remove(&last);
        self.order.retain(|page| *page != last);
        self.head = published.head;
        self.length = published.head.head.length;
        self.have = published.have();
    }

    /// Does what a store does for those who ask it; what one does who fetches is not done.
    pub(super) async fn execute(&mut self, job: Job) -> Result<Done, WebError> {
        Ok(match job {
            Job::Read { peer, feed, request, urgency, block, levels } => {
                let answer = present(self.read(block, levels).await)?;
                Done::Read { peer, feed, request, urgency, block, answer }
            }
            Job::Locate { peer, feed, request, urgency, length, bytes } => {
                let blocks = present(self.locate(bytes).await)?;
                Done::Located { peer, feed, request, urgency, length, blocks }
            }
            Job::Leaves { peer, feed, request, top, levels } => {
                let proof = present(self.leaves(top, levels).await)?;
                Done::Leaves { peer, feed, request, proof }
            }
            Job::Prove { peer, feed, from } => {
                let nodes = upgrade_nodes(from, self.length).collect();
                let nodes = present(self.nodes(nodes).await)?;
                let head = self.head;
                Done::Proved {
                    peer,
                    feed,
                    proof: nodes.map(|nodes| UpgradeProof { from, head, nodes }),
                }
            }
            Job::Learn { peer, feed, request, .. } => {
                Done::Learned { peer, feed, request, result: Err(Failure::Ours) }
            }
            // What is published is another matter than what others know.
            Job::Upgrade { peer, feed, proof } => {
                let result = Err(Failure::Behind(proof.head.head.length));
                Done::Upgraded { peer, feed, result }
            }
            Job::Compare { peer, feed, head } => {
                Done::Compared { peer, feed, head, result: Ok(Comparison::Agree) }
            }
            Job::Accuse { peer, feed, .. } => {
                Done::Accused { peer, feed, result: Err(Failure::Ours) }
            }
            Job::Store { peer, feed, block, bytes, .. } => {
                let (len, result) = (bytes.len() as u64, Err(Failure::Ours));
                Done::Stored { peer, feed, block, len, result }
            }
        })
    }

    async fn read(
        &mut self,
        block: BlockIndex,
        levels: u32,
    ) -> Result<(BlockProof, Bytes), WebError> {
        let path: Vec<NodeIndex> = up(block.node(), levels).collect();
        let mut wanted = vec![block.node()];
        wanted.extend(path.iter().map(|node| node.sibling()));
        wanted.extend(self.left_of(block.0));
        let nodes = self.nodes(wanted).await?;
        let leaf = *nodes.first().ok_or(WebError::Tree)?;
        let siblings = nodes.get(1..=path.len()).ok_or(WebError::Tree)?.to_vec();
        let start = sum(nodes.get(path.len() + 1..).unwrap_or_default())?;
        if leaf.size > BLOCK_BYTES_MAX as u64 {
            return Err(WebError::Tree);
        }
        let bytes = self.bytes(block, start, leaf.size).await?;
        Ok((BlockProof { block, leaf, siblings }, bytes))
    }

    /// Finds the blocks that hold some bytes, which is going down from the peaks by sizes.
    async fn locate(&mut self, bytes: Range<u64>) -> Result<Range<u64>, WebError> {
        let first = self.seek(bytes.start).await?;
        let last = self.seek(bytes.end.saturating_sub(1)).await?;
        Ok(first..last.saturating_add(1))
    }

    async fn seek(&mut self, byte: u64) -> Result<u64, WebError> {
        let tops: Vec<NodeIndex> = peaks(self.length).collect();
        let nodes = self.nodes(tops.clone()).await?;
        let mut left = byte;
        for (top, node) in tops.into_iter().zip(nodes) {
            if left >= node.size {
                left -= node.size;
                continue;
            }
            let mut at = top;
            while let (Some(below), Some(right)) = (at.left_child(), at.right_child()) {
                let size = self.nodes(vec![below]).await?.first().ok_or(WebError::Tree)?.size;
                at = if left < size {
                    below
                } else {
                    left -= size;
                    right
                };
            }
            return Ok(at.blocks().start);
        }
        Err(WebError::Tree)
    }

    async fn leaves(&mut self, top: NodeIndex, levels: u32) -> Result<LeavesProof, WebError> {
        let leaves: Vec<NodeIndex> = top.blocks().map(|block| BlockIndex(block).node()).collect();
        let count = leaves.len();
        let siblings = up(top, levels).map(NodeIndex::sibling);
        let mut nodes = self.nodes(leaves.into_iter().chain(siblings).collect()).await?;
        let siblings = nodes.split_off(count.min(nodes.len()));
        Ok(LeavesProof { top, leaves: nodes, siblings })
    }

    /// Returns the nodes over all blocks left of one, whose sizes make its place.
    fn left_of(&self, block: u64) -> Vec<NodeIndex> {
        datnode_feed::subtrees(0, block).collect()
    }

    /// Returns nodes in the order in which they are asked for; the pages that they are on are fetched together.
    async fn nodes(&mut self, wanted: Vec<NodeIndex>) -> Result<Vec<Node>, WebError> {
        let end = nodes_over(self.length);
        let places: Vec<u64> = wanted.into_iter().map(place_of).collect();
        if places.iter().any(|&place| place >= end) {
            return Err(WebError::Tree);
        }
        let pages: BTreeSet<u64> = places.iter().map(|place| place / PAGE_NODES).collect();
        let missing: Vec<u64> =
            pages.iter().filter(|page| !self.pages.contains_key(page)).copied().collect();
        let (mut fetched, this) = (BTreeMap::new(), &*self);
        for some in missing.chunks(PAGES_AT_ONCE) {
            let all = some.iter().map(|&page| async move {
                let nodes = page * PAGE_NODES..end.min((page + 1) * PAGE_NODES);
                let bytes = nodes.start * NODE_LEN..nodes.end * NODE_LEN;
                Ok::<_, WebError>((page, this.file(Kind::Tree, bytes).await?))
            });
            fetched.extend(try_join_all(all).await?);
        }
        let node = |place: u64| {
            let page = place / PAGE_NODES;
            let page = fetched.get(&page).or_else(|| self.pages.get(&page))?;
            let start = usize::try_from(place % PAGE_NODES * NODE_LEN).ok()?;
            decode_node(page.get(start..start + usize::try_from(NODE_LEN).ok()?)?)
        };
        let nodes = places
            .into_iter()
            .map(|place| node(place).ok_or(WebError::Missing("a node".to_owned())));
        let nodes = nodes.collect::<Result<Vec<_>, _>>();
        for (page, bytes) in fetched {
            self.pages.insert(page, bytes);
            self.order.push_back(page);
        }
        while self.order.len() > PAGES_MAX {
            let oldest = self.order.pop_front();
            oldest.map(|page| self.pages.remove(&page));
        }
        nodes
    }

    /// Returns bytes of a kind of file, over the segments that they are in.
    async fn file(&self, kind: Kind, bytes: Range<u64>) -> Result<Bytes, WebError> {
        let mut all = BytesMut::new();
        for (number, place) in kind.pieces(bytes) {
            let name = file(&self.key, self.fork, kind, number);
            all.extend_from_slice(&self.client.bytes(&name, place).await?);
        }
        Ok(all.freeze())
    }

    /// Returns the bytes of a block: the next ones of what is being read, or the first of a range that is begun.
    async fn bytes(&mut self, block: BlockIndex, start: u64, len: u64) -> Result<Bytes, WebError> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let place = start..start.checked_add(len).ok_or(WebError::Tree)?;
        let goes_on =
            self.flow.as_ref().is_some_and(|flow| flow.at == start && !flow.body.is_over());
        let mut pieces = Kind::Data.pieces(place.clone());
        let (Some((number, piece)), None) = (pieces.next(), pieces.next()) else {
            // It lies across the end of a segment.
            self.flow = None;
            return self.file(Kind::Data, place).await;
        };
        if !goes_on {
            self.flow = None;
            let end = self.end_of(block, start, len).await?;
            let until = piece.start.saturating_add(end - start).min(Kind::Data.segment());
            let name = file(&self.key, self.fork, Kind::Data, number);
            let body = self.client.range(&name, piece.start..until).await?;
            self.flow = Some(Flow { at: start, body });
        }
        let flow = self.flow.as_mut().expect("there is one now");
        let bytes = match flow.body.take(len).await {
            Ok(bytes) => bytes,
            Err(error) => {
                self.flow = None;
                return Err(error);
            }
        };
        flow.at = place.end;
        if let Some(flow) = self.flow.take_if(|flow| flow.body.is_over()) {
            self.client.done(flow.body).await;
        }
        Ok(bytes)
    }

    /// Returns where to stop reading that begins with a block: behind the blocks that were asked for with it and are there.
    async fn end_of(&mut self, block: BlockIndex, start: u64, len: u64) -> Result<u64, WebError> {
        let own = start.checked_add(len).ok_or(WebError::Tree)?;
        // Blocks whose leaves are on the same page as this one's cost no request.
        let page_end = (block.0..self.length)
            .take_while(|next| {
                place_of(BlockIndex(*next).node()) / PAGE_NODES
                    == place_of(block.node()) / PAGE_NODES
            })
            .last()
            .map_or(block.0 + 1, |last| last + 1);
        let last = {
            let asked = self.asked.lock().expect("no code panics while it holds this");
            (block.0 + 1..page_end)
                .take_while(|&next| asked.contains(next) && self.have.contains(next))
                .last()
        };
        let Some(last) = last else { return Ok(own) };
        let leaves = (block.0 + 1..=last).map(|next| BlockIndex(next).node()).collect();
        let mut end = own;
        for leaf in self.nodes(leaves).await? {
            let further = end.checked_add(leaf.size).ok_or(WebError::Tree)?;
            if further - start > RANGE_MAX {
                break;
            }
            end = further;
        }
        // Nor beyond the segment, where another request begins anyway.
        Ok(end)
    }
}

/// Returns the nodes on the way up from one, itself first.
fn up(node: NodeIndex, levels: u32) -> impl Iterator<Item = NodeIndex> {
    let levels = usize::try_from(levels).unwrap_or_default();
    std::iter::successors(Some(node), |node| Some(node.parent())).take(levels)
}

fn sum(nodes: &[Node]) -> Result<u64, WebError> {
    let mut sizes = nodes.iter().map(|node| node.size);
    let sum = sizes.try_fold(0_u64, u64::checked_add);
    sum.filter(|&sum| sum < datnode_feed::limits::BYTE_LENGTH_END).ok_or(WebError::Tree)
}

/// Tells what is not there apart from what is wrong.
fn present<T>(found: Result<T, WebError>) -> Result<Option<T>, WebError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(WebError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
