//! What both ends of `datnode pipe` say before they replicate (SPEC 12.1).
//!
//! ```text
//! pipe:    GREETING | drive's key 32 | random 32
//! other:   GREETING | random 32
//! ```
//!
//! The random bytes stand for the peer ids. The carrier authenticates both ends and hides what is said: ssh does.

use std::io;

use datnode_feed::PublicKey;
use datnode_proto::Binding;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What each side says first.
pub const GREETING: &[u8; 16] = b"datnode-stdio/1\n";

/// How many random bytes stand for each end.
pub const RANDOM_LEN: usize = 32;

/// Welcomes whoever began the stream: which drive is here, and `ours` for this end. Returns what stands for the other one.
///
/// # Errors
/// What the stream says, and one that does not greet.
pub async fn welcome<R, W>(
    read: &mut R,
    write: &mut W,
    key: &PublicKey,
    ours: &[u8; RANDOM_LEN],
) -> io::Result<[u8; RANDOM_LEN]>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    write.write_all(&[&GREETING[..], key.as_bytes(), ours].concat()).await?;
    write.flush().await?;
    let mut greeting = [0; GREETING.len()];
    read.read_exact(&mut greeting).await?;
    if &greeting != GREETING {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no datnode at the other end"));
    }
    let mut theirs = [0; RANDOM_LEN];
    read.read_exact(&mut theirs).await?;
    Ok(theirs)
}

/// What a pipe's other end was found to be.
#[derive(Debug)]
pub enum Met {
    /// A pipe with this drive.
    Drive(PublicKey, Binding),
    /// Nothing: the stream ended before it said enough.
    Nobody,
    /// Something else, which said this first.
    Stranger(Vec<u8>),
}

/// Greets a pipe; `ours` stands for this end.
///
/// # Errors
/// What the stream says.
pub async fn greet<R, W>(read: &mut R, write: &mut W, ours: &[u8; RANDOM_LEN]) -> io::Result<Met>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut greeting = Vec::with_capacity(GREETING.len());
    while greeting.len() < GREETING.len() && GREETING.starts_with(&greeting) {
        let left = GREETING.len() - greeting.len();
        if (&mut *read).take(left as u64).read_buf(&mut greeting).await? == 0 {
            break;
        }
    }
    match &*greeting {
        said if said == GREETING => {}
        said if GREETING.starts_with(said) => return Ok(Met::Nobody),
        _ => return Ok(Met::Stranger(greeting)),
    }
    let (mut key, mut theirs) = ([0; 32], [0; RANDOM_LEN]);
    read.read_exact(&mut key).await?;
    read.read_exact(&mut theirs).await?;
    let Ok(key) = PublicKey::from_bytes(key) else { return Ok(Met::Stranger(key.to_vec())) };
    write.write_all(&[&GREETING[..], ours].concat()).await?;
    write.flush().await?;
    Ok(Met::Drive(key, Binding { ours: ours.to_vec(), theirs: theirs.to_vec() }))
}
