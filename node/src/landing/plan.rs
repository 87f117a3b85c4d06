//! Which block belongs where among the files of a version.

use std::ops::Range;

use datnode_drive::{Entry, SafePath};

/// A run of blocks, and where it lies in a file.
#[derive(Clone, Copy, Debug)]
struct Span {
    first_block: u64,
    end_block: u64,
    first_byte: u64,
    file: usize,
    file_offset: u64,
}

/// A place of a block: a file of the plan, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// The files that are to land, and their blocks.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: Vec<(SafePath, Entry)>,
    /// Sorted by first block.
    spans: Vec<Span>,
    /// The longest span, which bounds how far back a block's spans begin.
    longest: u64,
}

impl Plan {
    pub(super) fn new(files: Vec<(SafePath, Entry)>) -> Self {
        let mut spans = Vec::new();
        for (file, (_, entry)) in files.iter().enumerate() {
            let mut file_offset = 0;
            for extent in &entry.extents {
                let Range { start: first_block, end: end_block } = extent.blocks();
                let first_byte = extent.first_byte;
                spans.push(Span { first_block, end_block, first_byte, file, file_offset });
                file_offset += extent.bytes;
            }
        }
        spans.sort_unstable_by_key(|span| (span.first_block, span.file, span.file_offset));
        let longest = spans.iter().map(|span| span.end_block - span.first_block).max().unwrap_or(0);
        Self { files, spans, longest }
    }

    /// Returns all places of a block that begins at `byte_offset` of its feed.
    pub(super) fn spots(&self, block: u64, byte_offset: u64) -> Vec<Spot> {
        let end = self.spans.partition_point(|span| span.first_block <= block);
        let earliest = block.saturating_sub(self.longest);
        let near = self.spans[..end].iter().rev().take_while(|span| span.first_block >= earliest);
        let spot = |span: &Span| {
            let within = byte_offset.checked_sub(span.first_byte)?;
            (block < span.end_block)
                .then(|| Spot { file: span.file, offset: span.file_offset + within })
        };
        near.filter_map(spot).collect()
    }

    /// Returns the name of a file.
    pub(super) fn name(&self, file: usize) -> &[u8] {
        self.files[file].0.as_bytes()
    }

    /// Returns the runs of blocks that the files need, ascending and apart.
    pub(super) fn runs(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for span in &self.spans {
            match runs.last_mut() {
                Some(last) if last.end >= span.first_block => {
                    last.end = last.end.max(span.end_block);
                }
                _ => runs.push(span.first_block..span.end_block),
            }
        }
        runs
    }
}
