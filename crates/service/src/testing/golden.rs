//! Golden files: how events look on the wire, kept beside the code, so that a change of an event's form is seen before
//! it is published, and what was published earlier can still be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    envelope::is_json,
    event::{Codec, Event},
    failure::{BoxError, Failure},
};

/// The variable that has the files written, if its value is `write`.
const VARIABLE: &str = "MILENA_GOLDEN";

/// Compares events of type `E` with their golden files in `directory`, and decodes all files of the type.
///
/// - Each event is encoded and compared with `{type}.v{version}.{name}.json` (as JSON; where the codec writes
///   something else, as bytes, and the file is named `.bin`). A file that is missing or differs is an error, unless
///   the environment variable `MILENA_GOLDEN` is `write`: then it is written.
/// - Every other file of the type, of this version or of an older one, must still be decoded, through the
///   [upcasters](Event::upcast). So files of older versions stay where they are. And before a change that keeps the
///   version, such as another optional field, the former file is given another name, which keeps its form among what
///   is checked.
///
/// A relative directory is one of the package, where `cargo test` runs.
///
/// ```
/// # use milena_service::{Event, JsonCodec};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct UserCreated { user_id: u64 }
/// # impl Event for UserCreated { const TYPE: &'static str = "user.created"; type Codec = JsonCodec; }
/// use milena_service::testing::golden;
///
/// # /*
/// #[test]
/// # */
/// fn events_look_as_they_were_published() {
///     golden::check("tests/events", &[("plain", UserCreated { user_id: 7 })]).unwrap();
/// }
/// ```
///
/// # Errors
/// All files with which something is wrong, and what to do.
pub fn check<E: Event>(directory: impl AsRef<Path>, events: &[(&str, E)]) -> Result<Report, GoldenError> {
    let write = env::var_os(VARIABLE).is_some_and(|value| value == "write");
    Check { directory: directory.as_ref(), write, report: Report::default(), problems: Vec::new() }
        .run(events)
}

/// What was checked.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The files that an event was compared with.
    pub compared: Vec<PathBuf>,
    /// The files that were written.
    pub written: Vec<PathBuf>,
    /// The files that were decoded, with the versions of the event from which they are.
    pub decoded: BTreeMap<PathBuf, u32>,
}

/// What is wrong with golden files.
#[non_exhaustive]
pub struct GoldenError {
    /// One for each file or event.
    pub problems: Vec<Problem>,
}

/// What is wrong with a golden file, or with an event that should have one.
#[non_exhaustive]
#[derive(Debug)]
pub enum Problem {
    /// There is no file for an event.
    Missing(PathBuf),
    /// An event is written in another form than the file says.
    Differs {
        /// The file.
        file: PathBuf,
        /// What the event is encoded as; what is not text is shown as well as possible.
        encoded: String,
    },
    /// A file cannot be decoded any more.
    Undecodable(PathBuf, Failure),
    /// A file is of a newer version than the event.
    Newer(PathBuf),
    /// An event cannot be encoded.
    Encode(String, BoxError),
    /// A type or a name that is no part of a file's name: letters, digits, `-` and `_` are; in types, dots too.
    Name(String),
    /// A name that two events have.
    Twice(String),
    /// A file or the directory cannot be read or written.
    Io(PathBuf, io::Error),
}

