//! What may be written into a command for a shell.

use std::path::Path;

/// Whether there is nothing in a text but letters, digits and `besides`.
pub(super) fn is_plain(text: &str, besides: &[u8]) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || besides.contains(&b))
}

/// A path as one word.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if is_plain(&text, b"_.-/") { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
