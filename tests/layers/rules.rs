//! The import table, the places for tokio, and the size of files.

use std::fmt;

use super::source::Source;
use super::tree::{File, Tree};

/// One floor: what belongs to it, and which floors below it may use. A floor may use itself.
pub(crate) struct Layer {
    name: &'static str,
    modules: &'static [&'static str],
    may_import: &'static [&'static str],
    /// Single modules of floors that are otherwise out of reach.
    and_modules: &'static [&'static str],
}

/// Who may import whom. A module of `src/` that stands in no floor is a violation.
pub(crate) const LAYERS: &[Layer] = &[
    Layer {
        name: "base",
        modules: &["error", "types", "record", "sync", "config"],
        may_import: &[],
        and_modules: &[],
    },
    // Counters are data: whoever counts writes into them, from the machines up.
    Layer { name: "metrics", modules: &["metrics"], may_import: &["base"], and_modules: &[] },
    Layer { name: "wire", modules: &["wire"], may_import: &["base"], and_modules: &[] },
    // What comes out is decoded lazily from the bytes of a response, so it stands above the wire format.
    Layer { name: "message", modules: &["message"], may_import: &["base", "wire"], and_modules: &[] },
    Layer {
        name: "engine",
        modules: &["engine"],
        may_import: &["base", "metrics", "wire", "message"],
        and_modules: &[],
    },
    Layer {
        name: "net",
        modules: &["net"],
        may_import: &["base", "metrics", "wire", "message", "engine"],
        and_modules: &[],
    },
    Layer { name: "client", modules: &["client"], may_import: BELOW_CLIENT, and_modules: &[] },
    Layer { name: "producer", modules: &["producer"], may_import: BELOW_ROLES, and_modules: &[] },
    Layer { name: "consumer", modules: &["consumer"], may_import: BELOW_ROLES, and_modules: &[] },
    Layer { name: "share", modules: &["share"], may_import: BELOW_ROLES, and_modules: &[] },
    // What uses both a consumer and a producer, through their public interfaces.
    Layer {
        name: "processor",
        modules: &["processor"],
        may_import: &["base", "message", "producer", "consumer"],
        and_modules: &[],
    },
    Layer { name: "admin", modules: &["admin"], may_import: BELOW_ROLES, and_modules: &[] },
    // The embedded broker must not share the bugs that it looks for: of the client it uses the wire format, small
    // tools of the machines that hold no Kafka logic, and the clock and transport with which it is served.
    Layer {
        name: "testing",
        modules: &["testing"],
        may_import: &["base", "wire"],
        and_modules: &["engine::backoff", "engine::machine", "net::clock", "net::transport"],
    },
    // What the fuzz targets do with the machines: nobody imports it.
    Layer {
        name: "fuzz",
        modules: &["fuzz"],
        may_import: &["base", "wire", "engine", "testing"],
        and_modules: &[],
    },
];

const BELOW_CLIENT: &[&str] = &["base", "metrics", "wire", "message", "engine", "net"];
const BELOW_ROLES: &[&str] = &["base", "metrics", "wire", "message", "engine", "net", "client"];

/// Machines of `engine`. They meet only through events that the core of their role routes, so none imports another;
/// the cores and the machines' shared tools stand beside them and are not in this list.
pub(crate) const MACHINES: &[&str] = &[
    "engine::catalog",
    "engine::commit",
    "engine::conn",
    "engine::coordinator",
    "engine::fetch",
    "engine::group",
    "engine::position",
    "engine::produce",
    "engine::share",
    "engine::telemetry",
    "engine::txn",
];

/// What a machine makes for all others to read: data without behaviour.
const MACHINES_DATA: &[&str] = &["engine::catalog::snapshot"];

/// The modules that may name tokio: the drivers, and those that serve the embedded broker.
pub(crate) const TOKIO: &[&str] = &[
    "net",
    "client",
    "producer",
    "consumer",
    "processor",
    "share",
    "admin",
    "testing::cluster",
    "testing::listener",
];

/// The modules of `milena-service` that may name tokio: the drivers, the clock, what tells handlers that the service stops,
/// and tools for tests. Its machines (`lanes`, `judge`, `table::view`, `dedup::seen`) are not among them.
pub(crate) const TOKIO_IN_SERVICES: &[&str] = &[
    "axum",
    "clock",
    "dedup::flight",
    "delivery",
    "extract",
    "redrive",
    "service",
    "table::builder",
    "table::driver",
    "table::handle",
    "table::shared",
    "testing",
];

/// The most lines that a file may have, tests not counted.
pub(crate) const MAX_LINES: usize = 600;

