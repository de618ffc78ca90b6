//! Standard input and output; standard error, and the file beside it: engines throw a hook's standard error
//! away.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::error::{Doing, Error, Result};

/// The most that is read of a document on standard input, in bytes. Real ones have a few kilobytes.
const MAX_INPUT: u64 = 1 << 20;

/// Reads a document as it comes on standard input; `operation` words what for.
///
/// # Errors
/// It cannot be read, or is larger than 1 MiB.
pub fn read(input: impl Read, operation: &str) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    input.take(MAX_INPUT + 1).read_to_end(&mut text).doing(|| operation)?;
    if text.len() as u64 > MAX_INPUT {
        return Err(Error::new(operation, "it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Writes to standard output. A reader that has seen enough, as `head`, is no error.
///
/// # Errors
/// It is closed, or full.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.doing(|| "write to standard output"),
    }
}

/// Where messages go. Writing never fails: the hook's outputs may be closed.
#[derive(Debug, Clone)]
pub struct Log {
    started: Instant,
    verbose: bool,
    file: Option<Arc<File>>,
}

impl Log {
    /// A log that passes on debug messages if `verbose`, and appends to `file` too.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or is a symbolic link.
    pub fn open(started: Instant, verbose: bool, file: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
                .open(path)
                .doing(|| format!("open log file {}", path.display()))
        };
        Ok(Self { started, verbose, file: file.map(open).transpose()?.map(Arc::new) })
    }

    /// A log on standard error alone, where there can be no other.
    pub fn stderr(started: Instant, verbose: bool) -> Self {
        Self { started, verbose, file: None }
    }

    /// Whether debug messages are passed on.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// A step that is about to be taken, with the time since the start in milliseconds.
    pub fn debug(&self, text: &str) {
        if self.verbose {
            let elapsed = self.started.elapsed().as_secs_f64() * 1000.0;
            self.write(&format!("+{elapsed:.3}ms {text}"));
        }
    }

    /// Something that the user may want to look at.
    pub fn note(&self, text: &str) {
        self.write(text);
    }

    /// What went wrong.
    pub fn error(&self, error: &Error) {
        self.write(&error.to_string());
    }

    /// Something that the user should know, though it stopped nothing.
    pub fn warn(&self, error: &Error) {
        self.write(&format!("warning: {error}"));
    }

    fn write(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "netns: {text}");
        if let Some(mut file) = self.file.as_deref() {
            let now = humantime::format_rfc3339_millis(SystemTime::now());
            let _ = file.write_all(format!("{now} netns[{}]: {text}\n", std::process::id()).as_bytes());
        }
    }
}
