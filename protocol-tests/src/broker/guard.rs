//! What ends a broker whose owner is gone.

use std::io;
use std::path::Path;
use std::process::Child;
#[cfg(unix)]
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// A shell that waits for the end of a pipe: the owner of a broker may be killed, or may hold it in a static, which is
/// never dropped; the system closes its end of the pipe in any case. Elsewhere than on Unix a guard does nothing.
#[derive(Debug)]
pub(crate) struct Guard {
    #[cfg(unix)]
    shell: Child,
}

#[cfg(unix)]
impl Guard {
    /// Guards `child`, which keeps its data in `data`.
    pub(crate) fn of(child: &Child, data: &Path) -> io::Result<Self> {
        // A line means that the process is looked after; the end of the pipe without one, that nobody is left who
        // could. Ctrl-C reaches the whole group, and the guard must outlive it.
        let script = r#"trap "" INT TERM HUP; read -r _ || { kill -KILL "$1"; sleep 1; rm -rf "$2"; }"#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "guard"]).arg(child.id().to_string()).arg(data);
        let shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { shell })
    }

    /// Sends the guard home. It must not stay when the process is waited for, whose id may then become another's.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.write_all(b"\n");
            drop(pipe);
            let _ = self.shell.wait();
        }
    }
}

#[cfg(not(unix))]
impl Guard {
    pub(crate) fn of(_child: &Child, _data: &Path) -> io::Result<Self> {
        Ok(Self {})
    }

    pub(crate) fn dismiss(&mut self) {}
}
