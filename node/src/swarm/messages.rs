//! What is asked of a node of the table, and its answers: those messages of Kademlia that a lookup needs (SPEC 9.7).
//!
//! They are of protocol buffers, each behind its length, a request and an answer on a stream of their own. What is not needed is passed
//! over; what has not the form of an answer is none.
//! Elsewhere: who is asked (`lookup`); how others are answered (libp2p).

use std::io;

use datnode_feed::codec::{DecodeError, Reader, Writer};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::kad::RecordKey;
use libp2p::{Multiaddr, PeerId, StreamProtocol, request_response};

use super::limits;

/// Somebody, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) peer: PeerId,
    /// Each with the peer's id at its end.
    pub(super) addresses: Vec<Multiaddr>,
}

/// What a node is asked, or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Who is close to a key.
    Closer(RecordKey),
    /// Who is close to it, and who said that they have what it stands for.
    Providers(RecordKey),
    /// We have it, and are here. There is no answer.
    Provide(RecordKey, Named),
}

/// What a node answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Nodes close to the key.
    pub(super) closer: Vec<Named>,
    /// Who has it.
    pub(super) providers: Vec<Named>,
}

/// Fields of a message.
const TYPE: u64 = 1;
const KEY: u64 = 2;
const CLOSER: u64 = 8;
const PROVIDERS: u64 = 9;
/// Fields of somebody who is named.
const ID: u64 = 1;
const ADDRESS: u64 = 2;
/// Types of a message.
const ADD_PROVIDER: u64 = 2;
const GET_PROVIDERS: u64 = 3;
const FIND_NODE: u64 = 4;
/// How a field is written: as a number, or as bytes.
const NUMBER: u64 = 0;
const BYTES: u64 = 2;

impl Request {
    /// Returns its bytes.
    fn encode(&self) -> Vec<u8> {
        let (kind, key) = match self {
            Self::Closer(key) => (FIND_NODE, key),
            Self::Providers(key) => (GET_PROVIDERS, key),
            Self::Provide(key, _) => (ADD_PROVIDER, key),
        };
        let mut writer = Writer::new();
        writer.varint(TYPE << 3 | NUMBER).varint(kind);
        writer.varint(KEY << 3 | BYTES).bytes(&key.to_vec());
        if let Self::Provide(_, Named { peer, addresses }) = self {
            let mut named = Writer::new();
            named.varint(ID << 3 | BYTES).bytes(&peer.to_bytes());
            for address in addresses {
                named.varint(ADDRESS << 3 | BYTES).bytes(&address.to_vec());
            }
            writer.varint(PROVIDERS << 3 | BYTES).bytes(named.as_slice());
        }
        writer.into_vec()
    }
}

impl Answer {
    /// Reads an answer; of those whom it names [`limits::DHT_NAMES`] of each kind at most.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut answer = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, bytes)) = field(&mut reader)? {
            let names = match field {
                CLOSER => &mut answer.closer,
                PROVIDERS => &mut answer.providers,
                _ => continue,
            };
            if let Some(named) = named(bytes)?.filter(|_| names.len() < limits::DHT_NAMES) {
                names.push(named);
            }
        }
        Ok(answer)
    }
}

/// Takes the next field that consists of bytes.
fn field<'a>(reader: &mut Reader<'a>) -> Result<Option<(u64, &'a [u8])>, DecodeError> {
    while !reader.is_empty() {
        let tag = reader.varint()?;
        match tag & 7 {
            NUMBER => drop(reader.varint()?),
            BYTES => return Ok(Some((tag >> 3, reader.bytes(limits::DHT_ANSWER_BYTES)?))),
            _ => return Err(DecodeError::Invalid("field")),
        }
    }
    Ok(None)
}

