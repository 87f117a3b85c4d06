//! TLS 1.3 as libp2p has it, with the cipher first that this processor is best at.
//!
//! `libp2p-tls` puts ChaCha20 first, and the client's order decides; AES-GCM takes a fraction of its time where the processor has
//! instructions for it. So only the order of the ciphers is ours: certificates, and what they have to prove, are `libp2p-tls`'s.
//! Records are enciphered by whichever of AWS-LC and `ring` has the wider instructions for this processor; what needs random numbers is
//! done by `ring`, since AWS-LC times the processor for some 80 ms before its first.
//! On the wire it is `/tls/1.0.0` of the libp2p specification. Noise is there for peers that have no TLS.

use std::error::Error;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::{BoxFuture, Either};
use futures::{AsyncRead, AsyncWrite, FutureExt as _, TryFutureExt as _};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::tls::certificate;
use libp2p::{PeerId, noise};
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ClientConfig, CommonState, ServerConfig, SupportedCipherSuite};

use super::brief::Brief;
use super::verifier::Verifier;

const TLS: &str = "/tls/1.0.0";
const NOISE: &str = "/noise";
const AES_128: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
const AES_256: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
const CHACHA20: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;

/// What enciphers a connection.
type Cipher<C> = Either<TlsStream<C>, noise::Output<C>>;

/// What a secured connection is.
pub(super) type Secured<C> = Brief<Cipher<C>>;

/// Secures connections: by TLS, or by Noise with peers that have nothing else.
#[derive(Clone)]
pub(super) struct Secure {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    noise: noise::Config,
}

impl Secure {
    /// Makes a certificate for the key of a node, good for as long as this lives.
    pub(super) fn new(identity: &Keypair) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (certificate, secret) = certificate::generate(identity)?;
        let secret = ring::sign::any_ecdsa_type(&secret)?;
        Self::with(CertifiedKey::new(vec![certificate], secret), noise::Config::new(identity)?)
    }

    fn with(own: CertifiedKey, noise: noise::Config) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let own = Arc::new(SingleCertAndKey::from(own));
        let provider = CryptoProvider { cipher_suites: ciphers(), ..ring::default_provider() };
        let (provider, versions) = (Arc::new(provider), [&rustls::version::TLS13]);
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(own.clone());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(own);
        client.alpn_protocols = vec![b"libp2p".to_vec()];
        server.alpn_protocols = client.alpn_protocols.clone();
        // Others would choose ChaCha20.
        server.ignore_client_order = true;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), noise })
    }
}

/// Returns the ciphers of TLS 1.3, the fastest first.
fn ciphers() -> Vec<SupportedCipherSuite> {
    let known = if has_vaes_of_256_bits_at_most() {
        ring::ALL_CIPHER_SUITES
    } else {
        aws_lc_rs::ALL_CIPHER_SUITES
    };
    let order = if has_aes() { [AES_128, AES_256, CHACHA20] } else { [CHACHA20, AES_128, AES_256] };
    let named = |name| known.iter().find(|cipher| cipher.suite() == name).copied();
    order.into_iter().filter_map(named).collect()
}

/// Tells whether the processor enciphers two blocks of AES at once, but not four: AWS-LC has code for four alone, `ring` for two.
fn has_vaes_of_256_bits_at_most() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("vaes")
        && std::arch::is_x86_feature_detected!("vpclmulqdq")
        && !std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Tells whether the processor has instructions for AES.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

impl UpgradeInfo for Secure {
    type Info = &'static str;
    type InfoIter = [&'static str; 2];

    /// The dialer prefers the first.
    fn protocol_info(&self) -> Self::InfoIter {
        [TLS, NOISE]
    }
}

impl<C> InboundConnectionUpgrade<C> for Secure
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        if info == NOISE {
            let upgraded = self.noise.upgrade_inbound(socket, info).map_err(io::Error::other);
            let theirs = |stream| Brief::theirs(Either::Right(stream));
            return upgraded.map_ok(move |(peer, stream)| (peer, theirs(stream))).boxed();
        }
        let accepted = TlsAcceptor::from(self.server).accept(socket);
        let upgraded = async { with_peer(accepted.await?.into(), Brief::theirs) };
        upgraded.boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Secure
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Secured<C>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        if info == NOISE {
            let upgraded = self.noise.upgrade_outbound(socket, info).map_err(io::Error::other);
            let ours = |stream| Brief::ours(Either::Right(stream));
            return upgraded.map_ok(move |(peer, stream)| (peer, ours(stream))).boxed();
        }
        // The specification wants no server name; for an address rustls sends none.
        let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let connected = TlsConnector::from(self.client).connect(name, socket);
        let upgraded = async { with_peer(connected.await?.into(), Brief::ours) };
        upgraded.boxed()
    }
}

