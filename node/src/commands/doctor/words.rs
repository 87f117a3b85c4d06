//! Text of which a part is for whoever sits at this computer and nobody else: addresses, ids, keys and paths.
//!
//! Invariant: what identifies a computer, a user or a drive is put in by [`Words::own`]; a report shows its kind instead.

/// Some text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// For everybody.
    Open(String),
    /// For the user alone, and what it is.
    Own { text: String, kind: &'static str },
}

impl Words {
    /// Makes text that everybody may read.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::default().and(text)
    }

    /// Adds such text.
    #[must_use]
    pub(super) fn and(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Open(text.into()));
        self
    }

    /// Adds what only the user may read; the kind tells others what is left out.
    #[must_use]
    pub(super) fn own(mut self, kind: &'static str, text: impl ToString) -> Self {
        self.0.push(Part::Own { text: text.to_string(), kind });
        self
    }

    /// Returns all of it.
    pub(super) fn shown(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Open(text) | Part::Own { text, .. } => text.as_str(),
        });
        parts.collect()
    }

    /// Returns what everybody may read.
    pub(super) fn hidden(&self) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Open(text) => text.clone(),
            Part::Own { kind, .. } => format!("<{kind}>"),
        });
        parts.collect()
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_it_leaves_out() {
        let words = Words::new("forward port 3282 to ").own("address", "192.168.1.20").and(" soon");
        assert_eq!(words.shown(), "forward port 3282 to 192.168.1.20 soon");
        assert_eq!(words.hidden(), "forward port 3282 to <address> soon");
    }
}
