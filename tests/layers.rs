//! Which part of the source may import which: each import that breaks the layers is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{MAIN_SEPARATOR_STR, Path};

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token};

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

/// A path in a file, as an import or in the code.
#[derive(Clone, Default)]
struct Reference {
    file: String,
    line: usize,
    /// The modules of the file that it is in, each after a `::`.
    inner: String,
    /// The attributes of what it is in.
    attributes: String,
    test: bool,
    import: bool,
    path: String,
    /// What an import calls it here, if not by its name.
    alias: Option<String>,
}

/// All files, each path in them, and what the names in a path stand for. A full path
/// begins with its crate. The crate of a program is called by its file, which no path names.
#[derive(Default)]
struct Tree {
    /// The module of a file. `#[path]` gives some modules two, for different systems.
    modules: BTreeMap<String, String>,
    /// The modules with a file of their own that are for tests, each before a `::`.
    tests: Vec<String>,
    references: Vec<Reference>,
    /// The full path of a name that a file imports.
    imports: BTreeMap<(String, String), String>,
}

impl Tree {
    fn read(sources: &BTreeMap<String, String>) -> Self {
        let mut tree = Self::default();
        for (file, text) in sources {
            let module = || module_of(file);
            tree.modules.entry(file.clone()).or_insert_with(module);
            let place = Reference {
                file: file.clone(),
                ..Reference::default()
            };
            tree.walk(place, text.parse().expect(file));
        }
        for import in tree.references.iter().filter(|found| found.import) {
            if let Some(path) = tree.resolve(import) {
                let name = import.path.trim_end_matches("::self").rsplit("::").next();
                let name = import.alias.as_deref().or(name).unwrap_or_default();
                let name = (import.file.clone(), name.to_owned());
                tree.imports.insert(name, path);
            }
        }
        tree
    }

    /// Collects the paths in these tokens, be it imports, code, or what a macro or an
    /// attribute is given, and the modules that they declare.
    fn walk(&mut self, mut place: Reference, tokens: TokenStream) {
        let tokens = Vec::from_iter(tokens);
        let words = Vec::from_iter(tokens.iter().map(word));
        let words = Vec::from_iter(words.iter().map(String::as_str));
        let is_name = |at: usize| matches!(tokens.get(at), Some(TokenTree::Ident(_)));
        let group = |at: usize| match &tokens[at] {
            TokenTree::Group(group) => group.stream(),
            other => other.clone().into(),
        };
        let (outer, mut angles, mut at) = (place.clone(), 0, 0);
        while at < words.len() {
            match words[at..] {
                // `pub(in PATH)` imports nothing.
                ["in", ..] if at == 0 => return,
                ["#", "[", ..] => {
                    place.attributes += &group(at + 1).to_string();
                    place.test |= syn::parse2(group(at + 1)).is_ok_and(|meta| is_test(&meta));
                    angles = 0;
                }
                ["mod", name, end, ..] => {
                    place.inner = place.inner + "::" + name;
                    if end == ";" {
                        self.declare(&place);
                    }
                    at += 1;
                }
                ["use", ..] => place.import = true,
                ["as", alias, ..] if place.import => {
                    let renamed = self.references.last_mut();
                    renamed.expect("a path before `as`").alias = Some(alias.to_owned());
                    at += 1;
                }
                ["-" | "=", ">", ..] => at += 1,
                ["<", ..] => angles += 1,
                [">", ..] => angles -= 1,
                [",", ..] if angles > 0 => (),
                // What an attribute says holds until here.
                [";" | ",", ..] => place = outer.clone(),
                ["(" | "[", ..] => self.walk(place.clone(), group(at)),
                ["{", ..] => {
                    self.walk(place, group(at));
                    place = outer.clone();
                }
                [name, ":", ":", next, ..] if is_name(at) && (next == "{" || is_name(at + 3)) => {
                    place.path = place.path + name + "::";
                    at += 2;
                }
                [name, ..] if is_name(at) => {
                    place.line = tokens[at].span().start().line;
                    place.path += name;
                    if place.import || place.path.contains("::") {
                        self.references.push(place.clone());
                    }
                    place.path.clone_from(&outer.path);
                }
                _ => (),
            }
            at += 1;
        }
    }

