//! Figures for whoever measures, over HTTP: the text form of Prometheus, at `/metrics` and nowhere else.
//!
//! An answer costs little, a connection gets one, and few are answered at once. Nothing in it names a peer or a drive.
//! Elsewhere: the figures (`mirror::figures`).

use std::fmt::{Display, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::error::{Code, Error};

/// How many are answered at once.
const AT_ONCE: usize = 16;
/// How long an answer may take, with its question.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest question.
const REQUEST_LEN_MAX: usize = 8 << 10;
/// What is waited when nobody can be accepted: too many open files, most likely.
const PAUSE: Duration = Duration::from_secs(1);

/// Where figures are told.
pub(super) struct Metrics {
    listener: TcpListener,
    address: SocketAddr,
}

impl Metrics {
    /// Listens at an address.
    ///
    /// # Errors
    /// E-PORT if that cannot be.
    pub(super) fn listen(address: SocketAddr) -> Result<Self, Error> {
        let said = |error: io::Error| {
            Error::new(Code::Port, format!("cannot listen on {address} for metrics: {error}"))
                .hint("--metrics 127.0.0.1:0 takes any free port, and says which")
        };
        let listener = std::net::TcpListener::bind(address).map_err(said)?;
        listener.set_nonblocking(true).map_err(said)?;
        let listener = TcpListener::from_std(listener).map_err(said)?;
        let address = listener.local_addr().map_err(said)?;
        Ok(Self { listener, address })
    }

    /// Returns where that is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with what `figures` returns, for ever.
    pub(super) async fn serve(&self, figures: impl Fn() -> String) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // Whoever finds no place is closed.
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let figures = figures();
            tokio::spawn(async move {
                let _ = tokio::time::timeout(DEADLINE, answer(stream, &figures)).await;
                drop(place);
            });
        }
    }
}

async fn answer(mut stream: TcpStream, figures: &str) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_LEN_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(response(&request, figures).as_bytes()).await?;
    stream.shutdown().await
}

fn response(request: &[u8], figures: &str) -> String {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let (status, body) = match words.as_slice() {
        [b"GET", b"/metrics", _] => ("200 OK", figures),
        [b"GET", ..] => ("404 Not Found", "there is /metrics\n"),
        _ => ("405 Method Not Allowed", "there is GET\n"),
    };
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Figures in the text form.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Adds one that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.add(name, "gauge", help, value);
    }

    /// Adds one that only grows, as long as the process lives.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.add(name, "counter", help, value);
    }

    fn add(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        let text = format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        self.0.write_fmt(text).expect("a text takes what is written to it");
    }

    /// Returns the text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_page_and_one_way_to_ask_for_it() {
        let said = |request: &[u8]| {
            let response = response(request, "a 1\n");
            response.split("\r\n").next().unwrap().to_owned()
        };
        assert_eq!(said(b"GET /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
        assert_eq!(said(b"GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(said(b"GET /metrics/../x HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 Not Found");
        assert_eq!(said(b"POST /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(said(b"\r\n\r\n"), "HTTP/1.1 405 Method Not Allowed");
        assert!(response(b"GET /metrics HTTP/1.1\r\n\r\n", "a 1\n").ends_with("\r\n\r\na 1\n"));
    }

    #[test]
    fn figures_have_their_kind_and_help() {
        let mut text = Text::default();
        text.gauge("a", "What a is.", 1);
        text.counter("b_total", "What b is.", 2.5);
        let right = "# HELP a What a is.\n# TYPE a gauge\na 1\n\
                     # HELP b_total What b is.\n# TYPE b_total counter\nb_total 2.5\n";
        assert_eq!(text.finish(), right);
    }
}
