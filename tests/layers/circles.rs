//! Circles: files that import each other, directly or through others.
//!
//! A parent that declares `mod child` imports nothing by it; a parent that uses or re-exports an item of the child
//! does. The crate's root is left out: it re-exports, and no file may import through it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use super::rules::Violation;
use super::tree::Tree;

/// For each file, whom it imports and on which line first.
type Graph = Vec<BTreeMap<usize, usize>>;

/// One violation per circle. Circles that share a file are reported once: break one, and see.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let graph = graph(tree);
    let mut seen = vec![false; graph.len()];
    let mut violations = Vec::new();
    for start in 0..graph.len() {
        let Some(circle) = shortest_circle(&graph, start) else { continue };
        if circle.iter().any(|&file| seen[file]) {
            continue;
        }
        circle.iter().for_each(|&file| seen[file] = true);
        violations.push(Violation {
            file: tree.files[start].path.clone(),
            line: graph[start][&circle[1 % circle.len()]],
            rule: format!("files import each other in a circle:{}", steps(tree, &graph, &circle)),
        });
    }
    violations
}

fn graph(tree: &Tree) -> Graph {
    let edges = tree.files.iter().enumerate().map(|(from, file)| {
        let mut targets = BTreeMap::new();
        for import in file.imports.iter().filter(|_| !file.module.is_empty()) {
            let target =
                tree.file_of(&import.path).filter(|&to| to != from && !tree.files[to].module.is_empty());
            targets.extend(target.filter(|to| !targets.contains_key(to)).map(|to| (to, import.line)));
        }
        targets
    });
    edges.collect()
}

/// The shortest way from `start` back to itself, found breadth first.
fn shortest_circle(graph: &Graph, start: usize) -> Option<Vec<usize>> {
    let mut came_from = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for &next in graph[file].keys() {
            if next == start {
                let mut circle = vec![file];
                while let Some(&before) = came_from.get(circle.last().expect("not empty")) {
                    circle.push(before);
                }
                circle.reverse();
                return Some(circle);
            }
            if let Entry::Vacant(unseen) = came_from.entry(next) {
                unseen.insert(file);
                queue.push_back(next);
            }
        }
    }
    None
}

fn steps(tree: &Tree, graph: &Graph, circle: &[usize]) -> String {
    let step = |at: usize| {
        let (from, to) = (circle[at], circle[(at + 1) % circle.len()]);
        format!("\n    {}:{} imports {}", tree.files[from].path, graph[from][&to], tree.files[to].path)
    };
    (0..circle.len()).map(step).collect()
}
