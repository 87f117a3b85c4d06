//! A drive's store, or the process that has it: one at a time does.

use std::time::{Duration, Instant};

use datnode_feed::PublicKey;

use crate::dirs::Dirs;
use crate::error::{Code, Error};
use crate::runtime::{self, Announced};

/// How long a process that has a store may take until it answers to others, or is done.
const STARTING: Duration = Duration::from_secs(2);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Who has it.
pub(super) enum Held<T> {
    /// This process.
    Here(T),
    /// Another one, which answers to ours; and what the lock said.
    By(Announced, Error),
}

/// Opens a drive's store, or finds the process that has it. One that just began, or is about to end, is given a moment.
///
/// # Errors
/// E-LOCKED if another process has it and does not answer to others, and those of `open`.
pub(super) async fn held<T>(
    dirs: &Dirs,
    key: &PublicKey,
    mut open: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<Held<T>, Error> {
    let until = Instant::now() + STARTING;
    loop {
        let locked = match open().await {
            Err(error) if error.code() == Code::Locked => error,
            opened => return opened.map(Held::Here),
        };
        let pid = locked.to_json()["pid"].as_i64();
        let mut serving = runtime::find(&dirs.run, key).into_iter();
        match serving.find(|process| pid.is_none_or(|pid| i64::from(process.pid) == pid)) {
            Some(owner) => return Ok(Held::By(owner, locked)),
            None if Instant::now() < until => tokio::time::sleep(LOOK).await,
            None => return Err(locked),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use datnode_feed::SecretKey;

    use super::*;

    #[tokio::test]
    async fn who_is_about_to_let_a_store_go_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let [data, run, config, state] = [(); 4].map(|()| folder.path().to_owned());
        let dirs = Dirs { data, run, config, state };
        let key = SecretKey::from_bytes([1; 32]).public();
        let mut tries = 0;
        let open = async || {
            tries += 1;
            if tries < 4 {
                Err(Error::locked(Path::new("drive"), Some(1), None))
            } else {
                Ok(tries)
            }
        };
        assert!(matches!(held(&dirs, &key, open).await, Ok(Held::Here(4))));
        let broken = async || Err::<(), _>(Error::not_drive(Path::new("drive")));
        let ended = held(&dirs, &key, broken).await;
        assert_eq!(ended.err().map(|error| error.code()), Some(Code::NotDrive));
    }
}
