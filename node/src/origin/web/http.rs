//! Requests to one server, which may send anything: each has an end in bytes and in time, and goes nowhere but where it was sent.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Web;
use crate::cli::escape;
use crate::published::heads::HeadsError;

/// How long connecting may take, with TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the head of an answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// How long bytes may take, beside what they take at the least rate.
const BYTES: Duration = Duration::from_secs(30);
/// The least rate, in bytes a second.
const RATE_MIN: u64 = 1 << 10;
/// The longest head of an answer, in bytes, and how many headers it may have.
const HEAD_LEN_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// How much of a place that an answer leads to is shown.
const SHOWN_CHARS: usize = 200;
/// How many connections wait to be used again.
const IDLE_MAX: usize = 4;

/// Why a server did not give what it was asked for.
#[derive(Debug, Error)]
pub(super) enum WebError {
    /// Nobody is there, or TLS does not come about.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke, or what came is no HTTP.
    #[error("the server broke off: {0}")]
    Broken(String),
    /// Nothing came for too long, or too little.
    #[error("the server is too slow")]
    Slow,
    /// A file is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// It wants us elsewhere.
    #[error("the server leads elsewhere, to {0}; if that is right, name that address")]
    Moved(String),
    /// It says something else.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// It sends the whole file, or another part of it.
    #[error("the server does not send the part of a file that was asked for (Range)")]
    NoRange,
    /// It sends something that was squeezed.
    #[error("the server sends a file as {0}, and not as it is")]
    Encoded(String),
    /// It sends less than was asked for.
    #[error("a file of the server is too short")]
    Short,
    /// It sends more than such a file may have.
    #[error("a file of the server is too long")]
    Long,
    /// Sizes in the tree that no feed has.
    #[error("the tree that the server has is none")]
    Tree,
    /// What there is was not understood.
    #[error("its datnode.heads is none: {0}")]
    Heads(HeadsError),
    /// There is another history now.
    #[error("what is published there was replaced")]
    Replaced,
    /// This end broke its own protocol, which cannot be.
    #[error("{0}")]
    Pipe(String),
}

/// One server, and the connections to it that wait.
pub(super) struct Client {
    web: Web,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

/// A stream in both directions.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    pub(super) fn new(web: &Web) -> Self {
        Self { web: web.clone(), idle: Mutex::default() }
    }

    /// Returns a whole file of at most so many bytes.
    pub(super) async fn whole(&self, name: &str, max: usize) -> Result<Bytes, WebError> {
        let (response, sender) = self.send(name, None).await?;
        if response.status() != StatusCode::OK {
            return Err(refusal(name, &response));
        }
        let mut body = Body::new(response.into_body(), sender, u64::MAX);
        let mut bytes = BytesMut::new();
        let read = async {
            while let Some(more) = body.next().await? {
                bytes.extend_from_slice(&more);
                if bytes.len() > max {
                    return Err(WebError::Long);
                }
            }
            Ok(())
        };
        within(time_for(max as u64), read).await?;
        self.keep(body.sender);
        Ok(bytes.freeze())
    }

    /// Asks for a range of a file; it is at least one byte.
    pub(super) async fn range(&self, name: &str, bytes: Range<u64>) -> Result<Body, WebError> {
        let (response, sender) = self.send(name, Some(bytes.clone())).await?;
        let len = bytes.end.saturating_sub(bytes.start);
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let told = content_range(response.headers()).ok_or(WebError::NoRange)?;
                if told.start != bytes.start || told.end > bytes.end {
                    return Err(WebError::NoRange);
                }
                if told.end < bytes.end {
                    return Err(WebError::Short);
                }
            }
            // All of a file is the right part of it if that was asked for.
            StatusCode::OK if bytes.start == 0 && length(response.headers()) == Some(len) => {}
            StatusCode::OK => return Err(WebError::NoRange),
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(WebError::Short),
            _ => return Err(refusal(name, &response)),
        }
        if let Some(coding) = response.headers().get(header::CONTENT_ENCODING)
            && coding != "identity"
        {
            return Err(WebError::Encoded(short(coding.as_bytes())));
        }
        Ok(Body::new(response.into_body(), sender, len))
    }

    /// Returns a range of a file at once.
    pub(super) async fn bytes(&self, name: &str, bytes: Range<u64>) -> Result<Bytes, WebError> {
        let len = bytes.end.saturating_sub(bytes.start);
        let mut body = self.range(name, bytes).await?;
        let read = body.take(len).await?;
        self.done(body).await;
        Ok(read)
    }

    /// Uses the connection of an answer again, if all of that was read.
    pub(super) async fn done(&self, mut body: Body) {
        // Whether it really ended only shows when it is asked for more, which has to be there at once.
        let ended = body.left == 0 && body.buffer.is_empty();
        if ended && matches!(tokio::time::timeout(BYTES, body.next()).await, Ok(Ok(None))) {
            self.keep(body.sender);
        }
    }

    fn keep(&self, sender: SendRequest<Empty<Bytes>>) {
        let mut idle = self.idle.lock().expect("no code panics while it holds this");
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push(sender);
        }
    }

    async fn send(
        &self,
        name: &str,
        range: Option<Range<u64>>,
    ) -> Result<(Response<Incoming>, SendRequest<Empty<Bytes>>), WebError> {
        let waiting = self.idle.lock().expect("no code panics while it holds this").pop();
        if let Some(mut sender) = waiting
            && sender.ready().await.is_ok()
        {
            match self.ask(&mut sender, name, range.clone()).await {
                // The server had closed it meanwhile.
                Err(WebError::Broken(_)) => {}
                answer => return answer.map(|answer| (answer, sender)),
            }
        }
        let mut sender = within(CONNECT, self.connect()).await?;
        Ok((self.ask(&mut sender, name, range).await?, sender))
    }

    async fn ask(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        name: &str,
        range: Option<Range<u64>>,
    ) -> Result<Response<Incoming>, WebError> {
        let mut request = Request::get(format!("{}{name}", self.web.path))
            .header(header::HOST, self.host())
            .header(header::USER_AGENT, concat!("datnode/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(Range { start, end }) = range {
            request =
                request.header(header::RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
        }
        let request = request.body(Empty::new()).map_err(broken)?;
        within(ANSWER, async { sender.send_request(request).await.map_err(broken) }).await
    }

    fn host(&self) -> String {
        self.web.authority.to_string()
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, WebError> {
        let (host, secure) = (&self.web.authority.host, self.web.secure);
        let port = self.web.authority.port.unwrap_or(if secure { 443 } else { 80 });
        let failed = |error: io::Error| WebError::Connect(escape::controls(&error.to_string()));
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let stream: Box<dyn Stream> = match secure {
            false => Box::new(tcp),
            true => {
                let name = ServerName::try_from(host.clone());
                let name = name.map_err(|error| WebError::Connect(error.to_string()))?;
                Box::new(TlsConnector::from(tls()?).connect(name, tcp).await.map_err(failed)?)
            }
        };
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD_LEN_MAX).max_headers(HEADERS_MAX);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a web server");
            }
        });
        Ok(sender)
    }
}