/// Where sizes are checked.
pub(crate) const SIZED_DIRECTORIES: [&str; 6] =
    ["src", "crates", "protocol-tests", "fuzz", "benches", "examples"];

/// Generated files are as long as Kafka's schemas make them.
const GENERATED: &str = "src/wire/messages/";

/// A place that breaks a rule.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// Every import that the table forbids.
pub(crate) fn check_imports(tree: &Tree) -> Vec<Violation> {
    tree.files.iter().filter(|file| !file.module.is_empty()).flat_map(check_imports_of).collect()
}

fn check_imports_of(file: &File) -> Vec<Violation> {
    let violation = |line, rule| Violation { file: file.path.clone(), line, rule };
    let Some(layer) = layer_of(&file.module) else {
        let rule = format!(
            "module `{}` stands in no layer: add it to the table in tests/layers/rules.rs",
            file.module[0]
        );
        return vec![violation(1, rule)];
    };
    let forbidden = file.imports.iter().filter_map(|import| {
        let Some(target) = layer_of(&import.path) else {
            let rule =
                "an import through the crate's root, which only re-exports: name the module that holds it";
            return Some(violation(import.line, rule.to_owned()));
        };
        let allowed = target.name == layer.name
            || layer.may_import.contains(&target.name)
            || layer.and_modules.iter().any(|module| is_within(&import.path, module));
        if !allowed {
            return Some(violation(import.line, forbidden_import(layer, &import.path)));
        }
        let (machine, other) = other_machine(&file.module, &import.path)?;
        let rule = format!(
            "machine `{machine}` imports machine `{other}`: route an event, or move what both need below"
        );
        Some(violation(import.line, rule))
    });
    forbidden.collect()
}

/// The machine that `module` belongs to and the other one that `path` reaches into, if both are.
fn other_machine(module: &[String], path: &[String]) -> Option<(&'static str, &'static str)> {
    let machine_of = |path: &[String]| MACHINES.iter().copied().find(|machine| is_within(path, machine));
    let (machine, other) = (machine_of(module)?, machine_of(path)?);
    let is_data = MACHINES_DATA.iter().any(|data| is_within(path, data));
    (machine != other && !is_data).then_some((machine, other))
}

fn forbidden_import(layer: &Layer, path: &[String]) -> String {
    let allowed: Vec<&str> = layer.may_import.iter().chain(layer.and_modules).copied().collect();
    let allowed = if allowed.is_empty() { "nothing above itself".to_owned() } else { allowed.join(", ") };
    format!("{} imports `{}`, but may import only: {allowed}", layer.name, path.join("::"))
}

fn layer_of(path: &[String]) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| path.first().is_some_and(|first| layer.modules.contains(&first.as_str())))
}

/// Whether `path` is `module` or lies in it.
fn is_within(path: &[String], module: &str) -> bool {
    let segments: Vec<&str> = module.split("::").collect();
    path.len() >= segments.len() && path.iter().zip(&segments).all(|(a, b)| a == b)
}

/// Every use of tokio outside the drivers, which are these modules.
pub(crate) fn check_tokio(tree: &Tree, drivers: &[&str]) -> Vec<Violation> {
    let outside =
        tree.files.iter().filter(|file| !drivers.iter().any(|module| is_within(&file.module, module)));
    let violations = outside.flat_map(|file| {
        let rule = "tokio outside the drivers: machines are polled and told the time";
        file.tokio.iter().map(move |&line| Violation { file: file.path.clone(), line, rule: rule.to_owned() })
    });
    violations.collect()
}

/// Every file that is too long.
pub(crate) fn check_sizes(files: &[(String, String)]) -> Vec<Violation> {
    let sized = files.iter().filter(|(path, _)| !path.starts_with(GENERATED) && !is_test_file(path));
    let violations = sized.filter_map(|(path, text)| {
        let lines = lines_without_tests(text);
        let rule = format!(
            "{lines} lines without tests, and {MAX_LINES} are the most: it has more than one reason to exist"
        );
        (lines > MAX_LINES).then(|| Violation { file: path.clone(), line: MAX_LINES + 1, rule })
    });
    violations.collect()
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Tests stand last, so the lines before their module are the rest.
fn lines_without_tests(text: &str) -> usize {
    if Source::parse(text).is_test {
        return 0;
    }
    let lines: Vec<&str> = text.lines().collect();
    let tests = |at: &usize| {
        lines[*at] == "#[cfg(test)]"
            && lines[at + 1..]
                .iter()
                .find(|line| !line.starts_with('#'))
                .is_some_and(|line| line.contains("mod "))
    };
    (0..lines.len()).find(tests).unwrap_or(lines.len())
}
