//! What processes of one user ask each other over their control sockets, and how.
//!
//! ```text
//! asks:     GREETING, one line of JSON
//! answers:  {"wait":true} every so often while it works, then {"done":…} or {"error":…}
//! ```
//!
//! The socket is in a folder that its user alone may enter. A process that says nothing for [`SILENCE`] is taken for stopped.
//! Elsewhere: where the sockets are (`runtime`), replication over the same sockets (`engine::network`).

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use datnode_feed::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::clearing;
use crate::edit::Order;
use crate::error::{Code, Error};
use crate::runtime;

/// What who asks sends first. As long as the greeting of those who replicate.
pub const GREETING: &[u8; 16] = b"datnode-query/1\n";
/// How long nothing may be heard of a process that was asked.
pub const SILENCE: Duration = Duration::from_secs(5);
/// How often a process that works says so.
const STILL_HERE: Duration = Duration::from_millis(SILENCE.as_millis() as u64 / 5);
/// The longest question and the longest answer, in bytes.
const LINE_LEN_MAX: u64 = 16 << 20;

/// A question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Question {
    /// Who is connected.
    Peers,
    /// What it does.
    State,
    /// To fetch bytes of the content, before anything else.
    Fetch {
        /// The first byte of the content feed.
        start: u64,
        /// The one behind the last.
        end: u64,
    },
    /// To hold what its store has against the signatures.
    Check {
        /// Whether all bytes are hashed.
        full: bool,
    },
    /// How others reach it.
    Reach,
    /// To read its settings again.
    Reload,
    /// To change the drive that it writes.
    Edit(Order),
    /// To free content that nobody needs.
    Clear(clearing::Order),
}

/// A question, and which drive it is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked {
    /// The drive, by its discovery key in hexadecimal, as in announcements; none for what is about the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drive: Option<String>,
    #[serde(flatten)]
    question: Question,
}

/// What comes of a question, at some time.
pub type Answer = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send>>;
/// Who answers, of the drive that a question names as in [`runtime::name`]. A process that has one drive need not look.
pub type Answers = Arc<dyn Fn(Option<String>, Question) -> Answer + Send + Sync>;

/// Answers the question on a stream, whose greeting was read.
///
/// # Errors
/// What the system says of the stream.
pub async fn answer(stream: UnixStream, answers: &Answers) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LINE_LEN_MAX));
    tokio::time::timeout(SILENCE, read.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(Asked { drive, question }) => answers(drive, question),
        Err(_) => Box::pin(async { Err(Error::usage("a question of another version of datnode")) }),
    };
    tokio::pin!(answer);
    loop {
        let said = tokio::select! {
            answer = &mut answer => match answer {
                Ok(done) => json!({ "done": done }),
                Err(error) => json!({ "error": error.to_json() }),
            },
            () = tokio::time::sleep(STILL_HERE) => json!({ "wait": true }),
        };
        write.write_all(format!("{said}\n").as_bytes()).await?;
        if said.get("wait").is_none() {
            return Ok(());
        }
    }
}

/// Asks the process behind a control socket about a drive of its, or about itself.
///
/// # Errors
/// What it answers; E-LOCKED if it does not.
pub async fn ask(
    socket: &Path,
    drive: Option<&PublicKey>,
    question: &Question,
) -> Result<Value, Error> {
    let asked = Asked { drive: drive.map(runtime::name), question: question.clone() };
    let silent = || {
        Error::new(Code::Locked, "the process that has the drive open does not answer")
            .hint("end it, or wait until it is done, and try again")
    };
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(GREETING).await?;
        stream.write_all(format!("{}\n", json!(asked)).as_bytes()).await?;
        std::io::Result::Ok(stream)
    };
    let stream = within_time(asked).await.ok_or_else(silent)?;
    let mut lines = BufReader::new(stream.take(LINE_LEN_MAX)).lines();
    loop {
        let line = within_time(lines.next_line()).await.flatten().ok_or_else(silent)?;
        let mut said: Value = serde_json::from_str(&line).map_err(|_| silent())?;
        if let Some(error) = said.get("error") {
            return Err(Error::from_json(error).ok_or_else(silent)?);
        }
        if let Some(done) = said.get_mut("done") {
            return Ok(done.take());
        }
    }
}

async fn within_time<T>(of: impl Future<Output = std::io::Result<T>>) -> Option<T> {
    tokio::time::timeout(SILENCE, of).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// Answers one question after the other, as a process would.
    fn serve(answers: Answers) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut greeting = [0; GREETING.len()];
                stream.read_exact(&mut greeting).await.unwrap();
                assert_eq!(&greeting, GREETING);
                let _ = answer(stream, &answers).await;
            }
        });
        (folder, socket)
    }

    #[tokio::test]
    async fn answers_and_errors_come_back_whole() {
        let answers: Answers = Arc::new(|drive, question| {
            Box::pin(async move {
                match question {
                    Question::Peers => Ok(json!({ "peers": 3, "of": drive })),
                    other => Err(Error::dirty(format!("{other:?} is in the way"), &[b"a\xff"])),
                }
            })
        });
        let (_folder, socket) = serve(answers);
        let drive = datnode_feed::SecretKey::from_bytes([1; 32]).public();
        let said = ask(&socket, Some(&drive), &Question::Peers).await.unwrap();
        assert_eq!((&said["peers"], &said["of"]), (&json!(3), &json!(runtime::name(&drive))));
        assert_eq!(ask(&socket, None, &Question::Peers).await.unwrap()["of"], Value::Null);
        let error = ask(&socket, None, &Question::State).await.unwrap_err();
        let right = Error::dirty("State is in the way", &[b"a\xff"]);
        assert_eq!((error.to_json(), error.to_string()), (right.to_json(), right.to_string()));
    }

    #[tokio::test]
    async fn one_that_works_is_waited_for_and_one_that_is_silent_is_not() {
        let answers: Answers = Arc::new(|_, question| {
            Box::pin(async move {
                if matches!(question, Question::Peers) {
                    tokio::time::sleep(2 * SILENCE).await;
                }
                Ok(json!("at last"))
            })
        });
        let (folder, socket) = serve(answers);
        assert_eq!(ask(&socket, None, &Question::Peers).await.unwrap(), "at last");
        let mute = folder.path().join("mute");
        let _mute = UnixListener::bind(&mute).unwrap();
        assert_eq!(ask(&mute, None, &Question::Peers).await.unwrap_err().code(), Code::Locked);
        let nobody = folder.path().join("nobody");
        assert_eq!(ask(&nobody, None, &Question::Peers).await.unwrap_err().exit(), 9);
    }
}
