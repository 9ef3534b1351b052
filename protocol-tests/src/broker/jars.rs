//! Kafka's jars, fetched by Maven once per target directory.

use std::env;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::BrokerError;
use super::version::Version;

/// Where the jars of `version` lie. The first caller fetches them, all others (of this process and others) wait.
pub(crate) fn resolve(version: Version) -> Result<PathBuf, BrokerError> {
    let home = home();
    let jars = home.join(version.as_str());
    fs::create_dir_all(&home).map_err(BrokerError::io(format!("create {}", home.display())))?;
    let lock_path = home.join(format!("{version}.lock"));
    let lock =
        File::create(&lock_path).map_err(BrokerError::io(format!("create {}", lock_path.display())))?;
    lock.lock().map_err(BrokerError::io(format!("lock {}", lock_path.display())))?;
    if !jars.exists() {
        fetch(version, &home, &jars)?;
    }
    Ok(jars)
}

/// The directory for all that has to do with real brokers: `kafka` in cargo's target directory.
pub(crate) fn home() -> PathBuf {
    // Cargo marks its target directory, wherever it was told to put it.
    let program = env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").exists());
    target
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_path_buf)
        .join("kafka")
}

/// Fetches into a directory beside the final one and moves it there, so that what exists is complete.
fn fetch(version: Version, home: &Path, jars: &Path) -> Result<(), BrokerError> {
    let partial = home.join(format!("{version}.partial"));
    let io = |what: &str| BrokerError::io(format!("{what} {}", partial.display()));
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("clear")(error)),
        _ => fs::create_dir_all(&partial).map_err(io("create"))?,
    }
    let pom_path = home.join(format!("{version}.pom.xml"));
    fs::write(&pom_path, pom(version)).map_err(BrokerError::io(format!("write {}", pom_path.display())))?;
    let maven = Command::new(if cfg!(windows) { "mvn.cmd" } else { "mvn" })
        .args(["-q", "-B", "-f"])
        .arg(&pom_path)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output();
    let output = maven.map_err(|error| BrokerError::Unavailable {
        reason: format!("Maven (mvn) cannot be run: {error}"),
    })?;
    if !output.status.success() {
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let reason = format!("Maven could not fetch Kafka {version} ({}):\n{said}", output.status);
        return Err(BrokerError::Unavailable { reason });
    }
    fs::rename(&partial, jars).map_err(io("move"))
}

fn pom(version: Version) -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>milena</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"#
    )
}
