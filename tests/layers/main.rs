//! Which part of the source may import which: each import that breaks the layers is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{MAIN_SEPARATOR_STR, Path};

use tree::{Broken, Tree, is_index};

mod counts;
mod samples;
mod tree;

/// The rooms of `src/`, folders and files, and what each may import besides itself.
const ROOMS: [&str; 15] = [
    "main: cli",
    "lib:",
    "cli: admin server pool worker report bench ping check client probe proto base",
    "admin: server pool worker proto base",
    "server: pool worker proto base",
    "pool: worker proto base",
    "worker: proto base",
    "report: bench ping check client probe proto base",
    "bench: probe proto base",
    "ping: probe proto base",
    "check: probe proto base",
    "client: probe proto base",
    "probe: proto base",
    "proto: base",
    "base:",
];

/// All that breaks a rule in these files.
fn check(sources: &BTreeMap<String, String>) -> BTreeSet<Broken> {
    let mut tree = Tree::read(sources);
    let mut found = std::mem::take(&mut tree.broken);
    // From file to file, and on which line first.
    let mut arrows = BTreeMap::new();
    for reference in &tree.references {
        let mut add = |rule| found.insert((reference.file.clone(), reference.line, rule));
        let file = reference.file.as_str();
        let (module, path) = (&tree.modules[file], tree.resolve(reference));
        let owner = path.as_deref().and_then(|path| tree.owner(path));
        for (target, owner) in tree.modules.iter().filter(|file| owner == Some(file.1)) {
            if is_index(target) && module.starts_with(&format!("{owner}::")) {
                add(format!(
                    "import from the item's own file, not through {target} above"
                ));
            } else if owner != module {
                forbidden(file, target).map(&mut add);
                let tests = |test: &String| format!("{module}::").starts_with(test);
                if !reference.test && !tree.tests.iter().any(tests) {
                    arrows
                        .entry((file, target.as_str()))
                        .or_insert(reference.line);
                }
            }
        }
    }
    for ((file, target), line) in &arrows {
        let mut reached = BTreeSet::new();
        reach(&arrows, target, &mut reached);
        if reached.contains(file) {
            let rule = format!("a circle with {target}: move what they share below them");
            found.insert((file.to_string(), *line, rule));
        }
    }
    found
}

/// A file's room: a folder of `src/`, or a file in it.
fn room_of(file: &str) -> Option<&str> {
    file.strip_prefix("src/")?.split(['/', '.']).next()
}

/// What is wrong with this import, if it is one from another room.
fn forbidden(file: &str, target: &str) -> Option<String> {
    let (from, to) = (room_of(file)?, room_of(target)?);
    let start = format!("{from}:");
    let Some(allowed) = ROOMS.iter().find(|room| room.starts_with(&start)) else {
        return Some(format!("{from} is a new room: add it to tests/layers.rs"));
    };
    let known = allowed.split([' ', ':']).any(|room| room == to);
    (!known).then(|| format!("{from} may not import {to}, only {allowed}"))
}

/// Adds all files that this one imports, itself or through others.
fn reach<'a>(arrows: &BTreeMap<(&str, &'a str), usize>, file: &str, found: &mut BTreeSet<&'a str>) {
    for (_, target) in arrows.keys().filter(|(from, _)| *from == file) {
        if found.insert(target) {
            reach(arrows, target, found);
        }
    }
}

/// The text of each file of `src/` and of the comparison, by its path.
fn read_sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeMap::new();
    // A published package has no comparison.
    let mut paths = vec![root.join("src"), root.join("compare/src")];
    while let Some(path) = paths.pop() {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let name = name.replace(MAIN_SEPARATOR_STR, "/");
        if let Ok(folder) = fs::read_dir(&path) {
            paths.extend(folder.map(|entry| entry.unwrap().path()));
        } else if name.ends_with(".rs") {
            sources.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    assert!(sources.contains_key("src/lib.rs"), "{:?}", sources.keys());
    sources
}

#[test]
fn the_source_keeps_its_layers() {
    let found = check(&read_sources()).into_iter();
    let lines = Vec::from_iter(found.map(|(file, line, rule)| format!("{file}:{line}: {rule}")));
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}
