//! A Python with librdkafka: a virtual environment in the target directory, made once.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::broker::{BrokerError, made_once};

/// With it comes a librdkafka of the same version.
const PACKAGE: &str = "confluent-kafka==2.16.1";

/// The interpreter that knows the package.
///
/// # Errors
/// [`BrokerError::Unavailable`] when Python is missing or cannot make such an environment.
pub(super) fn python() -> Result<PathBuf, BrokerError> {
    Ok(interpreter(&made_once(PACKAGE, make)?))
}

fn make(environment: &Path) -> Result<(), BrokerError> {
    run(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
    run(Command::new(interpreter(environment)).args(pip))?;
    Ok(())
}

fn interpreter(environment: &Path) -> PathBuf {
    if cfg!(windows) { environment.join("Scripts/python.exe") } else { environment.join("bin/python") }
}

fn run(command: &mut Command) -> Result<(), BrokerError> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| unavailable(command, &error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    Err(unavailable(command, &format!("{status}\n{said}")))
}

fn unavailable(command: &Command, reason: &str) -> BrokerError {
    BrokerError::Unavailable { reason: format!("{command:?}: {reason}") }
}
