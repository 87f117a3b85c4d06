//! A step of the doctor's: what it found, what to do about it, and how long it took at most.

use std::time::{Duration, Instant};

use super::words::Words;
use crate::error::{Code, Error};

/// The longest that a step may take.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// How long it waits for others: what is left of the limit is for the verdict.
pub(super) const WAIT: Duration = Duration::from_millis(4_500);

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and something is in the way of something.
    Warn,
    /// It does not work.
    Fail,
    /// Nobody looked.
    Skipped,
}

/// What a step found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) says: Words,
    /// What to do about it.
    pub(super) fix: Option<Words>,
    /// What a command would say that needs it; of what fails.
    pub(super) error: Option<Error>,
}

impl Finding {
    pub(super) fn ok(says: impl Into<Words>) -> Self {
        Self::of(Verdict::Ok, says)
    }

    pub(super) fn warn(says: impl Into<Words>) -> Self {
        Self::of(Verdict::Warn, says)
    }

    pub(super) fn skipped(why: impl Into<Words>) -> Self {
        Self::of(Verdict::Skipped, why)
    }

    pub(super) fn fail(error: Error, says: impl Into<Words>) -> Self {
        Self { error: Some(error), ..Self::of(Verdict::Fail, says) }
    }

    /// What an error says, which may name anything of the user's; `what` does not.
    pub(super) fn failed(what: &str, error: Error) -> Self {
        let says = Words::new(what).and(": ").own("reason", error.message());
        let says = says.and(format!(" ({})", error.code().name()));
        let fix = error.hints().first().map(|hint| Words::default().own("hint", hint));
        Self { fix, ..Self::fail(error, says) }
    }

    #[must_use]
    pub(super) fn fix(self, fix: impl Into<Words>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    fn of(verdict: Verdict, says: impl Into<Words>) -> Self {
        Self { verdict, says: says.into(), fix: None, error: None }
    }
}

/// A step that was taken.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) found: Finding,
    pub(super) took: Duration,
}

/// Takes a step, which ends within a limit whatever it waits for.
pub(super) async fn take(
    name: &'static str,
    limit: Duration,
    work: impl Future<Output = Finding>,
) -> Step {
    let began = Instant::now();
    let found = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let what = format!("no answer within {} s", LIMIT.as_secs());
        Finding::fail(Error::new(Code::Timeout, format!("the step {name} came to no end")), what)
    });
    Step { name, found, took: began.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_that_waits_for_ever_ends_and_says_so() {
        let limit = Duration::from_millis(10);
        let step = take("files", limit, std::future::pending()).await;
        assert_eq!(step.found.verdict, Verdict::Fail);
        assert_eq!(step.found.says.shown(), "no answer within 5 s");
        assert!(step.took >= limit);
        let step = take("files", LIMIT, async { Finding::ok("fine") }).await;
        assert_eq!(step.found.verdict, Verdict::Ok);
        const { assert!(WAIT.as_millis() < LIMIT.as_millis()) };
    }

    #[test]
    fn what_an_error_names_is_for_the_user_alone() {
        let path = std::path::Path::new("/home/alice/secret");
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let found = Finding::failed("cannot be written", Error::io("write", path, &full));
        assert!(found.says.shown().contains("/home/alice/secret"), "{found:?}");
        assert_eq!(found.says.hidden(), "cannot be written: <reason> (E-SPACE)");
    }
}
