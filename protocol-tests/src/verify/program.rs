//! A program that prints JSON lines.

use std::{
    io::{self, BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use serde_json::Value;

const POLL: Duration = Duration::from_millis(20);

/// A running verifiable client. It is killed (-9) when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts `command` and passes each line of its output to `take`, in a thread of its own. What is no JSON is passed
    /// as a string.
    ///
    /// # Errors
    /// Why the program cannot be run.
    pub fn start(command: &mut Command, mut take: impl FnMut(Value) + Send + 'static) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        let reader = thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Ok(line) = line else { return };
                take(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Ok(Self { child, reader: Some(reader) })
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// What the system said.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Asks it to stop, as `kill` does.
    ///
    /// # Errors
    /// What the system said.
    #[cfg(unix)]
    pub fn terminate(&self) -> io::Result<()> {
        let status = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill ended with {status}"))) }
    }

    /// Its status once it has ended and all its lines were taken; `None` if that takes longer than `patience`.
    ///
    /// # Errors
    /// What the system said.
    pub fn wait(mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let mut status = None;
        wait_until(patience, || {
            status = self.child.try_wait().transpose();
            status.is_some()
        });
        let status = status.transpose()?;
        if status.is_some()
            && let Some(reader) = self.reader.take()
        {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        Ok(status)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again whether something has come true; whether it has within `patience`.
pub fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL);
    }
}
