//! Those who come to a node that shares a drive, and ask for more than there is.

use std::time::Duration;

use bytes::Bytes;
use datnode_feed::{BlockIndex, Hash, SignedHead, UpgradeProof};
use datnode_proto::RequestId;
use datnode_proto::limits::PAYLOAD_BYTES_MAX;
use datnode_proto::wire::{Message, PREFIX_LEN};

use super::{Acts, CONTENT, Flood, Gone, Goods, Line, flood};

/// How many messages of a flood are sent in a row, and the pause behind them: some thousand a second.
const BURST: u64 = 32;
const PAUSE: Duration = Duration::from_millis(5);

/// What a peer asks of a node that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// It opens feeds without end.
    Opens,
    /// It asks for everything without end, and takes nothing.
    Requests,
    /// It asks for bytes, which have to be looked for, without end.
    Seeks,
    /// It asks for blocks that there are not.
    Beyond,
    /// It tells of longer histories that nobody signed, without end.
    Heads,
    /// It sends blocks that nobody asked for.
    Unasked,
    /// It tells what it has, in as many pieces as fit, without end.
    Haves,
    /// It withdraws what it never asked for, without end.
    Cancels,
    /// It asks for everything, grants all credit, and never reads.
    Deaf,
    /// A frame whose lengths are the greatest there are.
    Oversized,
    /// A frame that ends nowhere.
    Partial,
    /// A frame of which a byte comes each second.
    Trickle,
    /// Bytes that are no frame.
    Garbage,
}

impl Asker {
    /// Those that are found out and thrown out.
    pub const FAULTY: [Self; 7] = [
        Self::Opens,
        Self::Requests,
        Self::Beyond,
        Self::Heads,
        Self::Unasked,
        Self::Oversized,
        Self::Garbage,
    ];
    /// Those that break no rule that one frame could show.
    pub const TIRING: [Self; 6] =
        [Self::Seeks, Self::Haves, Self::Cancels, Self::Deaf, Self::Partial, Self::Trickle];

    /// Asks in its way, until it is thrown out.
    pub async fn act(self, line: Line, goods: Goods, acts: Acts) {
        // The other side ends it, sooner or later.
        let _ = self.try_act(line, &goods, &acts).await;
    }

    async fn try_act(self, mut line: Line, goods: &Goods, acts: &Acts) -> Result<(), Gone> {
        let length = goods.length(CONTENT.0 as usize);
        line.join(goods).await?;
        match self {
            Self::Opens => flood(line, flood::opens(), acts).await,
            Self::Requests => flood(line, flood::requests(length), acts).await,
            Self::Seeks => flood(line, flood::seeks(length), acts).await,
            Self::Beyond => flood(line, flood::requests(length + 1_000), acts).await,
            Self::Haves => flood(line, flood::haves(length), acts).await,
            Self::Heads => flood(line, heads(goods.head(CONTENT.0 as usize)), acts).await,
            Self::Cancels => flood(line, cancels(), acts).await,
            Self::Unasked => {
                let (channel, id, block) = (CONTENT, RequestId(0), BlockIndex(0));
                let siblings = Vec::new();
                let message = Message::Block { channel, id, block, siblings };
                acts.note();
                line.send_with(&message, Bytes::from_static(&[0; 1_000])).await?;
                line.until_gone().await;
                Err(Gone)
            }
            Self::Deaf => {
                line.send(&Message::Credit { total: u64::MAX }).await?;
                let mut requests = flood::requests(length);
                for number in 0..100 {
                    line.send(&requests(number)).await?;
                }
                acts.note();
                // The line is kept, and nothing is read from it.
                std::future::pending().await
            }
            Self::Oversized => raw(line, &[255; PREFIX_LEN], acts).await,
            Self::Partial => raw(line, &begun()[..1_000], acts).await,
            Self::Garbage => {
                let noise = crate::noise(2, 100 + PAYLOAD_BYTES_MAX);
                raw(line, &[begun(), noise].concat(), acts).await
            }
            Self::Trickle => {
                for byte in begun().chunks(1) {
                    acts.note();
                    line.send_raw(byte).await?;
                    line.listen_for(Duration::from_secs(1)).await?;
                }
                Ok(())
            }
        }
    }
}

/// Returns the beginning of a frame as long as can be.
fn begun() -> Vec<u8> {
    let lengths = [100, PAYLOAD_BYTES_MAX as u32].map(u32::to_le_bytes).concat();
    [lengths, vec![0; 2_000]].concat()
}

async fn raw(mut line: Line, bytes: &[u8], acts: &Acts) -> Result<(), Gone> {
    acts.note();
    line.send_raw(bytes).await?;
    line.until_gone().await;
    Err(Gone)
}

async fn flood(mut line: Line, mut message: Flood, acts: &Acts) -> Result<(), Gone> {
    for number in 0.. {
        line.send(&message(number)).await?;
        acts.note();
        let pause = if number % BURST == 0 { PAUSE } else { Duration::ZERO };
        line.listen_for(pause).await?;
    }
    Ok(())
}

fn heads(head: SignedHead) -> Flood {
    Box::new(move |number| {
        let mut head = head;
        head.head.length += 1 + number;
        head.head.root = Hash::of(&number.to_le_bytes());
        let proof = UpgradeProof { from: head.head.length, head, nodes: Vec::new() };
        Message::Upgrade { channel: CONTENT, proof }
    })
}

fn cancels() -> Flood {
    Box::new(|number| {
        let blocks = vec![number..number + 1];
        Message::Cancel { channel: CONTENT, id: RequestId(number), blocks }
    })
}
