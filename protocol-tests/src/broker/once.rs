//! What is fetched once per target directory and then used by all.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::BrokerError;

/// The directory for all that has to do with real brokers and clients: `kafka` in cargo's target directory.
pub(crate) fn home() -> PathBuf {
    // Cargo marks its target directory, wherever it was told to put it.
    let program = env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").exists());
    target
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_path_buf)
        .join("kafka")
}

/// The directory of this name in [`home`]. The first caller makes what is in it, all others (of this process and others)
/// wait.
///
/// It is made beside the final one and moved there, so that what exists is complete.
pub(crate) fn made_once(
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), BrokerError>,
) -> Result<PathBuf, BrokerError> {
    let home = home();
    let made = home.join(name);
    fs::create_dir_all(&home).map_err(BrokerError::io(format!("create {}", home.display())))?;
    let lock_path = home.join(format!("{name}.lock"));
    let lock =
        File::create(&lock_path).map_err(BrokerError::io(format!("create {}", lock_path.display())))?;
    lock.lock().map_err(BrokerError::io(format!("lock {}", lock_path.display())))?;
    if made.exists() {
        return Ok(made);
    }
    let partial = home.join(format!("{name}.partial"));
    let io = |what: &str| BrokerError::io(format!("{what} {}", partial.display()));
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("clear")(error)),
        _ => fs::create_dir_all(&partial).map_err(io("create"))?,
    }
    make(&partial)?;
    fs::rename(&partial, &made).map_err(io("move"))?;
    Ok(made)
}