/// Reads somebody who is named; nothing if there is no address at which they could be.
fn named(bytes: &[u8]) -> Result<Option<Named>, DecodeError> {
    let (mut peer, mut all) = (None, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((field, bytes)) = field(&mut reader)? {
        match field {
            ID => peer = PeerId::from_bytes(bytes).ok(),
            ADDRESS if all.len() < limits::ADDRESSES_PER_TARGET => all.push(bytes),
            _ => {}
        }
    }
    let Some(peer) = peer else { return Ok(None) };
    let fits = all.into_iter().filter(|bytes| bytes.len() <= limits::DHT_ADDRESS_BYTES);
    let address = |bytes: &[u8]| Multiaddr::try_from(bytes.to_vec()).ok()?.with_p2p(peer).ok();
    let addresses: Vec<Multiaddr> = fits.filter_map(address).collect();
    Ok((!addresses.is_empty()).then_some(Named { peer, addresses }))
}

/// How they travel.
#[derive(Clone, Debug, Default)]
pub(super) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    /// Nothing where nothing was said.
    type Response = Option<Answer>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn read_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Option<Answer>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let Some(len) = read_len(io).await? else { return Ok(None) };
        let mut bytes = vec![0; len];
        io.read_exact(&mut bytes).await?;
        Answer::decode(&bytes).map(Some).map_err(invalid)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let mut writer = Writer::new();
        writer.bytes(&request.encode());
        io.write_all(writer.as_slice()).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Option<Answer>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Reads how long an answer is; nothing where nothing was said.
async fn read_len<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Option<usize>> {
    let most = limits::DHT_ANSWER_BYTES;
    let mut len = 0;
    for shift in [0, 7, 14] {
        let mut byte = [0];
        match io.read(&mut byte).await? {
            0 if shift == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        let [byte] = byte;
        len |= usize::from(byte & 0x7f) << shift;
        match byte & 0x80 == 0 {
            true if len <= most => return Ok(Some(len)),
            true => break,
            false => {}
        }
    }
    Err(invalid(DecodeError::TooLong(most)))
}

/// An answer: of whatever is in it, no more is kept than the limits say. Entry point for fuzzing.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(input: &[u8]) -> bool {
    let Ok(answer) = Answer::decode(input) else { return false };
    for names in [&answer.closer, &answer.providers] {
        assert!(names.len() <= limits::DHT_NAMES, "more are named than are kept");
        for Named { peer, addresses } in names {
            assert!((1..=limits::ADDRESSES_PER_TARGET).contains(&addresses.len()));
            let is_theirs = |address: &Multiaddr| super::peer_of(address) == Some(*peer);
            assert!(addresses.iter().all(is_theirs), "an address is that of whom it was named for");
        }
    }
    true
}

#[cfg(feature = "fuzz")]
pub(crate) fn fuzz_seeds() -> Vec<Vec<u8>> {
    let key = [8, 1, 18, 32].into_iter().chain([7; 32]).collect::<Vec<u8>>();
    let peer = PeerId::from_bytes(&[&[0, 36][..], &key].concat()).expect("a short key is its id");
    let at = |text: &str| text.parse().expect("it is an address");
    let addresses = vec![at("/ip4/192.0.2.1/tcp/1"), at("/ip6/::1/udp/1/quic-v1")];
    let named = Named { peer, addresses };
    let one = Request::Provide(RecordKey::from(vec![7; 32]), named).encode();
    let many = one.repeat(limits::DHT_NAMES + 1);
    vec![Vec::new(), one, many]
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::super::dht::PROTOCOL;
    use super::*;

    fn someone() -> Named {
        let peer = PeerId::random();
        let at = |text: &str| text.parse::<Multiaddr>().unwrap().with_p2p(peer).unwrap();
        Named { peer, addresses: vec![at("/ip4/192.0.2.1/tcp/1"), at("/ip6/::1/udp/1/quic-v1")] }
    }

    /// Who provides travels as who is named in an answer does.
    fn answer_with(count: usize) -> Vec<u8> {
        let key = RecordKey::from(vec![7; 32]);
        let one = |_| Request::Provide(key.clone(), someone()).encode();
        (0..count).flat_map(one).collect()
    }

    #[test]
    fn who_is_named_is_understood_and_no_more_than_the_limit() {
        let someone = someone();
        let bytes = Request::Provide(RecordKey::from(vec![7; 32]), someone.clone()).encode();
        assert_eq!(bytes[..4], [0x08, 2, 0x12, 32], "as protocol buffers have it");
        let answer = Answer::decode(&bytes).unwrap();
        assert_eq!(answer, Answer { closer: Vec::new(), providers: vec![someone] });
        let many = Answer::decode(&answer_with(2 * limits::DHT_NAMES)).unwrap();
        assert_eq!(many.providers.len(), limits::DHT_NAMES);
    }

    /// Reads an answer from a stream of these bytes.
    async fn read(bytes: &[u8]) -> io::Result<Option<Answer>> {
        let mut stream = futures::io::Cursor::new(bytes);
        request_response::Codec::read_response(&mut Codec, &PROTOCOL, &mut stream).await
    }

    #[tokio::test]
    async fn an_answer_has_a_length_and_that_an_end() {
        assert_eq!(read(&[]).await.unwrap(), None, "nothing was said");
        assert_eq!(read(&[0]).await.unwrap(), Some(Answer::default()));
        let longest = [&[0x80, 0x80, 0x01][..], &[0; limits::DHT_ANSWER_BYTES]].concat();
        // Fields that mean nothing.
        assert_eq!(read(&longest).await.unwrap(), Some(Answer::default()));
        let cut = read(&longest[..longest.len() - 1]).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        for long in [[0x81, 0x80, 0x01], [0xff, 0xff, 0x7f], [0x80; 3], [0x81, 0x80, 0x80]] {
            let error = read(&[&long[..], &longest].concat()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{long:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_garbled_is_no_answer_and_does_no_harm() {
        let bytes = answer_with(1);
        for len in 1..bytes.len() {
            // A cut between two fields leaves an answer without what follows.
            if let Ok(answer) = Answer::decode(&bytes[..len]) {
                assert_eq!(answer, Answer::default(), "cut at {len}");
            }
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let _ = Answer::decode(&bytes);
            }
        }
        assert!(Answer::decode(&[0x09, 0, 0, 0, 0, 0, 0, 0, 0]).is_err(), "a field of 8 bytes");
    }
}