struct Check<'a> {
    directory: &'a Path,
    write: bool,
    report: Report,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn run<E: Event>(mut self, events: &[(&str, E)]) -> Result<Report, GoldenError> {
        if is_name(&E::TYPE.replace('.', "")) {
            let mut names = BTreeSet::new();
            for (name, event) in events {
                if !is_name(name) {
                    self.problems.push(Problem::Name((*name).to_owned()));
                } else if !names.insert(name) {
                    self.problems.push(Problem::Twice((*name).to_owned()));
                } else if let Err(problem) = self.compare(name, event) {
                    self.problems.push(problem);
                }
            }
            if let Err(error) = self.decode_all::<E>() {
                self.problems.push(Problem::Io(self.directory.to_owned(), error));
            }
        } else {
            self.problems.push(Problem::Name(E::TYPE.to_owned()));
        }
        if self.problems.is_empty() { Ok(self.report) } else { Err(GoldenError { problems: self.problems }) }
    }

    fn compare<E: Event>(&mut self, name: &str, event: &E) -> Result<(), Problem> {
        let encoded =
            E::Codec::encode(event).map_err(|error| Problem::Encode(name.to_owned(), error.into_inner()))?;
        let file = format!("{}.v{}.{name}.{}", E::TYPE, E::VERSION, extension::<E>());
        let file = self.directory.join(file);
        let golden = match fs::read(&file) {
            Ok(golden) => Some(golden),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Problem::Io(file, error)),
        };
        if golden.as_deref().is_some_and(|golden| are_same::<E>(golden, &encoded)) {
            self.report.compared.push(file);
            return Ok(());
        }
        let shown = shown::<E>(encoded);
        if self.write {
            let written = fs::create_dir_all(self.directory).and_then(|()| fs::write(&file, shown));
            written.map_err(|error| Problem::Io(file.clone(), error))?;
            self.report.written.push(file);
            return Ok(());
        }
        Err(match golden {
            Some(_) => Problem::Differs { file, encoded: String::from_utf8_lossy(&shown).into_owned() },
            None => Problem::Missing(file),
        })
    }

    fn decode_all<E: Event>(&mut self) -> io::Result<()> {
        let entries = match fs::read_dir(self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            let name = file.file_name().and_then(|name| name.to_str());
            let Some(version) = name.and_then(version_of::<E>) else { continue };
            match fs::read(&file) {
                Err(error) => self.problems.push(Problem::Io(file, error)),
                Ok(_) if version > E::VERSION => self.problems.push(Problem::Newer(file)),
                Ok(bytes) => match E::Codec::decode(version, &bytes) {
                    Ok(_) => drop(self.report.decoded.insert(file, version)),
                    Err(error) => {
                        let undecodable = error.undecodable::<E>(version);
                        let failure = Failure::named(undecodable.kind(), undecodable);
                        self.problems.push(Problem::Undecodable(file, failure));
                    }
                },
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The version of the file of this name, if it is one of this type.
fn version_of<E: Event>(file: &str) -> Option<u32> {
    let rest = file.strip_prefix(E::TYPE)?.strip_prefix(".v")?;
    let (version, rest) = rest.split_once('.')?;
    let (name, extension_found) = rest.split_once('.')?;
    let ours = is_name(name) && extension_found == extension::<E>();
    version.parse().ok().filter(|_| ours)
}

fn extension<E: Event>() -> &'static str {
    if is_json(E::Codec::CONTENT_TYPE) { "json" } else { "bin" }
}

/// JSON is compared by what it says.
fn are_same<E: Event>(one: &[u8], other: &[u8]) -> bool {
    let parse = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    one == other
        || (is_json(E::Codec::CONTENT_TYPE) && parse(one).is_some_and(|one| Some(one) == parse(other)))
}

/// JSON as people read it.
fn shown<E: Event>(encoded: Vec<u8>) -> Vec<u8> {
    let pretty = |bytes: &[u8]| serde_json::to_string_pretty(&serde_json::from_slice::<Value>(bytes)?);
    match is_json(E::Codec::CONTENT_TYPE).then(|| pretty(&encoded)) {
        Some(Ok(pretty)) => format!("{pretty}\n").into_bytes(),
        Some(Err(_)) | None => encoded,
    }
}

impl Error for GoldenError {}

impl fmt::Display for GoldenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// As people read it: tests unwrap it.
impl fmt::Debug for GoldenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "golden files:\n{self}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(file) => {
                write!(f, "{}: missing; run again with {VARIABLE}=write, and commit it", file.display())
            }
            Self::Differs { file, encoded } => write!(
                f,
                "{}: the event is written in another form now; if the former one was ever published, raise the \
                 version and add an upcaster; if readers of either form understand the other one, give the file \
                 another name and run again with {VARIABLE}=write; if it was never published, just do the latter; \
                 the new form is\n{}",
                file.display(),
                encoded.trim_end()
            ),
            Self::Undecodable(file, failure) => {
                write!(
                    f,
                    "{}: such events were published and cannot be read any more: {failure}",
                    file.display()
                )
            }
            Self::Newer(file) => {
                write!(f, "{}: it is of a newer version; versions are never lowered", file.display())
            }
            Self::Encode(name, error) => write!(f, "{name}: the event cannot be encoded: {error}"),
            Self::Name(name) => {
                write!(f, "{name:?}: no part of a file's name; letters, digits, '-' and '_' are")
            }
            Self::Twice(name) => write!(f, "{name}: two events have this name"),
            Self::Io(file, error) => write!(f, "{}: {error}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests;