/// What is to come of a range.
pub(super) struct Body {
    incoming: Incoming,
    sender: SendRequest<Empty<Bytes>>,
    /// What came and was not taken.
    buffer: BytesMut,
    /// How much more may come.
    left: u64,
}

impl Body {
    fn new(incoming: Incoming, sender: SendRequest<Empty<Bytes>>, left: u64) -> Self {
        Self { incoming, sender, buffer: BytesMut::new(), left }
    }

    /// Waits for the next piece.
    async fn next(&mut self) -> Result<Option<Bytes>, WebError> {
        loop {
            let Some(frame) = self.incoming.frame().await else { return Ok(None) };
            let Ok(bytes) = frame.map_err(broken)?.into_data() else { continue };
            let len = bytes.len() as u64;
            self.left = self.left.checked_sub(len).ok_or(WebError::Long)?;
            return Ok(Some(bytes));
        }
    }

    /// Returns the next so many bytes.
    pub(super) async fn take(&mut self, len: u64) -> Result<Bytes, WebError> {
        let wanted = usize::try_from(len).map_err(|_| WebError::Long)?;
        let read = async {
            while self.buffer.len() < wanted {
                let more = self.next().await?.ok_or(WebError::Short)?;
                self.buffer.extend_from_slice(&more);
            }
            Ok(self.buffer.split_to(wanted).freeze())
        };
        within(time_for(len), read).await
    }

    /// Tells whether all of it was taken.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0 && self.buffer.is_empty()
    }
}

fn time_for(len: u64) -> Duration {
    BYTES + Duration::from_secs(len / RATE_MIN)
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, WebError>>,
) -> Result<T, WebError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(WebError::Slow))
}

fn broken(error: impl std::error::Error) -> WebError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    WebError::Broken(escape::controls(&format!("{error}{cause}")))
}

fn refusal(name: &str, response: &Response<Incoming>) -> WebError {
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => WebError::Missing(name.to_owned()),
        status if status.is_redirection() => {
            let place = response.headers().get(header::LOCATION);
            WebError::Moved(place.map_or_else(String::new, |place| short(place.as_bytes())))
        }
        status => WebError::Status(status),
    }
}

fn short(bytes: &[u8]) -> String {
    escape::bytes(bytes).chars().take(SHOWN_CHARS).collect()
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads `bytes FIRST-LAST/…`.
fn content_range(headers: &HeaderMap) -> Option<Range<u64>> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, _) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let last: u64 = last.parse().ok()?;
    Some(first.parse().ok()?..last.checked_add(1)?)
}

/// Returns how servers are told apart from those that only stand in their way: by the authorities that this computer trusts.
fn tls() -> Result<Arc<ClientConfig>, WebError> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err("this computer has no certificates of authorities (the package is often called ca-certificates)".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    });
    config.clone().map_err(WebError::Connect)
}
