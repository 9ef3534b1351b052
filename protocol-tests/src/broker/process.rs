//! One Java process.

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::error::BrokerError;
use super::guard::Guard;

/// A broker shuts down in a second or two, unless it has no controller to ask for leave.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Threads stop within milliseconds; the rest is for a machine that has more to do.
#[cfg(unix)]
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// The command for Java: the one of `JAVA_HOME`, or the first on the path.
#[must_use]
pub fn java() -> Command {
    Command::new(
        env::var_os("JAVA_HOME").map_or_else(|| "java".into(), |home| Path::new(&home).join("bin/java")),
    )
}

/// A running Java process. It is killed when this is dropped, and when the process that holds this dies in any way.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    guard: Guard,
}

impl Process {
    /// Starts `command` with its output in `log`. Its data, if its owner dies, goes with it.
    pub(crate) fn start(command: &mut Command, log: &Path, data: &Path) -> Result<Self, BrokerError> {
        let file = File::options().create(true).append(true).open(log);
        let output = file.and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = output.map_err(BrokerError::io(format!("open {}", log.display())))?;
        let spawned = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        let unavailable = |error| BrokerError::Unavailable { reason: format!("Java cannot be run: {error}") };
        let mut child = spawned.map_err(unavailable)?;
        match Guard::of(&child, data) {
            Ok(guard) => Ok(Self { child, guard }),
            Err(error) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(BrokerError::io("start the guard of a broker")(error))
            }
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() {
            self.guard.dismiss();
        }
        status
    }

    /// Sends a signal by name, as `kill` knows it.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) -> Result<(), BrokerError> {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        let what = format!("send signal {name} to process {}", self.child.id());
        match sent {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(BrokerError::io(what)(std::io::Error::other(format!("kill ended with {status}"))))
            }
            Err(error) => Err(BrokerError::io(what)(error)),
        }
    }

    /// Freezes it. The signal only asks: each thread stops at its next chance, and until the last one has, the process may
    /// still answer. So this waits, where the system tells.
    #[cfg(unix)]
    pub(crate) fn freeze(&self) -> Result<(), BrokerError> {
        self.signal("STOP")?;
        let deadline = Instant::now() + FREEZE_TIMEOUT;
        while !self.stands_still() {
            if Instant::now() >= deadline {
                let what = format!("freeze process {}", self.child.id());
                let late = format!("a thread still runs after {FREEZE_TIMEOUT:?}");
                return Err(BrokerError::io(what)(std::io::Error::other(late)));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether no thread runs, as `/proc` tells on Linux; elsewhere nobody tells, and it counts as still.
    #[cfg(unix)]
    fn stands_still(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return true };
        threads.flatten().all(|thread| {
            // "ID (name) state …"; a thread that has ended meanwhile has no file.
            let Ok(stat) = std::fs::read_to_string(thread.path().join("stat")) else { return true };
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// Lets it shut down in order, and kills it when it takes too long or cannot be asked.
    pub(crate) fn stop(mut self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let asked = self.ask_to_stop();
        while asked && self.exited().is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
        }
    }

    #[cfg(unix)]
    fn ask_to_stop(&self) -> bool {
        self.signal("TERM").is_ok()
    }

    #[cfg(not(unix))]
    fn ask_to_stop(&self) -> bool {
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.guard.dismiss();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
