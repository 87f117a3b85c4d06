//! Asks before something goes that may not come back.

use std::io::{IsTerminal as _, Write as _, stderr, stdin};

use super::context::blocking;
use crate::error::Error;

/// Goes on if the user types `word`; without a terminal to ask on, only `--yes` will do.
///
/// # Errors
/// E-USAGE if there is nobody to ask, or the answer is another.
pub(super) async fn confirm(question: String, word: String) -> Result<(), Error> {
    if !stdin().is_terminal() {
        return Err(Error::usage("there is no terminal to ask on whether you mean it")
            .context(question)
            .hint("--yes does it without a question"));
    }
    blocking(move || {
        let ask = |error| Error::usage(format!("cannot ask: {error}"));
        let mut out = stderr();
        write!(out, "{question}\nType {word} to go on: ")
            .and_then(|()| out.flush())
            .map_err(ask)?;
        let mut answer = String::new();
        stdin().read_line(&mut answer).map_err(ask)?;
        if answer.trim() == word { Ok(()) } else { Err(Error::usage("nothing was done")) }
    })
    .await
}
