//! How programs are run: found without a `PATH`, with a deadline, and never left behind.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::{Doing, Error, Kind, Result};

/// Where programs are looked for: engines run hooks without a `PATH`.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"];

/// How long a program may take once it has been told everything.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// How long a program that has closed its outputs is asked without a pause whether it has ended,
/// and the pause from then on.
const PAUSE: Duration = Duration::from_millis(1);

/// The most that is read of what a program prints, in bytes: far more than a host's largest
/// ruleset that works. One that is longer is not read at all.
pub const MAX_TEXT: u64 = 64 << 20;

/// The most that is read of what it says on its standard error.
const MAX_SAID: u64 = 1 << 20;

/// Finds a program.
///
/// # Errors
/// It is nowhere.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists()).ok_or_else(
        || {
            Error::new(format!("find {name}"), format!("it is in none of {}", DIRECTORIES.join(", ")))
                .hint(format!("install {}", if name == "nft" { "nftables" } else { "iptables" }))
        },
    )
}

/// A program at work, in a process group of its own. Dropped before its end, it is killed with
/// all that it has started.
#[derive(Debug)]
pub(super) struct Running {
    program: PathBuf,
    child: Child,
    deadline: Duration,
}

/// How a program has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) printed: Vec<u8>,
    said: Vec<u8>,
}

impl Ended {
    /// What it said on its standard error, as one line, or else how it ended.
    pub(super) fn said(&self) -> String {
        let said = String::from_utf8_lossy(&self.said);
        let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { self.status.to_string() } else { line }
    }
}

impl Running {
    /// Starts a program; its standard error is read at its end.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(program: PathBuf, args: &[&str], stdin: Stdio, stdout: Stdio) -> Result<Self> {
        let child = Command::new(&program)
            .args(args)
            .env_clear()
            .env("PATH", DIRECTORIES.join(":"))
            .current_dir("/")
            .process_group(0)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| format!("run {}", program.display()))?;
        Ok(Self { program, child, deadline: DEADLINE })
    }

    /// The program's path.
    pub(super) fn program(&self) -> String {
        self.program.display().to_string()
    }

    /// Writes all of `text` to its standard input, and closes that.
    ///
    /// # Errors
    /// It has closed it, or does not read in time.
    pub(super) fn tell(&mut self, mut text: &[u8]) -> io::Result<()> {
        let Some(mut stdin) = self.child.stdin.take() else { return Ok(()) };
        fcntl(&stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let until = Instant::now() + self.deadline;
        while !text.is_empty() {
            match stdin.write(text) {
                Ok(written) => text = &text[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    await_any(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLOUT)], until)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until it has ended, and reads up to `limit` bytes of what it prints meanwhile.
    ///
    /// # Errors
    /// It prints more, or does not end in time: it has been killed.
    pub(super) fn finish(mut self, limit: u64) -> Result<Ended> {
        self.await_end(limit).map_err(|cause| {
            let operation = format!("run {}", self.program());
            if cause.kind() == ErrorKind::TimedOut {
                let cause = format!("it had not ended after {} s and was killed", self.deadline.as_secs());
                return Error::new(operation, cause).of(Kind::TimedOut);
            }
            Error::new(operation, cause)
        })
    }

    /// What it prints, if it succeeds.
    ///
    /// # Errors
    /// As for [`Self::finish`], or it fails.
    pub(super) fn print(self, limit: u64) -> Result<String> {
        let operation = format!("run {}", self.program());
        let ended = self.finish(limit)?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.printed).into_owned());
        }
        Err(Error::new(operation, ended.said()))
    }

    fn await_end(&mut self, limit: u64) -> io::Result<Ended> {
        let until = Instant::now() + self.deadline;
        drop(self.child.stdin.take());
        let stdout = self.child.stdout.take().map(|stdout| Pipe::new(stdout, limit));
        let stderr = self.child.stderr.take().map(|stderr| Pipe::new(stderr, MAX_SAID));
        let mut pipes = [stdout, stderr];
        read_all(&mut pipes, until)?;
        let [printed, said] = pipes.map(|pipe| pipe.map(|pipe| pipe.text).unwrap_or_default());
        let closed = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Ended { status, printed, said });
            }
            // A program closes its outputs as it ends, some microseconds before it has ended.
            if closed.elapsed() < PAUSE {
                thread::yield_now();
            } else if Instant::now() < until {
                thread::sleep(PAUSE);
            } else {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Ok(None), Ok(id)) = (self.child.try_wait(), self.child.id().try_into()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// A pipe from a program, and what has come through it.
struct Pipe {
    end: Option<File>,
    text: Vec<u8>,
    limit: u64,
}

impl Pipe {
    fn new(end: impl Into<OwnedFd>, limit: u64) -> Self {
        Self { end: Some(File::from(end.into())), text: Vec::new(), limit }
    }

    /// Reads what is there; an end is closed.
    fn read(&mut self) -> io::Result<()> {
        let Some(end) = &mut self.end else { return Ok(()) };
        let mut chunk = [0; 1 << 14];
        match end.read(&mut chunk)? {
            0 => self.end = None,
            n => self.text.extend(&chunk[..n]),
        }
        if self.text.len() as u64 > self.limit {
            return Err(io::Error::other(format!("it prints more than {} bytes", self.limit)));
        }
        Ok(())
    }
}

/// Reads from whichever has something until all are closed.
fn read_all(pipes: &mut [Option<Pipe>], until: Instant) -> io::Result<()> {
    loop {
        let mut open: Vec<&mut Pipe> = pipes.iter_mut().flatten().filter(|pipe| pipe.end.is_some()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let ends = open.iter().flat_map(|pipe| pipe.end.as_ref());
        let mut ends: Vec<PollFd> = ends.map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)).collect();
        await_any(&mut ends, until)?;
        let ready: Vec<bool> = ends.iter().map(|end| end.any() != Some(false)).collect();
        for (pipe, _) in open.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            pipe.read()?;
        }
    }
}