    fn declare(&mut self, place: &Reference) {
        let module = module_of(&place.file) + &place.inner;
        if let Some((_, path)) = place.attributes.split_once("path = \"") {
            let folder = place.file.rsplit_once('/').unwrap().0;
            let file = format!("{folder}/{}", path.split('"').next().unwrap());
            self.modules.insert(file, module.clone());
        }
        self.tests.extend(place.test.then_some(module + "::"));
    }

    /// The full path of what is referred to, unless it is another crate's, or the
    /// import that brought its name here says as much.
    fn resolve(&self, reference: &Reference) -> Option<String> {
        let Reference { file, path, .. } = reference;
        let mut full = self.modules[file].clone() + &reference.inner;
        let first = path.split("::").next()?;
        let below = format!("{full}::{first}");
        for name in path.split("::") {
            match name {
                "crate" => full.truncate(full.find("::").unwrap_or(full.len())),
                "super" => full.truncate(full.rfind("::").unwrap_or(full.len())),
                "self" => (),
                _ => full = full + "::" + name,
            }
        }
        if matches!(first, "crate" | "super" | "self") || self.owner(&below) == Some(&below) {
            return Some(full);
        }
        if let Some(imported) = self.imports.get(&(file.clone(), first.to_owned())) {
            let full = path.replacen(first, imported, 1);
            return (self.owner(&full) != self.owner(imported)).then_some(full);
        }
        matches!(first, "echopool" | "compare").then(|| path.clone())
    }

    /// The module with a file of its own that is nearest to what a path names.
    fn owner<'a>(&self, mut path: &'a str) -> Option<&'a str> {
        while !self.modules.values().any(|module| module == path) {
            path = path.rsplit_once("::")?.0;
        }
        Some(path)
    }
}

/// A name, a mark, or the bracket that opens a group.
fn word(token: &TokenTree) -> String {
    match token {
        TokenTree::Group(group) => group.to_string()[..1].to_owned(),
        TokenTree::Literal(_) => String::new(),
        _ => token.to_string(),
    }
}

fn is_test(meta: &Meta) -> bool {
    match meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") || list.path.is_ident("all") => {
            let inner = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            inner.into_iter().flatten().any(|meta| is_test(&meta))
        }
        _ => false,
    }
}

/// A file's module, where no `#[path]` says another.
fn module_of(file: &str) -> String {
    if file.ends_with("src/main.rs") || file.contains("src/bin/") {
        return file.to_owned();
    }
    let path = format!("/{file}").replace("/compare/src", "compare");
    let path = path.replace("/src", "echopool").replace("/mod.rs", "");
    let path = path.replace("/lib.rs", "").replace(".rs", "");
    path.replace('/', "::")
}

/// Whether the file only declares and re-exports what is below it.
fn is_index(file: &str) -> bool {
    file.ends_with("/mod.rs") || file.ends_with("/lib.rs")
}

/// The line of the first item that neither declares nor re-exports.
fn stray(input: ParseStream) -> syn::Result<Option<usize>> {
    let mut first = None;
    input.call(Attribute::parse_inner)?;
    while !input.is_empty() {
        input.call(Attribute::parse_outer)?;
        let line = input.span().start().line;
        match input.parse()? {
            Item::Use(_) => (),
            Item::Mod(item) if item.content.is_none() => (),
            _ => first = first.or(Some(line)),
        }
    }
    Ok(first)
}