/// Adds who is at the other end.
fn with_peer<C>(
    stream: TlsStream<C>,
    brief: fn(Cipher<C>) -> Secured<C>,
) -> io::Result<(PeerId, Secured<C>)> {
    let state: &CommonState = match &stream {
        TlsStream::Client(stream) => stream.get_ref().1,
        TlsStream::Server(stream) => stream.get_ref().1,
    };
    let Some([certificate]) = state.peer_certificates() else {
        return Err(io::Error::other("the peer shows no certificate, or several"));
    };
    let peer = certificate::parse(certificate).map_err(io::Error::other)?.peer_id();
    Ok((peer, brief(Either::Left(stream))))
}

#[cfg(test)]
mod tests {
    use futures::future::join;
    use libp2p::tcp::tokio::TcpStream;
    use libp2p::tls;
    use rustls::CipherSuite;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    type Upgraded = io::Result<(PeerId, Secured<TcpStream>)>;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (dialed, accepted) =
            join(tokio::net::TcpStream::connect(address), listener.accept()).await;
        (TcpStream(dialed.unwrap()), TcpStream(accepted.unwrap().0))
    }

    /// Both ends of a handshake; who refuses the other closes the connection.
    async fn shake(client: Secure, server: Secure, protocol: &'static str) -> (Upgraded, Upgraded) {
        let (dialed, accepted) = pair().await;
        let client = async {
            let (peer, mut stream) = client.upgrade_outbound(dialed, protocol).await?;
            // A client learns only by the first answer that it was refused.
            let mut byte = [0];
            futures::AsyncReadExt::read_exact(&mut stream, &mut byte).await?;
            Ok((peer, stream))
        };
        let server = async {
            let (peer, mut stream) = server.upgrade_inbound(accepted, protocol).await?;
            // Until there is an agreement only such words pass.
            futures::AsyncWriteExt::write_all(&mut stream, b"\x0d/yamux/1.0.0\n").await?;
            futures::AsyncWriteExt::flush(&mut stream).await?;
            Ok((peer, stream))
        };
        join(client, server).await
    }

    fn cipher<C>(stream: &TlsStream<C>) -> CipherSuite {
        let state: &CommonState = match stream {
            TlsStream::Client(stream) => stream.get_ref().1,
            TlsStream::Server(stream) => stream.get_ref().1,
        };
        state.negotiated_cipher_suite().unwrap().suite()
    }

    fn best() -> CipherSuite {
        ciphers()[0].suite()
    }

    struct Node {
        identity: Keypair,
        certificate: CertificateDer<'static>,
        secret: PrivateKeyDer<'static>,
    }

    impl Node {
        fn new() -> Self {
            let identity = Keypair::generate_ed25519();
            let (certificate, secret) = certificate::generate(&identity).unwrap();
            Self { identity, certificate, secret }
        }

        fn peer(&self) -> PeerId {
            self.identity.public().to_peer_id()
        }

        /// Shows these certificates, and signs with its own key.
        fn showing(&self, certificates: Vec<CertificateDer<'static>>) -> Secure {
            let secret = ring::sign::any_ecdsa_type(&self.secret).unwrap();
            let noise = noise::Config::new(&self.identity).unwrap();
            Secure::with(CertifiedKey::new(certificates, secret), noise).unwrap()
        }

        fn honest(&self) -> Secure {
            self.showing(vec![self.certificate.clone()])
        }
    }

    #[tokio::test]
    async fn both_ends_learn_who_the_other_is() {
        let (a, b) = (Node::new(), Node::new());
        for protocol in a.honest().protocol_info() {
            let (client, server) = shake(a.honest(), b.honest(), protocol).await;
            let ((server_id, client), (client_id, _)) = (client.unwrap(), server.unwrap());
            assert_eq!((client_id, server_id), (a.peer(), b.peer()), "{protocol}");
            match client.into_inner() {
                Either::Left(stream) => assert_eq!((protocol, cipher(&stream)), (TLS, best())),
                Either::Right(_) => assert_eq!(protocol, NOISE),
            }
        }
    }

    #[tokio::test]
    async fn the_library_agrees_whoever_dials_and_the_cipher_is_ours() {
        let (a, b) = (Node::new(), Node::new());
        let theirs = tls::Config::new(&b.identity).unwrap();
        let (dialed, accepted) = pair().await;
        let client = a.honest().upgrade_outbound(dialed, TLS);
        let (client, server) = join(client, theirs.clone().upgrade_inbound(accepted, TLS)).await;
        let ((server_id, _), (client_id, stream)) = (client.unwrap(), server.unwrap());
        assert_eq!((client_id, server_id, cipher(&stream)), (a.peer(), b.peer(), best()));

        let (dialed, accepted) = pair().await;
        let server = a.honest().upgrade_inbound(accepted, TLS);
        let (client, server) = join(theirs.upgrade_outbound(dialed, TLS), server).await;
        let ((server_id, stream), (client_id, _)) = (client.unwrap(), server.unwrap());
        assert_eq!((client_id, server_id, cipher(&stream)), (b.peer(), a.peer(), best()));
    }

    #[test]
    fn the_processor_decides_which_cipher_is_first() {
        assert_eq!(best() == AES_128, has_aes());
        assert_eq!(ciphers().len(), 3);
    }

    /// Lets `other` dial and be dialed; returns whom it is taken for.
    async fn taken_for(other: &Secure) -> [Option<PeerId>; 2] {
        let honest = Node::new().honest();
        let (_, server) = shake(other.clone(), honest.clone(), TLS).await;
        let (client, _) = shake(honest, other.clone(), TLS).await;
        [server, client].map(|end| end.ok().map(|(peer, _)| peer))
    }

    #[tokio::test]
    async fn a_certificate_with_another_byte_names_nobody_else() {
        let node = Node::new();
        let mut same = 0;
        for at in 0..node.certificate.len() {
            let mut bytes = node.certificate.to_vec();
            bytes[at] ^= 1 << (at % 8);
            for peer in taken_for(&node.showing(vec![bytes.into()])).await.into_iter().flatten() {
                assert_eq!(peer, node.peer(), "byte {at}");
                same += 1;
            }
        }
        // How many bits of a signature's last byte count is not signed.
        assert!(same <= 2, "{same}");
    }

    #[tokio::test]
    async fn a_certificate_is_of_use_only_with_its_key_and_alone() {
        let (node, other) = (Node::new(), Node::new());
        let two = vec![node.certificate.clone(); 2];
        for certificates in [vec![other.certificate.clone()], two, vec![]] {
            assert_eq!(taken_for(&node.showing(certificates)).await, [None; 2]);
        }
    }

    #[tokio::test]
    async fn older_versions_of_tls_are_not_spoken() {
        let (TcpStream(mut dialed), accepted) = pair().await;
        // A greeting of TLS 1.2 that offers ECDHE-ECDSA-AES128-GCM on P-256, and knows of no later version.
        let extensions =
            [&[0, 10, 0, 4, 0, 2, 0, 23][..], &[0, 11, 0, 2, 1, 0], &[0, 13, 0, 4, 0, 2, 4, 3]]
                .concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[0, 0, 2, 0xc0, 0x2b, 1, 0],
            &[0, extensions.len() as u8],
            &extensions,
        ]
        .concat();
        let hello = [&[1, 0, 0, body.len() as u8][..], &body].concat();
        let record = [&[22, 3, 1, 0, hello.len() as u8][..], &hello].concat();
        let server = Node::new().honest().upgrade_inbound(accepted, TLS);
        let client = async {
            dialed.write_all(&record).await.unwrap();
            let mut answer = Vec::new();
            let _ = dialed.read_to_end(&mut answer).await;
            answer
        };
        let (server, answer) = join(server, client).await;
        assert!(server.is_err());
        // A fatal alert: "protocol version".
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
    }
}
