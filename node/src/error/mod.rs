//! The one error type of the binary: a code, a sentence, what was tried, and what to do now.
//!
//! A code names the kind of trouble for people (`datnode help E-CODE`) and for scripts (the exit code and the JSON
//! line). A message is one lowercase sentence without a full stop. Nothing here prints: the caller renders the error for a
//! terminal or as JSON.
//! Elsewhere: ready-made errors (`make`), the page of each code (`explain`), names somebody may have meant (`near`).

mod code;
mod explain;
mod make;
mod near;
mod tried;

use std::fmt;

use serde_json::{Map, Value, json};

use crate::cli::escape;

pub use code::Code;
pub(crate) use make::reason;
pub use near::nearest;

/// How many hints an error may carry; more would be a manual page.
pub const HINTS_MAX: usize = 3;

/// An error as the user sees it.
///
/// Invariant: at most [`HINTS_MAX`] hints.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: String,
    context: Vec<String>,
    hints: Vec<String>,
    fields: Map<String, Value>,
}

impl Error {
    /// Makes an error of `code` with one lowercase sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            context: Vec::new(),
            hints: Vec::new(),
            fields: Map::new(),
        }))
    }

    /// Adds a line that says what was tried, with numbers.
    #[must_use]
    pub fn context(mut self, line: impl Into<String>) -> Self {
        self.0.context.push(line.into());
        self
    }

    /// Adds what the user can do; a hint beyond [`HINTS_MAX`] is dropped.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.0.hints.len() < HINTS_MAX {
            self.0.hints.push(hint.into());
        }
        self
    }

    /// Adds a field to the JSON form; `type`, `code`, `exit`, `message` and `hints` cannot be replaced.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Returns the code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Returns the exit code of a process that ends with this error.
    pub fn exit(&self) -> u8 {
        self.0.code.exit()
    }

    /// Returns the sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the hints.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// Tells whether the process should end without a word: nobody reads its output any more, or the exit code says it all.
    pub fn is_silent(&self) -> bool {
        self.0.code.is_silent()
    }

    /// Returns the lines for a terminal, without the last newline.
    ///
    /// Control characters, which only a hostile name could have brought in, come out escaped.
    pub fn render(&self, colour: bool) -> String {
        self.lines("error", colour)
    }

    /// Returns the same for something that does not end the command.
    pub fn render_warning(&self, colour: bool) -> String {
        self.lines("warning", colour)
    }

    fn lines(&self, word: &str, colour: bool) -> String {
        let inner = &*self.0;
        let (red, yellow, bold, end) = if colour {
            ("\x1b[1;31m", "\x1b[33m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "", "")
        };
        let message = escape::controls(&inner.message);
        let mut text = format!("{red}{word}[{}]{end}: {bold}{message}{end}", inner.code);
        for line in &inner.context {
            text.push_str(&format!("\n  {}", escape::controls(line)));
        }
        for hint in &inner.hints {
            text.push_str(&format!("\n  {yellow}hint:{end}  {}", escape::controls(hint)));
        }
        text
    }

    /// Returns the JSON form: `{"type":"error","code":…,"exit":…,"message":…,…,"hints":[…]}`.
    pub fn to_json(&self) -> Value {
        let inner = &*self.0;
        let mut object = inner.fields.clone();
        object.insert("type".to_owned(), json!("error"));
        object.insert("code".to_owned(), json!(inner.code.name()));
        object.insert("exit".to_owned(), json!(inner.code.exit()));
        object.insert("message".to_owned(), json!(inner.message));
        if !inner.context.is_empty() {
            object.insert("context".to_owned(), json!(inner.context));
        }
        object.insert("hints".to_owned(), json!(inner.hints));
        Value::Object(object)
    }
}

/// What [`Error::to_json`] makes of an error's own parts, which fields cannot replace.
const OWN_FIELDS: [&str; 6] = ["type", "code", "exit", "message", "context", "hints"];

impl Error {
    /// Takes an error back from its JSON form; none if it is no such thing.
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let text = |name: &str| object.get(name)?.as_str();
        let lines = |name: &str| {
            let lines = object.get(name).and_then(Value::as_array);
            lines.into_iter().flatten().filter_map(Value::as_str)
        };
        let error = Self::new(Code::from_name(text("code")?)?, text("message")?);
        let error = lines("context").fold(error, |error, line| error.context(line));
        let error = lines("hints").fold(error, |error, hint| error.hint(hint));
        let others = object.iter().filter(|(name, _)| !OWN_FIELDS.contains(&name.as_str()));
        Some(others.fold(error, |error, (name, value)| error.field(name, value.clone())))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_style_demands() {
        let error = Error::new(Code::NoPeers, "nobody is offering this drive at the moment")
            .context("tried: 2 addresses, 0 answered")
            .hint("is `datnode share` running on the other side?");
        assert_eq!(
            error.to_string(),
            "error[E-NOPEERS]: nobody is offering this drive at the moment\n  \
             tried: 2 addresses, 0 answered\n  \
             hint:  is `datnode share` running on the other side?"
        );
    }

    #[test]
    fn json_fields_cannot_hide_the_code() {
        let error =
            Error::new(Code::NoPeers, "nobody").field("exit", 0).field("tried", json!({"lan": 0}));
        let value = error.to_json();
        assert_eq!(value["type"], "error");
        assert_eq!(value["code"], "E-NOPEERS");
        assert_eq!(value["exit"], 5);
        assert_eq!(value["tried"]["lan"], 0);
        assert_eq!(value["hints"], json!([]));
    }

    #[test]
    fn a_fourth_hint_is_dropped() {
        let mut error = Error::new(Code::Io, "it broke");
        for number in 0..5 {
            error = error.hint(format!("hint {number}"));
        }
        assert_eq!(error.hints().len(), HINTS_MAX);
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let error =
            Error::new(Code::Io, "bad \x1b[2J name\nsecond").context("a\rb").hint("\u{202e}c");
        let text = error.render(false);
        assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
        assert_eq!(text.lines().count(), 3);
    }
}
