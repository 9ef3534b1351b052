//! The rules for the shape of the code that rustc and clippy do not know.
//!
//! 1. In the client, who may import whom: the table is [`rules::LAYERS`], and no machine of [`rules::MACHINES`] another.
//! 2. No files that import each other in a circle.
//! 3. No file with more than [`rules::MAX_LINES`] lines without its tests. (Functions are clippy's `too_many_lines`.)
//! 4. tokio stands only in the drivers: [`rules::TOKIO`].
//!
//! The checker reads text, not syntax trees: [`lexer`] makes tokens, [`source`] takes the paths that a file names,
//! [`rules`] and [`circles`] judge them. Test code (`#[cfg(test)]`) may import what it likes.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/lexer.rs"]
mod lexer;
#[path = "layers/planted.rs"]
mod planted;
#[path = "layers/rules.rs"]
mod rules;
#[path = "layers/source.rs"]
mod source;
#[path = "layers/tree.rs"]
mod tree;

use std::path::Path;

#[test]
fn the_sources_keep_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let client = tree::Tree::of_crate(&tree::rust_files(root, &["src"]));
    assert!(client.files.len() > 1, "the walk must find the sources of the crate");
    let mut violations = rules::check_imports(&client);
    violations.extend(rules::check_tokio(&client, rules::TOKIO));
    violations.extend(circles::check(&client));
    let service = tree::rust_files(&root.join("crates/service"), &["src"]);
    let service = tree::Tree::of_crate(&service);
    assert!(service.files.len() > 1, "the walk must find the sources of the service layer");
    violations.extend(rules::check_tokio(&service, rules::TOKIO_IN_SERVICES));
    violations.extend(circles::check(&service));
    violations.extend(rules::check_sizes(&tree::rust_files(root, &rules::SIZED_DIRECTORIES)));
    let report: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(report.is_empty(), "{} violations of the rules:\n{}", report.len(), report.join("\n"));
}
