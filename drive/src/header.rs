//! Block 0 of a changes feed: what holds for the whole drive. It is also change 0, the empty drive.
//!
//! ```text
//! 0x81 | "datnode" (7) | format u16 LE | chunker id u8 | min | max | encryption u8 | name   SPEC 8.2
//! ```

use alloc::vec::Vec;

use datnode_feed::{
    BlockIndex,
    codec::{DecodeError, Reader, Writer},
};

use crate::{
    blocks::{Blocks, fetch, kind},
    chunker::ChunkerParams,
    error::{Location, ReadError, Reading, Step},
    limits::NAME_BYTES_MAX,
};

/// The format this version writes, and the newest it reads.
pub const FORMAT: u16 = 1;

const MAGIC: &[u8] = b"datnode";

/// What holds for the whole drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format of the blocks.
    pub format: u16,
    /// How files are cut into chunks.
    pub chunker: ChunkerParams,
    /// 0: plain. Other schemes are reserved.
    pub encryption: u8,
    /// What the writer calls the drive; a hint.
    pub name: Vec<u8>,
}

/// Returns the header as block 0. A name is cut to 255 bytes.
pub fn header_block(header: &Header) -> Vec<u8> {
    let mut out = Writer::new();
    out.u8(kind::HEADER);
    out.raw(MAGIC);
    out.u16(header.format);
    out.u8(header.chunker.id);
    out.varint(u64::from(header.chunker.min));
    out.varint(u64::from(header.chunker.max));
    out.u8(header.encryption);
    let name_len = header.name.len().min(NAME_BYTES_MAX);
    out.bytes(header.name.get(..name_len).unwrap_or_default());
    out.into_vec()
}

impl Header {
    /// Returns the header of a new, plain drive.
    pub fn new(name: impl Into<Vec<u8>>) -> Self {
        Self { format: FORMAT, chunker: ChunkerParams::default(), encryption: 0, name: name.into() }
    }

    /// Reads the header of a drive and refuses newer formats by name. SPEC 8.2
    pub fn read<B: Blocks>(blocks: &B) -> Reading<Self, B::Error> {
        let at = Location::changes(BlockIndex(0));
        let Some(block) = fetch(blocks, at, kind::HEADER)? else {
            return Ok(Step::Need(alloc::vec![at]));
        };
        match Self::format_of(&block) {
            Ok(found) if found > FORMAT => return Err(ReadError::Newer { found, known: FORMAT }),
            Ok(_) => {}
            Err(error) => return Err(ReadError::damaged(at, error)),
        }
        Self::decode(&block).map(Step::Done).map_err(|error| ReadError::damaged(at, error))
    }

    /// Decodes block 0 of the format known here.
    pub fn decode(block: &[u8]) -> Result<Self, DecodeError> {
        let format = Self::format_of(block)?;
        let mut input = Reader::new(block);
        input.take(1 + MAGIC.len() + 2)?;
        let header = Self {
            format,
            chunker: ChunkerParams {
                id: input.u8()?,
                min: size(&mut input)?,
                max: size(&mut input)?,
            },
            encryption: input.u8()?,
            name: input.bytes(NAME_BYTES_MAX)?.to_vec(),
        };
        input.end()?;
        // Schemes are identified so that a reader can refuse what it cannot read.
        if header.format != FORMAT || header.encryption != 0 || !header.chunker.is_valid() {
            return Err(DecodeError::Invalid("header"));
        }
        Ok(header)
    }

    fn format_of(block: &[u8]) -> Result<u16, DecodeError> {
        let mut input = Reader::new(block);
        if input.u8()? != kind::HEADER || input.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError::Invalid("header"));
        }
        input.u16()
    }
}

fn size(input: &mut Reader<'_>) -> Result<u32, DecodeError> {
    u32::try_from(input.varint()?).map_err(|_| DecodeError::Invalid("chunk size"))
}