/// All that breaks a rule in these files, given by their paths: file, line, and what
/// is to be done there.
fn check(sources: &BTreeMap<String, String>) -> Vec<String> {
    let (tree, mut found) = (Tree::read(sources), BTreeSet::new());
    for (file, text) in sources.iter().filter(|(file, _)| is_index(file)) {
        if let Some(line) = stray.parse_str(text).expect(file) {
            let rule = "a mod.rs or lib.rs only declares and re-exports: move its items below";
            found.insert((file.as_str(), line, rule.to_owned()));
        }
    }
    // From file to file, and on which line first.
    let mut arrows = BTreeMap::new();
    for reference in &tree.references {
        let (file, line) = (reference.file.as_str(), reference.line);
        let (module, path) = (&tree.modules[file], tree.resolve(reference));
        let owner = path.as_deref().and_then(|path| tree.owner(path));
        for (target, owner) in tree.modules.iter().filter(|file| owner == Some(file.1)) {
            if is_index(target) && module.starts_with(&format!("{owner}::")) {
                let rule = format!("import from the item's own file, not through {target} above");
                found.insert((file, line, rule));
            } else if owner != module {
                found.extend(forbidden(file, target).map(|rule| (file, line, rule)));
                let tests = |test: &String| format!("{module}::").starts_with(test);
                if !reference.test && !tree.tests.iter().any(tests) {
                    arrows.entry((file, target.as_str())).or_insert(line);
                }
            }
        }
    }
    for ((file, target), line) in &arrows {
        let mut reached = BTreeSet::new();
        reach(&arrows, target, &mut reached);
        if reached.contains(file) {
            let rule = format!("a circle with {target}: move what they share below them");
            found.insert((file, *line, rule));
        }
    }
    let line = |(file, line, rule)| format!("{file}:{line}: {rule}");
    found.into_iter().map(line).collect()
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

#[test]
fn the_source_keeps_its_layers() {
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
    let found = check(&sources).join("\n");
    assert!(found.is_empty(), "\n{found}");
}

/// Asserts that this rule is broken on the lines in the headings of these files, and
/// no other rule in them and some that are always there.
fn assert_broken(rule: &str, files: &[&str]) {
    let common = [
        "src/lib.rs\npub mod base; pub mod pool;",
        "src/base/mod.rs\npub mod sys;",
        "src/base/sys.rs\npub fn call() {}",
        "src/pool.rs\npub(in crate::worker) struct Pool;",
        "src/worker/mod.rs\nmod conn; pub use conn::Conn;",
        "src/worker/conn.rs\n",
        "src/server/mod.rs\n#[cfg_attr(windows, path = \"manager/none.rs\")]\nmod manager;",
        "compare/src/load.rs\nmod client;",
    ];
    let all = common
        .iter()
        .chain(files)
        .filter_map(|file| file.split_once('\n'));
    let name = |heading: &str| heading.split(':').next().unwrap().to_owned();
    let found = check(
        &all.map(|(heading, text)| (name(heading), text.to_owned()))
            .collect(),
    );
    let lines = files.iter().filter_map(|file| file.lines().next());
    let lines = Vec::from_iter(lines.filter(|heading| heading.contains(':')));
    let expected = lines.iter().map(|line| format!("{line}: {rule}"));
    let same = expected
        .zip(&found)
        .all(|(expected, found)| found.starts_with(&expected));
    assert!(same && found.len() == lines.len(), "{files:#?}\n{found:#?}");
}

#[test]
fn every_way_to_write_a_path_is_seen() {
    for text in [
        "\n\npub use crate::pool::Pool;",
        "\n\nuse crate::{pool as workers, base::sys};",
        "use crate::{\n    base::sys,\n    pool::{self, Pool},\n};",
        "use super::super::{\n    base::{self, sys},\n    pool::*,\n};",
        "\n\nuse self::super::super::pool;\nfn f() { pool::start() }",
        "mod tests {\n    use super::*;\n    use super::super::super::pool;\n}",
        "#[cfg(test)]\nmod tests {\n    use crate::pool;\n}",
        "fn f() {\n\n    use crate::pool;\n}",
        "fn f() {\n\n    crate::pool::start();\n}",
        "\n\ntype Pools = Vec<crate::pool::Pool>;",
        "\n\nconst POOL: Pool = crate::pool::Pool::<u8>::new();",
        "fn f(a: u8) {\n    match a {\n        crate::pool::MOST => (),\n        _ => (),\n    }\n}",
        "\n\nimpl<T: super::super::pool::Run> Conn<T> {}",
        "fn f() {\n    format!(\"{}\",\n        [crate::pool::MOST]);\n}",
        "\n\n#[arg(value_parser = crate::pool::parse)]\nstruct Conn;",
    ] {
        let file = format!("src/worker/conn.rs:3\n{text}");
        assert_broken(
            "worker may not import pool, only worker: proto base",
            &[&file],
        );
    }
}

#[test]
fn each_room_knows_only_those_below_it() {
    let imports = "main pool, lib pool, server admin, admin probe, pool server, worker report, \
        report worker, bench ping, ping check, check client, client bench, probe bench, \
        proto probe, base proto, bench cli";
    for (from, to) in imports
        .split(", ")
        .filter_map(|import| import.split_once(' '))
    {
        let file = format!("src/{from}.rs:2\n\nuse echopool::{to}::deep;");
        let rule = format!("{from} may not import {to}, only {from}:");
        assert_broken(&rule, &[&file, &format!("src/{to}/deep.rs\n")]);
    }
    assert_broken(
        "new is a new room",
        &["src/new/run.rs:1\nuse crate::base::sys;"],
    );
}

#[test]
fn what_keeps_the_rules_is_not_named() {
    let text = "src/worker/conn.rs
        use crate::base::{self, sys::call}; use std::pool; use pool::Pool;
        mod tests { use super::*; } pub(in crate::pool) struct Conn;
        make!(pub(crate) type A; pub(super) type B; pub(in crate::pool) type C;);
        fn f() { base::sys::call(); let pool = 1; }";
    // A program is a crate of its own.
    let main = "compare/src/main.rs\nfn main() { echopool::worker::Conn::new(); crate::f() }";
    let other = "compare/src/bin/other.rs\nfn main() { crate::f() }";
    assert_broken("", &[text, main, other, "compare/src/lib.rs\nmod load;"]);
}

#[test]
fn a_mod_file_only_declares() {
    for item in [
        "/// A.\npub const A: u8 = 1;",
        "\nmod tests {}",
        "\nimpl A {}",
    ] {
        let file = format!("src/ping/mod.rs:4\n//! A.\nmod a; pub use a::A;\n{item}\nfn f() {{}}");
        assert_broken("a mod.rs or lib.rs only declares and re-exports", &[&file]);
    }
}

#[test]
fn a_file_does_not_import_from_the_mod_file_above_it() {
    for text in [
        "use super::Conn;",
        "use super::*;",
        "use crate::worker::{Conn as C};",
        "type C = super::Conn;",
    ] {
        let rule = "import from the item's own file, not through src/worker/mod.rs above";
        assert_broken(rule, &[&format!("src/worker/a.rs:2\n\n{text}")]);
    }
}

#[test]
fn each_import_in_a_circle_is_named() {
    let pairs = [
        // Not the import for tests, but the one after it.
        "src/ping/link.rs:3\n#[cfg(test)]\nmod tests { use super::super::run; }\nuse super::run;",
        "src/ping/run.rs:2\n\nuse super::link::Link;\nuse super::link;",
        "src/ping/link.rs:2\nstruct A { #[cfg(test)] a: u8,\nrun: super::run::Run }",
        "src/ping/run.rs:1\nuse super::link;",
        // A file and one below it.
        "compare/src/load.rs:2\nmod client;\nfn f() { client::run() }",
        "compare/src/load/client.rs:1\nuse crate::load as all;\nfn f() { all::load() }",
        // Through a module that was imported before.
        "compare/src/load/client.rs:1\nuse crate::run;",
        "compare/src/run.rs:2\nuse crate::load::{self};\nfn f() { load::client::run() }",
        "compare/src/load/client.rs:1\nuse crate::run;",
        "compare/src/run.rs:2\nuse crate::load as all;\nfn f() { all::client::run() }",
        // A module whose file `#[path]` names for some systems is where that module is.
        "src/server/manager/none.rs:1\nuse super::run::Run;",
        "src/server/run.rs:1\nuse super::manager::Manager;",
    ];
    for files in pairs.chunks(2) {
        assert_broken("a circle with", files);
    }
    let three = [
        "src/ping/a.rs:1\nuse super::b;",
        "src/ping/b.rs:1\nuse super::c;",
        "src/ping/c.rs:1\nuse super::a;",
    ];
    assert_broken("a circle with", &three);
}

#[test]
fn circles_of_tests_are_allowed() {
    let files = [
        "src/worker/conn.rs\n#[cfg(all(test, unix))]\nmod tests;\nuse super::a;",
        "src/worker/conn/tests/b.rs\nuse super::c;",
        "src/worker/conn/tests/c.rs\nuse super::b;",
        "src/worker/a.rs\n#[cfg(test)]\nuse super::conn::Conn;
        #[test]\nfn f<A, B>() -> C<A, B> { super::conn::f() }",
    ];
    assert_broken("", &files);
}
