//! A program that is run to its end, and how long that takes, its start included.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common;

/// A program, what it is told, and what it reads.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub args: Vec<String>,
    pub env: Vec<(&'static str, String)>,
    pub input: String,
}

impl Call {
    pub fn new<S: Into<String>>(args: impl IntoIterator<Item = S>, input: impl Into<String>) -> Self {
        Self { args: args.into_iter().map(Into::into).collect(), env: Vec::new(), input: input.into() }
    }

    /// The same under another program, such as strace.
    pub fn under(&self, wrapper: &[&str]) -> Self {
        let args = wrapper.iter().map(|arg| (*arg).to_owned()).chain(self.args.iter().cloned());
        Self { args: args.collect(), ..self.clone() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.args[0]);
        command.args(&self.args[1..]).envs(self.env.iter().cloned());
        command
    }

    /// Runs it, which must succeed.
    pub fn run(&self) -> (Duration, Output) {
        let started = Instant::now();
        let output = common::run(&mut self.command(), &self.input);
        let took = started.elapsed();
        let said = common::stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", self.args.join(" "));
        (took, output)
    }

    /// Starts it, and reads nothing of what it says.
    pub fn start(&self) -> Child {
        use std::io::Write as _;
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.args[0]));
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(self.input.as_bytes()).expect("write to a program that was just started");
        child
    }
}
