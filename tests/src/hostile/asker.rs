//! Those who come to a node that shares a drive, and ask for more than there is.

use std::time::Duration;

use bytes::Bytes;
use datnode_feed::BlockIndex;
use datnode_proto::RequestId;
use datnode_proto::limits::PAYLOAD_BYTES_MAX;
use datnode_proto::wire::{Message, PREFIX_LEN};
use datnode_sim::hostile::flood::{self, Flood};

use super::{Acts, CONTENT, Gone, Goods, Line};

/// How long a flood pauses behind each burst of messages.
const PAUSE: Duration = Duration::from_millis(5);

/// How many messages of a flood are sent in a row.
#[derive(Clone, Copy, Debug)]
pub struct Burst(u64);

impl Burst {
    /// Some thousand a second.
    pub const WILD: Self = Self(32);
    /// Two hundred a second.
    pub const STEADY: Self = Self(1);
}

/// What a peer asks of a node that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// It opens feeds without end.
    Opens,
    /// It asks for everything without end, and takes nothing.
    Requests,
    /// It asks for bytes, which have to be looked for, without end.
    Seeks,
    /// It asks for leaves without their blocks, without end.
    Leaves,
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
    /// It asks for everything, grants all credit, and reads a frame a second.
    Sips,
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
    pub const TIRING: [Self; 8] = [
        Self::Seeks,
        Self::Leaves,
        Self::Haves,
        Self::Cancels,
        Self::Deaf,
        Self::Sips,
        Self::Partial,
        Self::Trickle,
    ];

    /// Asks in its way, until it is thrown out.
    pub async fn act(self, burst: Burst, line: Line, goods: Goods, acts: Acts) {
        // The other side ends it, sooner or later.
        let _ = self.try_act(burst, line, &goods, &acts).await;
    }

    async fn try_act(
        self,
        burst: Burst,
        mut line: Line,
        goods: &Goods,
        acts: &Acts,
    ) -> Result<(), Gone> {
        let length = goods.length(CONTENT.0 as usize);
        if self == Self::Requests {
            line.credit = 0;
        }
        line.join(goods).await?;
        match self {
            Self::Opens => send(line, burst, flood::opens(), acts).await,
            Self::Requests => send(line, burst, flood::requests(CONTENT, length), acts).await,
            Self::Seeks => send(line, burst, flood::seeks(CONTENT, length), acts).await,
            Self::Leaves => send(line, burst, flood::leaves(CONTENT, length), acts).await,
            Self::Beyond => send(line, burst, flood::requests(CONTENT, length + 1_000), acts).await,
            Self::Haves => send(line, burst, flood::haves(CONTENT, length), acts).await,
            Self::Heads => {
                send(line, burst, flood::heads(CONTENT, goods.head(CONTENT.0 as usize)), acts).await
            }
            Self::Cancels => send(line, burst, flood::cancels(CONTENT), acts).await,
            Self::Unasked => {
                let (channel, id, block) = (CONTENT, RequestId(0), BlockIndex(0));
                let siblings = Vec::new();
                let message = Message::Block { channel, id, block, siblings };
                acts.note();
                line.send_with(&message, Bytes::from_static(&[0; 1_000])).await?;
                line.until_gone().await;
                Err(Gone)
            }
            Self::Deaf | Self::Sips => {
                line.send(&Message::Credit { total: u64::MAX }).await?;
                let mut requests = flood::requests(CONTENT, length);
                for number in 0..100 {
                    line.send(&requests(number)).await?;
                }
                acts.note();
                if self == Self::Deaf {
                    // The line is kept, and nothing is read from it.
                    std::future::pending::<()>().await;
                }
                loop {
                    line.receive().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
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

async fn send(mut line: Line, burst: Burst, mut message: Flood, acts: &Acts) -> Result<(), Gone> {
    for number in 0.. {
        line.send(&message(number)).await?;
        acts.note();
        let pause = if number % burst.0 == 0 { PAUSE } else { Duration::ZERO };
        line.listen_for(pause).await?;
    }
    Ok(())
}
