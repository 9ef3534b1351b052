//! A checker that finds nothing proves nothing: each kind of violation is planted in a small tree and must be found.

use super::circles;
use super::rules::{MAX_LINES, TOKIO, Violation, check_imports, check_sizes, check_tokio};
use super::tree::Tree;

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn tree(files: &[(&str, &str)]) -> Tree {
    Tree::of_crate(&owned(files))
}

/// Asserts that there is one violation and that its text contains every part.
fn assert_one(violations: &[Violation], parts: &[&str]) {
    assert_eq!(violations.len(), 1, "one violation expected: {violations:?}");
    let text = violations[0].to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[test]
fn an_import_of_a_higher_layer() {
    let tree = tree(&[
        ("src/lib.rs", "mod engine;\nmod wire;\npub use engine::Machine;"),
        ("src/engine.rs", "use crate::wire::codec;\nfn f() { codec::g() }"),
        ("src/wire.rs", "pub(crate) mod codec;"),
        ("src/wire/codec.rs", "use bytes::Bytes;\n\nuse crate::{engine::Machine, wire};\n"),
    ]);
    assert_one(
        &check_imports(&tree),
        &["src/wire/codec.rs:3", "wire imports `engine::Machine`", "only: base"],
    );
}

#[test]
fn an_inline_path_into_a_sibling() {
    let tree = tree(&[
        ("src/producer.rs", "use crate::client::Client;\nfn f() { crate::consumer::poll() }"),
        ("src/consumer.rs", "use super::client;"),
        ("src/client.rs", ""),
    ]);
    assert_one(&check_imports(&tree), &["src/producer.rs:2", "`consumer::poll`"]);
}

#[test]
fn a_machine_that_imports_another() {
    let tree = tree(&[
        ("src/engine.rs", "mod catalog;\nmod fetch;\nmod machine;\nmod position;"),
        ("src/engine/catalog.rs", "pub(crate) mod snapshot;"),
        ("src/engine/catalog/snapshot.rs", ""),
        ("src/engine/fetch.rs", "use super::machine::Now;\nuse super::catalog::snapshot::Snapshot;"),
        ("src/engine/machine.rs", ""),
        ("src/engine/position.rs", "use super::catalog::snapshot;\nuse crate::engine::fetch::Planner;"),
    ]);
    let parts = ["src/engine/position.rs:2", "`engine::position`", "`engine::fetch`"];
    assert_one(&check_imports(&tree), &parts);
}

#[test]
fn testing_reaches_into_the_drivers() {
    let tree = tree(&[
        ("src/testing.rs", "use crate::net::transport::Transport;\nuse crate::net::dial;"),
        ("src/net.rs", "pub(crate) mod dial;\npub(crate) mod transport;"),
        ("src/net/dial.rs", ""),
        ("src/net/transport.rs", ""),
    ]);
    assert_one(&check_imports(&tree), &["src/testing.rs:2", "`net::dial`"]);
}

#[test]
fn an_import_through_the_root() {
    let tree = tree(&[
        ("src/lib.rs", "mod error;\nmod wire;\npub use error::Error;"),
        ("src/error.rs", ""),
        ("src/wire.rs", "use crate::Error;"),
    ]);
    assert_one(&check_imports(&tree), &["src/wire.rs:1", "crate's root"]);
}

#[test]
fn a_module_in_no_layer() {
    assert_one(&check_imports(&tree(&[("src/utils.rs", "")])), &["src/utils.rs:1", "no layer"]);
}

#[test]
fn tests_may_import_what_they_like() {
    let tree = tree(&[
        ("src/lib.rs", "mod client;\nmod wire;\n#[cfg(test)]\nmod sim;"),
        ("src/client.rs", ""),
        ("src/wire.rs", "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more { use crate::client::Client; }"),
        ("src/wire/tests.rs", "use crate::client::Client;\n#[tokio::test]\nasync fn t() {}"),
        ("src/sim.rs", "mod world;\nuse crate::client::Client;"),
        ("src/sim/world.rs", "use super::X;\nuse tokio::time;"),
    ]);
    assert_eq!(tree.files.len(), 3, "test files are no part of the tree");
    assert!(check_imports(&tree).is_empty());
    assert!(check_tokio(&tree, TOKIO).is_empty());
    assert!(circles::check(&tree).is_empty());
}

#[test]
fn a_circle_of_three() {
    let tree = tree(&[
        ("src/engine.rs", "mod a;\nmod b;\nmod c;"),
        ("src/engine/a.rs", "use super::b::B;"),
        ("src/engine/b.rs", "\nuse super::c;\nfn f() { c::g() }"),
        ("src/engine/c.rs", "fn g() -> crate::engine::a::A { super::a::h() }"),
    ]);
    let steps = [
        "a.rs:1 imports src/engine/b.rs",
        "b.rs:2 imports src/engine/c.rs",
        "c.rs:1 imports src/engine/a.rs",
    ];
    assert_one(&circles::check(&tree), &steps);
}

#[test]
fn a_parent_that_uses_its_child_and_is_used_by_it() {
    let parent = ("src/wire.rs", "mod codec;\npub(crate) use codec::Reader;\npub(crate) struct Limit;");
    let circle = tree(&[parent, ("src/wire/codec.rs", "use super::Limit;")]);
    assert_one(
        &circles::check(&circle),
        &["codec.rs:1 imports src/wire.rs", "wire.rs:2 imports src/wire/codec.rs"],
    );

    let declared_only = ("src/wire.rs", "mod codec;\npub(crate) struct Limit;");
    assert!(circles::check(&tree(&[declared_only, ("src/wire/codec.rs", "use super::Limit;")])).is_empty());
}

#[test]
fn the_root_is_no_part_of_a_circle() {
    let tree = tree(&[("src/lib.rs", "mod wire;\npub use wire::W;"), ("src/wire.rs", "use crate::W;")]);
    assert!(circles::check(&tree).is_empty());
}

#[test]
fn tokio_in_a_machine() {
    let tree = tree(&[
        ("src/engine.rs", "// tokio::time\nuse tokio::time::Instant;"),
        ("src/net.rs", "use tokio::net::TcpStream;"),
        ("src/testing.rs", "mod listener;"),
        ("src/testing/listener.rs", "use tokio::net::TcpListener;"),
    ]);
    assert_one(&check_tokio(&tree, TOKIO), &["src/engine.rs:2", "tokio"]);
}

#[test]
fn a_file_that_is_too_long() {
    let lines = |count: usize| "// A line.\n".repeat(count);
    let files = [
        ("src/engine.rs", lines(MAX_LINES + 1)),
        ("src/client.rs", lines(MAX_LINES) + "#[cfg(test)]\n#[allow(x)]\nmod tests {\n" + &lines(9) + "}\n"),
        ("src/wire/messages/fetch.rs", lines(MAX_LINES * 2)),
        ("src/wire/tests.rs", lines(MAX_LINES * 2)),
        ("src/net.rs", "#[cfg(test)]\nfn helper() {}\n".to_owned() + &lines(MAX_LINES - 2)),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text));
    assert_one(&check_sizes(&files), &["src/engine.rs:601", "601 lines"]);
}
