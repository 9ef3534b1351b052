//! Makes `src/wire/messages` from Kafka's message schemas.
//!
//! ```text
//! cargo run -p milena-codegen -- generate           write src/wire/messages
//! cargo run -p milena-codegen -- generate --check   fail if what is checked in differs from what would be written
//! cargo run -p milena-codegen -- strip <jar>        make crates/codegen/schema from a kafka-clients jar, or a directory
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod apis;
mod emit;
mod schema;
mod strip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, process};

use emit::Api;
use schema::{Kind, Message, Versions, snake_case};

/// File names below `src/wire`, and their contents.
type Files = BTreeMap<PathBuf, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["generate"] => generate(),
        ["generate", "--check"] => check(),
        ["strip", source] => strip::strip(Path::new(source), &schema_dir())
            .map(|count| println!("{count} schemas stripped into {}", schema_dir().display())),
        _ => Err("usage: milena-codegen generate [--check] | strip <jar-or-directory>".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("milena-codegen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn schema_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema")
}

/// The directory that the generated files are in.
fn wire_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/wire")
}

fn generate() -> Result<(), String> {
    let files = formatted()?;
    for stale in existing()?.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(wire_dir().join(stale)).map_err(|e| format!("{}: {e}", stale.display()))?;
    }
    write_all(&wire_dir(), &files)?;
    println!("{} files written", files.len());
    Ok(())
}

fn check() -> Result<(), String> {
    let (expected, found) = (formatted()?, existing()?);
    let mut wrong: Vec<String> = Vec::new();
    for name in expected.keys().chain(found.keys()) {
        let name_text = name.display().to_string();
        if expected.get(name) != found.get(name) && !wrong.contains(&name_text) {
            wrong.push(name_text);
        }
    }
    if wrong.is_empty() {
        println!("{} generated files are up to date", expected.len());
        return Ok(());
    }
    Err(format!("not what the schemas give; run `generate`: {}", wrong.join(", ")))
}

/// Every schema that has a version.
pub(crate) fn load_all() -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    for entry in fs::read_dir(schema_dir()).map_err(|e| format!("{}: {e}", schema_dir().display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            messages.push(Message::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?);
        }
    }
    messages.retain(|message| !message.versions.is_empty());
    messages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(messages)
}

/// The generated files, not yet formatted.
fn sources() -> Result<Files, String> {
    let all = load_all()?;
    let find = |name: &str| {
        all.iter().find(|message| message.name == name).ok_or_else(|| format!("there is no schema {name}"))
    };
    let mut chosen = Vec::new();
    let mut apis = Vec::new();
    for name in apis::APIS {
        let (request, response) = (find(&format!("{name}Request"))?, find(&format!("{name}Response"))?);
        chosen.extend([request, response]);
        apis.push(Api { request, response, versions: usable_versions(request, response) });
    }
    for name in apis::DATA {
        chosen.push(find(name)?);
    }
    apis.sort_by_key(|api| api.request.api_key);
    let mut files = Files::new();
    for message in &chosen {
        let name = format!("messages/{}.rs", snake_case(&message.name));
        files.insert(PathBuf::from(name), emit::message(message)?);
    }
    files.insert(PathBuf::from("messages.rs"), emit::index(&chosen, &apis)?);
    Ok(files)
}

/// The versions that both messages have, without unstable ones and those that are not for clients.
fn usable_versions(request: &Message, response: &Message) -> Versions {
    debug_assert!(request.kind == Kind::Request && response.kind == Kind::Response);
    let mut versions = request.versions.intersect(response.versions);
    if request.latest_unstable {
        versions.max = versions.max.min(request.versions.max.saturating_sub(1));
    }
    for (api, ceiling) in apis::CEILINGS {
        if *api == request.api() {
            versions.max = versions.max.min(*ceiling);
        }
    }
    versions
}

/// The generated files as rustfmt leaves them.
fn formatted() -> Result<Files, String> {
    let scratch = env::temp_dir().join(format!("milena-codegen-{}", process::id()));
    let files = sources()?;
    write_all(&scratch, &files)?;
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rustfmt.toml");
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.arg("--config-path").arg(config).args(["--edition", "2024"]);
    rustfmt.args(files.keys().map(|name| scratch.join(name)));
    let done = rustfmt.status().map_err(|e| format!("cannot run rustfmt: {e}"))?;
    if !done.success() {
        return Err(format!("rustfmt failed, see {}: {done}", scratch.display()));
    }
    let mut formatted = Files::new();
    for name in files.into_keys() {
        let text = fs::read_to_string(scratch.join(&name)).map_err(|e| format!("{}: {e}", name.display()))?;
        formatted.insert(name, text);
    }
    fs::remove_dir_all(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
    Ok(formatted)
}

/// The generated files that are checked in.
fn existing() -> Result<Files, String> {
    let mut names = vec![PathBuf::from("messages.rs")];
    for entry in fs::read_dir(wire_dir().join("messages")).into_iter().flatten() {
        names.push(Path::new("messages").join(entry.map_err(|e| e.to_string())?.file_name()));
    }
    let mut files = Files::new();
    for name in names {
        if let Ok(text) = fs::read_to_string(wire_dir().join(&name)) {
            files.insert(name, text);
        }
    }
    Ok(files)
}

fn write_all(to: &Path, files: &Files) -> Result<(), String> {
    for (name, text) in files {
        let path = to.join(name);
        let fail = |e| format!("{}: {e}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(to)).map_err(fail)?;
        fs::write(&path, text).map_err(fail)?;
    }
    Ok(())
}
