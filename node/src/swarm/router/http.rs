//! One request to a router, which may send anything: it ends in bytes and in time, and goes nowhere but where it was sent.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::Builder;
use hyper::header;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::super::limits;
use super::Refusal;

/// The longest head of an answer, in bytes, and how many headers it may have.
const HEAD_LEN_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// Returns what there is at a path.
pub(super) async fn get(at: SocketAddr, path: &str) -> Result<String, Refusal> {
    let request = Request::get(path).header(header::HOST, at.to_string());
    send(at, request.body(Full::default())).await
}

/// Has something done, and returns what came of it: what went wrong is told by the text of an answer.
pub(super) async fn act(
    at: SocketAddr,
    path: &str,
    action: &str,
    body: String,
) -> Result<String, Refusal> {
    let request = Request::post(path)
        .header(header::HOST, at.to_string())
        .header(header::CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
        .header("SOAPAction", format!("\"{action}\""));
    send(at, request.body(Full::from(body))).await
}

async fn send(
    at: SocketAddr,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<String, Refusal> {
    let request = request.map_err(|error| Refusal::Broken(error.to_string()))?;
    let answer = tokio::time::timeout(limits::ROUTER_ANSWER, answer(at, request)).await;
    answer.map_err(|_| Refusal::Slow)?
}

async fn answer(at: SocketAddr, request: Request<Full<Bytes>>) -> Result<String, Refusal> {
    let io = |error: io::Error| Refusal::Broken(error.to_string());
    let stream = TokioIo::new(TcpStream::connect(at).await.map_err(io)?);
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD_LEN_MAX).max_headers(HEADERS_MAX);
    let broken = |error: hyper::Error| Refusal::Broken(error.to_string());
    let (mut sender, connection) = builder.handshake(stream).await.map_err(broken)?;
    // It ends when this is dropped.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let body = sender.send_request(request).await.map_err(broken)?.into_body();
    let body = Limited::new(body, limits::ROUTER_ANSWER_LEN).collect().await;
    let bytes = body.map_err(|error| Refusal::Broken(error.to_string()))?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
