//! Clients of other makers, told what to do: Java's own, and librdkafka by way of Python.
//!
//! Each is one process for a whole test, `data/Foreign.java` or `data/foreign.py`, which takes requests and answers them
//! in lines. Both know the same words, so that what is asked of one can be asked of the other.

mod librdkafka;
mod line;

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

pub use line::Line;

use crate::broker::{BrokerError, Version, java_of};

const JAVA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/Foreign.java");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/foreign.py");

/// What ends a request and an answer.
const END: &str = ".";

/// How long an answer may take: longer than the programs themselves wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// A foreign client of one cluster. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct Foreign {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

/// Why a foreign client did not do what it was asked: its own words, or what became of its process.
#[derive(Debug)]
pub struct Refused(pub String);

impl Foreign {
    /// Java's client, of Kafka 4.4.0.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] without Java or the jars.
    pub fn java(bootstrap: &str) -> Result<Self, BrokerError> {
        let mut java = java_of(Version::V4_4_0)?;
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", JAVA]);
        Self::start(java, bootstrap)
    }

    /// librdkafka.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] without Python or its package confluent-kafka.
    pub fn librdkafka(bootstrap: &str) -> Result<Self, BrokerError> {
        let mut python = Command::new(librdkafka::python()?);
        python.arg(PYTHON);
        Self::start(python, bootstrap)
    }

    fn start(mut command: Command, bootstrap: &str) -> Result<Self, BrokerError> {
        let program = command.get_program().display().to_string();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => BrokerError::Unavailable { reason: format!("{program}: {error}") },
            _ => BrokerError::Io { what: format!("start {program}"), source: error },
        };
        command.arg(bootstrap).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let (line, answers) = channel();
        thread::spawn(move || {
            // Nobody listens any more: the client is dropped.
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|said| line.send(said)).ok();
        });
        Ok(Self { child, requests, answers })
    }

    /// Asks for one thing, and waits for the answer: the lines that the program says about it.
    ///
    /// # Errors
    /// [`Refused`] when the client fails to do it, or says nothing for 90 s.
    pub fn ask(&mut self, words: &[&str], records: &[Line]) -> Result<Vec<String>, Refused> {
        self.request(words, records).map_err(|error| Refused(format!("it takes no request: {error}")))?;
        let mut lines = Vec::new();
        loop {
            match self.answers.recv_timeout(PATIENCE) {
                Ok(end) if end == END => return Ok(lines),
                Ok(line) => match line.strip_prefix('!') {
                    Some(reason) => {
                        let refused = Refused(reason.to_owned());
                        self.answers.iter().find(|line| line == END);
                        return Err(refused);
                    }
                    None => lines.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Refused(format!("no answer to {words:?} in {PATIENCE:?}, but {lines:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Refused(format!("it ended with {:?}", self.child.wait())));
                }
            }
        }
    }

    /// As [`ask`](Self::ask), where the answer consists of records.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and when a line is no record.
    pub fn read(&mut self, words: &[&str]) -> Result<Vec<Line>, Refused> {
        self.ask(words, &[])?.iter().map(|line| line.parse()).collect()
    }

    fn request(&mut self, words: &[&str], records: &[Line]) -> io::Result<()> {
        let mut request = words.join("\t") + "\n";
        for record in records {
            request += &format!("{record}\n");
        }
        request += END;
        request += "\n";
        self.requests.write_all(request.as_bytes())?;
        self.requests.flush()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}
