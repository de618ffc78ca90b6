//! Work in a container's file system, for which nobody waits longer than a container may make us:
//! it may be one that a program of the container serves (FUSE), and never answer.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use std::time::Duration;

/// How long a container that runs may keep us waiting at a time: a run does so twice at most, to
/// mount and to undo that, and with others waiting for it that is to be less than a second.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// Whether somebody still waits for the work.
#[derive(Debug, Clone)]
pub struct Awaited(Arc<AtomicBool>);

impl Awaited {
    /// To be asked before anything is changed.
    ///
    /// # Errors
    /// Nobody waits any more.
    pub fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }
}

/// Does `what` in a thread of its own, and waits for it, at most for `patience`: a thread that
/// is stuck ends with the program.
///
/// # Errors
/// Those of `what`; or it takes too long.
pub fn within<T: Send + 'static>(
    patience: Duration,
    what: impl FnOnce(&Awaited) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let awaited = Awaited(Arc::new(AtomicBool::new(true)));
    let (sender, receiver) = sync_channel(1);
    let theirs = awaited.clone();
    let thread = Builder::new().spawn(move || sender.send(what(&theirs)))?;
    let Ok(done) = receiver.recv_timeout(patience) else {
        awaited.0.store(false, Ordering::Release);
        let cause = format!("its file system has not answered for {} ms", patience.as_millis());
        return Err(io::Error::new(ErrorKind::TimedOut, cause));
    };
    // It ends now, and leaves the namespaces that it has entered.
    let _ = thread.join();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_work_that_does_not_end_and_it_learns_so() {
        let (sender, receiver) = sync_channel(1);
        let stuck = within(Duration::from_millis(1), move |awaited| {
            while awaited.check().is_ok() {
                std::thread::yield_now();
            }
            sender.send(()).map_err(io::Error::other)
        });
        assert_eq!(stuck.unwrap_err().kind(), ErrorKind::TimedOut);
        receiver.recv().unwrap();
        assert_eq!(within(Duration::MAX, |awaited| awaited.check().map(|()| 7)).unwrap(), 7);
    }
}
