//! Golden files that are missing, differ, or are of other versions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::event::{CodecError, JsonCodec, UpcastError};

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("milena-golden-{}", uuid::Uuid::now_v7())))
    }

    fn check<E: Event>(&self, write: bool, events: &[(&str, E)]) -> Result<Report, GoldenError> {
        Check { directory: &self.0, write, report: Report::default(), problems: Vec::new() }.run(events)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Serialize, Deserialize)]
struct First {
    id: u64,
}

impl Event for First {
    const TYPE: &'static str = "user.created";
    type Codec = JsonCodec;
}

#[derive(Serialize, Deserialize)]
struct Second {
    id: u64,
    locale: String,
}

impl Event for Second {
    const TYPE: &'static str = "user.created";
    const VERSION: u32 = 2;
    type Codec = JsonCodec;

    fn upcast(from: u32, mut value: Value) -> Result<Value, UpcastError> {
        let fields = value.as_object_mut().ok_or_else(|| UpcastError::missing(from))?;
        fields.insert("locale".to_owned(), "en".into());
        Ok(value)
    }
}

fn second() -> Second {
    Second { id: 7, locale: "de".to_owned() }
}

const FIRST: &str = "user.created.v1.plain.json";
const SECOND: &str = "user.created.v2.plain.json";

#[test]
fn files_are_written_once_and_compared_from_then_on() {
    let directory = Directory::new();
    let missing = directory.check(false, &[("plain", First { id: 7 })]).unwrap_err();
    assert!(matches!(&missing.problems[..], [Problem::Missing(_)]), "{missing:?}");
    assert!(format!("{missing:?}").contains("MILENA_GOLDEN=write"));

    let report = directory.check(true, &[("plain", First { id: 7 })]).unwrap();
    assert_eq!(report.written, [directory.0.join(FIRST)]);
    assert_eq!(directory.read(FIRST), "{\n  \"id\": 7\n}\n");

    let report = directory.check(false, &[("plain", First { id: 7 })]).unwrap();
    assert_eq!((report.compared.len(), report.written.len(), report.decoded.len()), (1, 0, 1));
}

#[test]
fn another_form_of_the_same_version_is_an_error_that_says_what_to_do() {
    let directory = Directory::new();
    directory.check(true, &[("plain", First { id: 7 })]).unwrap();
    let differs = directory.check(false, &[("plain", First { id: 8 })]).unwrap_err();
    assert!(
        matches!(&differs.problems[..], [Problem::Differs { encoded, .. }] if encoded.contains("\"id\": 8"))
    );
    assert!(differs.to_string().contains("raise the version and add an upcaster"), "{differs}");
    directory.check(true, &[("plain", First { id: 8 })]).unwrap();
    directory.check(false, &[("plain", First { id: 8 })]).unwrap();
}

#[test]
fn files_of_older_versions_are_decoded_through_the_upcasters() {
    let directory = Directory::new();
    directory.check(true, &[("plain", First { id: 7 })]).unwrap();
    let report = directory.check(true, &[("plain", second())]).unwrap();
    let versions: Vec<u32> = report.decoded.into_values().collect();
    assert_eq!(versions, [1, 2]);

    directory.write(FIRST, "[]");
    let broken = directory.check(false, &[("plain", second())]).unwrap_err();
    let [Problem::Undecodable(file, failure)] = &broken.problems[..] else { panic!("{broken:?}") };
    assert_eq!((file, failure.kind()), (&directory.0.join(FIRST), "upcast"));
    assert!(broken.to_string().contains("no upcaster from version 1"), "{broken}");
}

#[test]
fn files_that_no_event_is_compared_with_are_decoded_all_the_same() {
    let directory = Directory::new();
    directory.check(true, &[("plain", second())]).unwrap();
    directory.write("user.created.v2.former.json", r#"{"id":7}"#);
    let broken = directory.check(false, &[("plain", second())]).unwrap_err();
    assert!(broken.to_string().contains("missing field `locale`"), "{broken}");
}

#[test]
fn a_version_is_never_lowered() {
    let directory = Directory::new();
    directory.check(true, &[("plain", second())]).unwrap();
    let lowered = directory.check(true, &[("plain", First { id: 7 })]).unwrap_err();
    assert!(matches!(&lowered.problems[..], [Problem::Newer(file)] if file.ends_with(SECOND)), "{lowered:?}");
}

#[test]
fn files_of_others_are_left_alone() {
    let directory = Directory::new();
    directory.check(true, &[("plain", second())]).unwrap();
    for other in [
        "README.md",
        "user.created.json",
        "user.created.vx.plain.json",
        "user.created.v1.v2.plain.json",
        "user.created.v1.plain.bin",
        "user.created.later.v1.plain.json",
    ] {
        directory.write(other, "broken");
    }
    assert_eq!(directory.check(false, &[("plain", second())]).unwrap().decoded.len(), 1);
}

#[test]
fn names_are_parts_of_file_names_and_are_given_once() {
    let directory = Directory::new();
    let events = [("a.b", second()), ("", second()), ("../a", second()), ("a", second()), ("a", second())];
    let error = directory.check(true, &events).unwrap_err();
    assert!(
        matches!(
            &error.problems[..],
            [Problem::Name(_), Problem::Name(_), Problem::Name(_), Problem::Twice(name)] if name == "a"
        ),
        "{error:?}"
    );

    #[derive(Serialize, Deserialize)]
    struct Outside;
    impl Event for Outside {
        const TYPE: &'static str = "../user";
        type Codec = JsonCodec;
    }
    let error = directory.check(true, &[("a", Outside)]).unwrap_err();
    assert!(matches!(&error.problems[..], [Problem::Name(name)] if name == "../user"), "{error:?}");
}

#[test]
fn other_codecs_are_compared_byte_by_byte() {
    struct Tick(u8);
    struct Byte;
    impl Codec<Tick> for Byte {
        const CONTENT_TYPE: &'static str = "application/octet-stream";

        fn encode(tick: &Tick) -> Result<Vec<u8>, CodecError> {
            Ok(vec![tick.0])
        }

        fn decode(_: u32, bytes: &[u8]) -> Result<Tick, CodecError> {
            bytes.first().map(|byte| Tick(*byte)).ok_or_else(|| CodecError::new("empty"))
        }
    }
    impl Event for Tick {
        const TYPE: &'static str = "tick";
        type Codec = Byte;
    }
    let directory = Directory::new();
    directory.check(true, &[("one", Tick(1))]).unwrap();
    assert_eq!(fs::read(directory.0.join("tick.v1.one.bin")).unwrap(), [1]);
    directory.check(false, &[("one", Tick(1))]).unwrap();
    assert!(directory.check(false, &[("one", Tick(2))]).is_err());
}

#[test]
fn json_is_compared_by_what_it_says() {
    let directory = Directory::new();
    directory.check(true, &[("plain", second())]).unwrap();
    directory.write(SECOND, &json!({ "locale": "de", "id": 7 }).to_string());
    directory.check(false, &[("plain", second())]).unwrap();
}
