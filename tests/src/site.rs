//! A plain web server for what is published, on loopback: honest, or with a fault of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing: it sends files, and ranges of them.
    Honest,
    /// It changes a bit of each piece of data.
    WrongBytes,
    /// It changes a bit of each piece of the tree.
    WrongTree,
    /// It ends half-way through each range.
    Short,
    /// It sends more than it says, without end, of everything.
    Endless,
    /// It sends files without end where ranges were asked for.
    EndlessRanges,
    /// It leads to another place.
    Redirect,
    /// It sends whole files where ranges were asked for.
    NoRanges,
    /// It sends another range than was asked for.
    OtherRanges,
    /// It sends a head of an answer without end.
    HugeHead,
    /// It takes requests, and answers none.
    Silent,
    /// It has no data, only what says that there is some.
    NoData,
    /// It says that files are compressed.
    Squeezed,
    /// It has a trouble of its own.
    Trouble,
    /// It speaks another protocol.
    Garbage,
}

/// A server; it is gone when this is dropped.
pub struct Site {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    root: PathBuf,
    manner: Manner,
    requests: AtomicU64,
    sent: AtomicU64,
    over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Site {
    /// Serves the files below a folder.
    pub fn of(root: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            manner,
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            over: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let serving = shared.clone();
        let thread = std::thread::spawn(move || accept(&listener, &serving));
        Self { port, shared, thread: Some(thread) }
    }

    /// Returns where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/drive", self.port)
    }

    /// Returns how many requests came.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Returns how many bytes of files were sent.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // It looks whether it is over when somebody comes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        shared.open.lock().unwrap().extend(stream.try_clone());
        let shared = shared.clone();
        std::thread::spawn(move || {
            // Whoever asks goes away when it has had enough.
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (mut requests, write) = (BufReader::new(stream), stream);
    loop {
        let (mut path, mut range) = (String::new(), None);
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("GET ") {
                path = rest.split(' ').next().unwrap_or_default().to_owned();
            }
            if let Some(rest) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                let (first, last) = rest.split_once('-').unwrap();
                range = Some((first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap() + 1));
            }
            if line.is_empty() {
                break;
            }
        }
        shared.requests.fetch_add(1, Ordering::SeqCst);
        if !answer(write, shared, &path, range)? {
            return Ok(());
        }
    }
}

/// Answers a request; tells whether the connection may be used again.
fn answer(
    mut write: &TcpStream,
    shared: &Shared,
    path: &str,
    range: Option<(u64, u64)>,
) -> std::io::Result<bool> {
    let manner = shared.manner;
    match manner {
        Manner::Silent => {
            std::thread::sleep(Duration::from_secs(60));
            return Ok(false);
        }
        Manner::Garbage => {
            write.write_all(b"220 mail.example.org ESMTP\r\n")?;
            return Ok(false);
        }
        Manner::HugeHead => {
            write.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                write.write_all(&[b"X-Filler: ", &[b'x'; 1000][..], b"\r\n"].concat())?;
            }
        }
        Manner::Endless => {
            write.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write.write_all(&[b"1000\r\n", &[0; 0x1000][..], b"\r\n"].concat())?;
            }
        }
        Manner::Redirect => {
            write.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/evil\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
        Manner::Trouble => {
            write.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
        _ => {}
    }
    let below = path.strip_prefix("/drive/").filter(|below| !below.contains(".."));
    let is_data = path.contains("/data.");
    let file = below
        .map(|below| shared.root.join(below))
        .filter(|_| !(is_data && manner == Manner::NoData));
    let Some(mut file) = file.and_then(|file| fs::File::open(file).ok()) else {
        write.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    };
    let len = file.metadata()?.len();
    let ranges = manner != Manner::NoRanges;
    let (first, end) = range.filter(|_| ranges).unwrap_or((0, len));
    let end = end.min(len);
    if first >= end && range.is_some() {
        write.write_all(b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    }
    let mut bytes = vec![0; usize::try_from(end - first).unwrap()];
    file.seek(SeekFrom::Start(first))?;
    file.read_exact(&mut bytes)?;
    let lies = match manner {
        Manner::WrongBytes => is_data,
        Manner::WrongTree => path.contains("/tree."),
        _ => false,
    };
    if lies {
        // Of a node the last byte belongs to its hash.
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    }
    let head = match range.filter(|_| ranges) {
        Some(_) if manner == Manner::EndlessRanges => {
            format!(
                "206 Partial Content\r\nContent-Range: bytes {first}-{}/{len}\r\nTransfer-Encoding: chunked",
                end - 1
            )
        }
        Some(_) => {
            let first = first + u64::from(manner == Manner::OtherRanges);
            format!(
                "206 Partial Content\r\nContent-Range: bytes {first}-{}/{len}\r\nContent-Length: {}",
                end - 1,
                bytes.len()
            )
        }
        None => format!("200 OK\r\nContent-Length: {}", bytes.len()),
    };
    let coding = if manner == Manner::Squeezed { "Content-Encoding: gzip\r\n" } else { "" };
    write.write_all(format!("HTTP/1.1 {head}\r\n{coding}\r\n").as_bytes())?;
    if range.is_some() && manner == Manner::EndlessRanges {
        loop {
            write.write_all(&[b"1000\r\n", &[0; 0x1000][..], b"\r\n"].concat())?;
        }
    }
    if range.is_some() && manner == Manner::Short {
        write.write_all(&bytes[..bytes.len() / 2])?;
        return Ok(false);
    }
    shared.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    write.write_all(&bytes)?;
    Ok(true)
}
