//! One picture after the other, whenever something has changed.

use std::fs;
use std::io::{ErrorKind, IsTerminal, Write, stdout};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::config::Settings;
use crate::error::{Doing, Result};
use crate::kernel::changes::{Changes, Woken};

/// How often the state directory is checked: the kernel does not tell of a change of a record.
const TICK: Duration = Duration::from_millis(250);
/// Ticks after which everything is observed again, since the kernel does not tell the host what
/// happens inside of a container.
const PATIENCE: u32 = 8;
/// An attach makes a dozen changes at once: one picture will do.
const SETTLED: Duration = Duration::from_millis(40);
/// How often that is waited for.
const UNSETTLED: u32 = 10;

/// The directories in which something comes or goes with each change of a record.
const DIRECTORIES: [&str; 3] = ["networks", "containers", "pending"];

/// Prints what `draw` draws, and again whenever that differs, until nobody reads it any more.
pub(super) fn watch(settings: &Settings, mut draw: impl FnMut() -> Result<String>) -> Result<()> {
    let changes = Changes::listen()?;
    let mut stamp = stamp(&settings.state_dir);
    let mut last = draw()?;
    let mut fresh = true;
    loop {
        if fresh && !show(&last)? {
            return Ok(());
        }
        if !wait(&changes, &settings.state_dir, &mut stamp)? {
            return Ok(());
        }
        match draw() {
            Ok(picture) => {
                fresh = picture != last;
                last = picture;
            }
            // As when a container goes while it is being observed.
            Err(error) => {
                fresh = false;
                settings.log.debug(&format!("# {error}"));
            }
        }
    }
}

/// Shows one picture: in the place of the last one where that can be, else below it. Whether
/// somebody reads it.
fn show(picture: &str) -> Result<bool> {
    let text = if is_screen() { format!("\x1b[H\x1b[2J{picture}") } else { format!("{picture}\n") };
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).doing(|| "write to standard output"),
    }
}

/// Waits until there may be something new. Whether somebody still reads.
fn wait(changes: &Changes, state_dir: &Path, known: &mut Stamp) -> Result<bool> {
    for _ in 0..PATIENCE {
        let woken = changes.wait(TICK, stdout())?;
        let now = stamp(state_dir);
        match woken {
            Woken::Unread => return Ok(false),
            Woken::Quiet if now == *known => continue,
            Woken::Quiet | Woken::Changed => {}
        }
        for _ in 0..UNSETTLED {
            match changes.wait(SETTLED, stdout())? {
                Woken::Unread => return Ok(false),
                Woken::Quiet => break,
                Woken::Changed => {}
            }
        }
        *known = stamp(state_dir);
        return Ok(true);
    }
    Ok(true)
}

/// What tells one state of the state directory from another: of each directory its inode and
/// when it was changed.
type Stamp = [Option<(u64, i64, i64)>; DIRECTORIES.len()];

fn stamp(state_dir: &Path) -> Stamp {
    DIRECTORIES.map(|name| {
        let found = fs::metadata(state_dir.join(name)).ok()?;
        Some((found.ino(), found.mtime(), found.mtime_nsec()))
    })
}

/// Whether standard output is a terminal that can do more than print.
pub(super) fn is_screen() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}
