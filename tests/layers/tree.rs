//! The files of a crate as modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::source::{Import, ItemPath, Source};

/// A file of non-test code.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it lies, from the repository's root.
    pub(crate) path: String,
    pub(crate) module: ItemPath,
    pub(crate) imports: Vec<Import>,
    /// The lines that name tokio.
    pub(crate) tokio: Vec<usize>,
}

/// The non-test files of a crate, in the order of their paths.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Builds the tree from (path, text), where every path begins with `src/`.
    pub(crate) fn of_crate(files: &[(String, String)]) -> Self {
        let sources: Vec<(&String, ItemPath, Source)> =
            files.iter().map(|(path, text)| (path, module_of(path), Source::parse(text))).collect();
        let modules: BTreeSet<ItemPath> = sources.iter().map(|(_, module, _)| module.clone()).collect();
        let tests = test_modules(&sources);
        let files =
            sources.iter().filter(|(_, module, _)| !tests.iter().any(|test| module.starts_with(test)));
        let files = files.map(|(path, module, source)| File {
            path: (*path).clone(),
            module: module.clone(),
            imports: source.imports(module, &modules),
            tokio: source.lines_naming("tokio"),
        });
        Self { files: files.collect() }
    }

    /// The file that holds `path`: that of its longest prefix that is a module.
    pub(crate) fn file_of(&self, path: &[String]) -> Option<usize> {
        let holders = self.files.iter().enumerate().filter(|(_, file)| path.starts_with(&file.module));
        holders.max_by_key(|(_, file)| file.module.len()).map(|(index, _)| index)
    }
}

/// The modules whose files hold nothing but tests, for themselves or because of how their parent declares them.
fn test_modules(sources: &[(&String, ItemPath, Source)]) -> BTreeSet<ItemPath> {
    let whole = sources.iter().filter(|(_, _, source)| source.is_test).map(|(_, module, _)| module.clone());
    let declared = sources.iter().flat_map(|(_, module, source)| {
        source.test_modules.iter().map(|name| module.iter().chain([name]).cloned().collect())
    });
    whole.chain(declared).collect()
}

/// `src/a/b.rs` is `a::b`, `src/lib.rs` the root.
fn module_of(path: &str) -> ItemPath {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if inner == "lib" { Vec::new() } else { inner.split('/').map(str::to_owned).collect() }
}

/// All Rust files below these directories of `root` that exist, with their texts, sorted by path.
pub(crate) fn rust_files(root: &Path, directories: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for directory in directories {
        collect(root, &root.join(directory), &mut files);
    }
    files.sort();
    files
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            files.push((name, fs::read_to_string(&path).expect("a readable source file")));
        }
    }
}
