//! RULES.md names tests that exist.

use std::fs;
use std::path::Path;

/// Where the files of the columns lie, from the root of the repository. The last two have `scenarios/` and `tests/`.
const ROOTS: [&str; 5] =
    ["protocol-tests/tests/differential", "src/testing/broker/tests", "src", "protocol-tests/src", "."];

#[test]
fn every_test_that_the_rules_name_exists() {
    let page = include_str!("../RULES.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        for pair in quoted.chunks(2) {
            assert_eq!(pair.len(), 2, "a file without a test: {line}");
            let (file, name) = (pair[0], pair[1]);
            let is_in = |dir: &str| {
                let text = fs::read_to_string(root.join(dir).join(file)).unwrap_or_default();
                text.contains(&format!("fn {name}("))
            };
            assert!(ROOTS.iter().any(|dir| is_in(dir)), "{file} has no {name}");
            count += 1;
        }
    }
    assert!(count > 300, "{count} tests are named");
}