/// Waits until one of them is ready.
fn await_any(fds: &mut [PollFd<'_>], until: Instant) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match poll(fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Err(ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, deadline: Duration) -> Running {
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let mut running = Running::start("/bin/sh".into(), &["-c", script], stdin, stdout).unwrap();
        running.deadline = deadline;
        running
    }

    fn is_alive(process: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
    }

    #[test]
    fn what_a_program_prints_and_says_is_read_and_its_input_given() {
        let mut running = sh("cat; echo 'a  b' >&2; echo c >&2; exit 3", DEADLINE);
        running.tell(b"").unwrap();
        assert_eq!(running.finish(10).unwrap().said(), "a b c");
        let mut running = sh("head -c 200000 >/dev/null; echo done", DEADLINE);
        running.tell("0123456789".repeat(20_000).as_bytes()).unwrap();
        assert_eq!(running.print(10).unwrap(), "done\n");
        let error = sh("echo 0123456789", DEADLINE).print(10).unwrap_err();
        assert_eq!(error.to_string(), "run /bin/sh: it prints more than 10 bytes");
        assert_eq!(sh("exit 3", DEADLINE).print(0).unwrap_err().to_string(), "run /bin/sh: exit status: 3");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_what_it_started() {
        for script in ["sleep 1000 & sleep 1000", "exec >&- 2>&-; sleep 1000 & wait"] {
            let running = sh(script, Duration::from_millis(200));
            let process = running.child.id();
            let children = || std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
            let mut started = String::new();
            while started.is_empty() {
                started = children().unwrap();
            }
            let error = running.finish(10).unwrap_err();
            assert_eq!(error.to_string(), "run /bin/sh: it had not ended after 0 s and was killed");
            assert_eq!(error.kind(), Kind::TimedOut);
            assert!(!is_alive(process));
            for child in started.split_whitespace().map(|child| child.parse().unwrap()) {
                let until = Instant::now() + DEADLINE;
                while is_alive(child) {
                    assert!(Instant::now() < until, "{script}: {child} lives");
                }
            }
        }
    }

    #[test]
    fn a_program_that_reads_nothing_or_is_dropped_is_killed() {
        let mut running = sh("sleep 1000", Duration::from_millis(200));
        let process = running.child.id();
        let error = running.tell(&[b'x'; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(running);
        assert!(!is_alive(process));
    }
}
