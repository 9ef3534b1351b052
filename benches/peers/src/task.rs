//! What one child process does, and how it is told.

use std::env;
use std::error::Error;
use std::process::{Command, Stdio};

use crate::events::events;
use crate::measure::Measured;
use crate::workload::Workload;

pub(crate) const MILENA: &str = "milena";
pub(crate) const LIBRDKAFKA: &str = "librdkafka";
pub(crate) const CLIENTS: [&str; 2] = [MILENA, LIBRDKAFKA];
/// The first argument of a child.
const CHILD: &str = "child";
/// Different values: enough that the copy does not come from the innermost cache.
const VALUES: usize = 4096;

/// Sending or reading a number of records with one client.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) client: String,
    pub(crate) workload: Workload,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) records: usize,
    /// Whether librdkafka keeps its own settings for batches and buffers.
    pub(crate) defaults: bool,
}

impl Task {
    /// Reads a child's arguments; `None` if these are not.
    pub(crate) fn from_arguments(arguments: &[String]) -> Option<Result<Self, Box<dyn Error>>> {
        let (first, rest) = arguments.split_first()?;
        (first == CHILD).then(|| Self::parse(rest))
    }

    fn parse(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let [client, workload, bootstrap, topic, records, defaults] = arguments else {
            return Err(format!("{CHILD} is for the program's own use").into());
        };
        Ok(Self {
            client: client.clone(),
            workload: Workload::named(workload)?,
            bootstrap: bootstrap.clone(),
            topic: topic.clone(),
            records: records.parse()?,
            defaults: defaults.parse()?,
        })
    }

    /// Does it in a process of its own.
    pub(crate) fn run(&self) -> Result<Measured, Box<dyn Error>> {
        let mut command = Command::new(env::current_exe()?);
        command.args([CHILD, &self.client, self.workload.name, &self.bootstrap, &self.topic]);
        command.args([self.records.to_string(), self.defaults.to_string()]);
        let output = command.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("{} has failed: {}", self.client, output.status).into());
        }
        String::from_utf8(output.stdout)?.parse()
    }

    pub(crate) fn values(&self) -> Values {
        let size = self.workload.bytes;
        Values { bytes: events(size * VALUES), size }
    }
}

/// The records' values, the same for every client.
pub(crate) struct Values {
    bytes: Vec<u8>,
    size: usize,
}

impl Values {
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let at = index % VALUES * self.size;
        &self.bytes[at..at + self.size]
    }
}
