//! What went wrong, in words: which operation, on which object, why.
//!
//! One shape for every failure, because every caller does the same with it: pass it up to
//! `main`, which prints it. Nothing here knows what an error is about.

use std::fmt;

/// The longest part of an error, in characters: a path's greatest length (`PATH_MAX`).
const MAX_TEXT: usize = 4096;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of failure an [`Error`] is, for a caller that answers in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for makes no sense.
    Input,
    /// Who asked may not have it.
    Denied,
    /// There is no such container, network, device or process.
    NotFound,
    /// Somebody else has it.
    Conflict,
    /// There is no more of it: addresses, ports.
    Exhausted,
    /// The kernel, a file or a program refused.
    Kernel,
    /// Somebody else is at it, and took too long; nothing was done.
    Busy,
    /// A program did not end in time; nobody knows what it has done.
    TimedOut,
}

/// A failure: `<operation and object>: <cause>`, and what the user can do about it.
///
/// `Display` is the text after `netns: ` on standard error; it may have further lines for the
/// hint and for what went wrong while the failure was being undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    operation: String,
    cause: String,
    hint: Option<String>,
    also: Vec<Error>,
}

impl Error {
    /// An error in `operation` (with its object, in the dialect of `ip(8)` where there is one).
    ///
    /// What a terminal may obey in either text is escaped, and a text that is longer than any path is
    /// cut: part of it may come from an annotation, and a log must not be forged or flooded.
    pub fn new(operation: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self {
            kind: Kind::Kernel,
            operation: one_line(&operation.to_string()),
            cause: one_line(&cause.to_string()),
            hint: None,
            also: Vec::new(),
        }
    }

    /// The same error as the cause of another operation's failure; its hint stays.
    #[must_use]
    pub fn during(self, operation: impl fmt::Display) -> Self {
        let cause = format!("{}: {}", self.operation, self.cause);
        Self { kind: self.kind, hint: self.hint, also: self.also, ..Self::new(operation, cause) }
    }

    /// The same error of another kind than [`Kind::Kernel`].
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error with a line that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(one_line(&hint.to_string()));
        self
    }

    /// The same error with others that happened while it was being dealt with.
    #[must_use]
    pub fn also(mut self, others: impl IntoIterator<Item = Error>) -> Self {
        self.also.extend(others);
        self
    }

    /// Several errors as one, the first of them leading; `None` if there are none.
    pub fn merge(errors: impl IntoIterator<Item = Error>) -> Option<Self> {
        let mut errors = errors.into_iter();
        errors.next().map(|first| first.also(errors))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        for error in &self.also {
            write!(f, "\n  also: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Names the operation that a foreign error interrupted.
pub trait Doing<T> {
    /// Wraps the error with the operation and object that `operation` describes.
    ///
    /// # Errors
    /// The wrapped error, if there was one.
    fn doing<D: fmt::Display>(self, operation: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: fmt::Display> Doing<T> for std::result::Result<T, E> {
    fn doing<D: fmt::Display>(self, operation: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|cause| Error::new(operation(), cause))
    }
}

/// `text` as one line that a terminal does nothing else with than show it.
pub fn one_line(text: &str) -> String {
    let cut = text.char_indices().nth(MAX_TEXT).map(|(at, _)| at);
    let escaped = text[..cut.unwrap_or(text.len())].chars().flat_map(|c| {
        let escaped = is_obeyed(c).then(|| c.escape_default());
        let plain = (!is_obeyed(c)).then_some(c);
        escaped.into_iter().flatten().chain(plain)
    });
    escaped.chain(cut.map(|_| '…')).collect()
}

/// Whether a terminal or an editor may do something else with `c` than show it: control
/// characters, the line separators of Unicode, and what changes the direction of a text.
pub fn is_obeyed(c: char) -> bool {
    let separates_or_turns =
        |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || separates_or_turns(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_cause_and_hint() {
        let error = Error::new("use bridge netns0", "it exists but is a veth")
            .hint("remove it")
            .also([Error::new("undo", "failed")]);
        assert_eq!(
            error.to_string(),
            "use bridge netns0: it exists but is a veth\n  hint: remove it\n  also: undo: failed"
        );
    }

    #[test]
    fn a_hostile_text_cannot_forge_a_line() {
        let error = Error::new("container a\nnetns: all is well", "bad\u{1b}[2J");
        assert_eq!(error.to_string(), "container a\\nnetns: all is well: bad\\u{1b}[2J");
        assert_eq!(Error::new("a\u{2028}b", "\u{202e}c").to_string(), "a\\u{2028}b: \\u{202e}c");
        let long = Error::new("ä".repeat(1 << 20), "c").to_string();
        assert_eq!(long, format!("{}…: c", "ä".repeat(4096)));
    }
}
