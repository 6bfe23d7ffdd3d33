//! Which part of the source may import which: each import that breaks the layers is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{MAIN_SEPARATOR_STR, Path};

use proc_macro2::{Ident, Spacing, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprLit, Item, ItemMod, ItemUse, Lit, Macro, Meta, MetaList, MetaNameValue,
    UseTree,
};

/// The rooms of `src/`, folders and files, and what each may import besides itself.
const ROOMS: [(&str, &str); 15] = [
    ("main", "cli"),
    ("lib", ""),
    (
        "cli",
        "admin server pool worker report bench ping check client probe proto base",
    ),
    ("admin", "server pool worker proto base"),
    ("server", "pool worker proto base"),
    ("pool", "worker proto base"),
    ("worker", "proto base"),
    ("report", "bench ping check client probe proto base"),
    ("bench", "probe proto base"),
    ("ping", "probe proto base"),
    ("check", "probe proto base"),
    ("client", "probe proto base"),
    ("probe", "proto base"),
    ("proto", "base"),
    ("base", ""),
];

/// File, line, and what is to be done there.
type Violation = (String, usize, String);

/// The names from a crate to a module, or on to an item in it. A program's crate
/// is called by its file, which no path can name.
type Names = Vec<String>;

/// A path written in a file, as an import or in the code.
#[derive(Clone, Default)]
struct Reference {
    file: String,
    line: usize,
    /// The module it is written in, which may be a part of the file.
    module: Names,
    names: Names,
    /// What an import calls it here, `*` for all that is in it.
    alias: Option<String>,
    test: bool,
}

/// Finds all references in a file.
struct Reader {
    /// Where the reader is.
    place: Reference,
    references: Vec<Reference>,
}

impl Reader {
    fn refer(&mut self, line: usize, names: Names, alias: Option<String>) {
        let place = self.place.clone();
        self.references.push(Reference {
            line,
            names,
            alias,
            ..place
        });
    }

    fn import(&mut self, tree: &UseTree, mut names: Names, line: usize) {
        let (name, alias) = match tree {
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(name) => (&name.ident, &name.rename),
            UseTree::Glob(_) => return self.refer(line, names, Some("*".to_owned())),
            UseTree::Group(group) => {
                let trees = group.items.iter();
                return trees.for_each(|tree| self.import(tree, names.clone(), line));
            }
            UseTree::Path(path) => {
                names.push(path.ident.to_string());
                return self.import(&path.tree, names, line_of(&path.ident));
            }
        };
        if name != "self" {
            names.push(name.to_string());
        }
        let alias = if alias == "self" {
            names.last().cloned()
        } else {
            Some(alias.to_string())
        };
        self.refer(line_of(name), names, alias);
    }

    /// Finds the paths in what a macro or an attribute is given.
    fn scan(&mut self, tokens: TokenStream) {
        use TokenTree::{Group, Ident, Punct};
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut rest = &tokens[..];
        // `pub(in PATH)` imports nothing.
        if matches!(rest, [Ident(word), ..] if word == "in") {
            return;
        }
        while let [first, tail @ ..] = rest {
            rest = tail;
            if let Group(group) = first {
                self.scan(group.stream());
            }
            let Ident(first) = first else { continue };
            let mut names = vec![first.to_string()];
            while let [Punct(one), Punct(two), Ident(name), tail @ ..] = rest
                && (one.as_char(), one.spacing(), two.as_char()) == (':', Spacing::Joint, ':')
            {
                names.push(name.to_string());
                rest = tail;
            }
            self.refer(line_of(first), names, None);
        }
    }
}

/// What an attribute says of a node holds until the node ends.
macro_rules! scopes {
    ($($visit:ident: $node:ident),*) => {
        $(fn $visit(&mut self, node: &'a syn::$node) {
            let test = self.place.test;
            visit::$visit(self, node);
            self.place.test = test;
        })*
    };
}

impl<'a> Visit<'a> for Reader {
    scopes!(visit_item: Item, visit_impl_item: ImplItem, visit_trait_item: TraitItem);
    scopes!(visit_stmt: Stmt, visit_expr: Expr, visit_arm: Arm, visit_variant: Variant);
    scopes!(visit_field: Field, visit_field_value: FieldValue);

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        self.place.test |= is_test(&attribute.meta);
        visit::visit_attribute(self, attribute);
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        self.place.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.place.module.pop();
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let attributes = item.attrs.iter();
        attributes.for_each(|attribute| self.visit_attribute(attribute));
        self.import(&item.tree, Names::new(), 0);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|part| part.ident.to_string());
        self.refer(line_of(&path.segments[0].ident), names.collect(), None);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a Macro) {
        visit::visit_macro(self, called);
        self.scan(called.tokens.clone());
    }

    /// `pub(in PATH)` imports nothing.
    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}
}

/// The line of an item's name.
struct NameLine(Option<usize>);

impl<'a> Visit<'a> for NameLine {
    fn visit_attribute(&mut self, _: &'a Attribute) {}

    fn visit_ident(&mut self, name: &'a Ident) {
        self.0.get_or_insert(line_of(name));
    }
}

fn line_of(name: &Ident) -> usize {
    name.span().start().line
}

fn inner(list: &MetaList) -> impl Iterator<Item = Meta> {
    let metas = list.parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated);
    metas.into_iter().flatten()
}

fn is_test(meta: &Meta) -> bool {
    match meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") || list.path.is_ident("all") => {
            inner(list).any(|meta| is_test(&meta))
        }
        _ => false,
    }
}

/// The file that `#[path]` gives a module, be it on some systems only.
fn path_of(meta: &Meta) -> Option<String> {
    match meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            inner(list).find_map(|meta| path_of(&meta))
        }
        Meta::NameValue(MetaNameValue {
            path,
            value:
                Expr::Lit(ExprLit {
                    lit: Lit::Str(file),
                    ..
                }),
            ..
        }) if path.is_ident("path") => Some(file.value()),
        _ => None,
    }
}

/// Whether the file only declares and re-exports what is below it.
fn is_index(file: &str) -> bool {
    file.ends_with("/mod.rs") || file.ends_with("/lib.rs")
}

/// A file's module, where no `#[path]` says another.
fn module_of(file: &str) -> Names {
    let (package, path) = match file.strip_prefix("compare/src/") {
        Some(path) => ("compare", path),
        None => ("echopool", file.strip_prefix("src/").unwrap()),
    };
    if path == "main.rs" || path.starts_with("bin/") {
        return vec![file.to_owned()];
    }
    let names = path.trim_end_matches(".rs").split('/');
    let names = names.filter(|name| *name != "mod" && path != "lib.rs");
    [package]
        .into_iter()
        .chain(names)
        .map(String::from)
        .collect()
}

/// A file's room: a folder of `src/`, or a file in it.
fn room_of(file: &str) -> Option<&str> {
    let path = file.strip_prefix("src/")?;
    path.split(['/', '.']).next()
}

/// What stands for what in all files.
#[derive(Default)]
struct Tree {
    modules: BTreeMap<String, Names>,
    /// More than one where `#[path]` takes another file on some systems.
    files: BTreeMap<Names, Vec<String>>,
    /// What a name that a file imports stands for.
    imports: BTreeMap<(String, String), Names>,
    references: Vec<Reference>,
}

impl Tree {
    fn read(sources: &BTreeMap<String, syn::File>) -> Self {
        let modules = sources.keys().map(|file| (file.clone(), module_of(file)));
        let mut tree = Self {
            modules: modules.collect(),
            ..Self::default()
        };
        let mut tests = BTreeSet::new();
        for (file, source) in sources {
            for item in &source.items {
                let Item::Mod(item) = item else { continue };
                let module = [module_of(file), vec![item.ident.to_string()]].concat();
                if let Some(path) = item
                    .attrs
                    .iter()
                    .find_map(|attribute| path_of(&attribute.meta))
                {
                    let other = file
                        .rsplit_once('/')
                        .map(|(folder, _)| format!("{folder}/{path}"));
                    tree.modules.insert(other.unwrap_or(path), module.clone());
                }
                let test = item.attrs.iter().any(|attribute| is_test(&attribute.meta));
                tests.extend(test.then_some(module));
            }
        }
        for (file, source) in sources {
            let (file, module) = (file.clone(), tree.modules[file].clone());
            tree.files
                .entry(module.clone())
                .or_default()
                .push(file.clone());
            let test = tests.iter().any(|test| module.starts_with(test));
            let place = Reference {
                file,
                module,
                test,
                ..Reference::default()
            };
            let mut reader = Reader {
                place,
                references: Vec::new(),
            };
            reader.visit_file(source);
            tree.references.append(&mut reader.references);
        }
        for reference in &tree.references {
            if let (Some(alias), Some(path)) = (&reference.alias, tree.resolve(reference)) {
                tree.imports
                    .insert((reference.file.clone(), alias.clone()), path);
            }
        }
        tree
    }

    /// The full path of what is referred to, unless it is another crate's, or the
    /// import that brought its name here says as much.
    fn resolve(&self, reference: &Reference) -> Option<Names> {
        let Reference {
            file,
            module,
            names,
            alias,
            ..
        } = reference;
        if names.len() == 1 && alias.is_none() {
            return None;
        }
        let mut path = module.clone();
        let mut rest = &names[..];
        while let [word, tail @ ..] = rest {
            match word.as_str() {
                "crate" => path.truncate(1),
                "super" => drop(path.pop()),
                "self" => (),
                _ => break,
            }
            rest = tail;
        }
        let full = [&path[..], rest].concat();
        if rest.len() < names.len() {
            return Some(full);
        }
        if self.files.contains_key(&full[..=path.len()]) {
            Some(full)
        } else if let Some(imported) = self.imports.get(&(file.clone(), names[0].clone())) {
            let full = [imported, &names[1..]].concat();
            (self.owner(&full) != self.owner(imported)).then_some(full)
        } else {
            let known = names[0] == "echopool" || names[0] == "compare" && !file.starts_with("src");
            known.then(|| names.clone())
        }
    }

    /// The module with a file of its own that is nearest to what a path names.
    fn owner<'a>(&self, path: &'a [String]) -> Option<&'a [String]> {
        let mut modules = (1..=path.len()).rev().map(|length| &path[..length]);
        modules.find(|module| self.files.contains_key(*module))
    }
}

/// All that breaks a rule in these files, given by their paths.
fn check(sources: &BTreeMap<String, String>) -> BTreeSet<Violation> {
    let parse = |(file, text): (&String, &String)| {
        let source = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        (file.clone(), source)
    };
    let sources = sources.iter().map(parse).collect();
    let tree = Tree::read(&sources);
    let mut violations = strays(&sources);
    let mut arrows = BTreeMap::new();
    for reference in &tree.references {
        let Reference { file, line, .. } = reference;
        let Some(mut path) = tree.resolve(reference) else {
            continue;
        };
        let Some(owner) = tree.owner(&path) else {
            continue;
        };
        let index = &tree.files[owner][0];
        if is_index(index) && index != file && tree.modules[file].starts_with(owner) {
            let rule = format!(
                "a file may not import from {index} above it, only from the item's own file"
            );
            violations.insert((file.clone(), *line, rule));
            // Which takes part in circles, whichever way the item is imported.
            let item = path.get(owner.len()).cloned().unwrap_or_default();
            path = tree
                .imports
                .get(&(index.clone(), item))
                .cloned()
                .unwrap_or_default();
        }
        let targets = tree.owner(&path).map(|owner| &tree.files[owner]);
        for target in targets
            .into_iter()
            .filter(|targets| !targets.contains(file))
            .flatten()
        {
            let rule = broken_by(file, target);
            violations.extend(rule.map(|rule| (file.clone(), *line, rule)));
            if !reference.test {
                let first = arrows
                    .entry((file.as_str(), target.as_str()))
                    .or_insert(*line);
                *first = (*line).min(*first);
            }
        }
    }
    violations.extend(circles(&arrows));
    violations
}

/// The first item of each `mod.rs` that has any of its own.
fn strays(sources: &BTreeMap<String, syn::File>) -> BTreeSet<Violation> {
    let indexes = sources.iter().filter(|(file, _)| is_index(file));
    let strays = indexes.filter_map(|(file, source)| {
        let stray = source.items.iter().find(|item| match item {
            Item::Mod(item) => item.content.is_some(),
            item => !matches!(item, Item::Use(_)),
        })?;
        let mut line = NameLine(None);
        line.visit_item(stray);
        let rule =
            "a mod.rs or lib.rs only declares and re-exports: move its items to a file below it";
        Some((file.clone(), line.0.unwrap_or(1), rule.to_owned()))
    });
    strays.collect()
}

/// What is wrong with this import, if it is one from another room.
fn broken_by(file: &str, target: &str) -> Option<String> {
    let (from, to) = (room_of(file)?, room_of(target)?);
    let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == from) else {
        return Some(format!(
            "{from} is a new room: say in tests/layers.rs what it may import"
        ));
    };
    let known = from == to || allowed.split(' ').any(|room| room == to);
    (!known).then(|| format!("{from} may not import {to}, only: {allowed}"))
}

/// One violation for all files that reach each other by these arrows, from file to
/// file and each on its first line.
fn circles(arrows: &BTreeMap<(&str, &str), usize>) -> BTreeSet<Violation> {
    let reached = |start| {
        let (mut found, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            let targets = arrows.range((file, "")..).map(|(arrow, _)| *arrow);
            let targets = targets.take_while(|(from, _)| *from == file);
            next.extend(targets.map(|(_, to)| to).filter(|to| found.insert(*to)));
        }
        found
    };
    let reached: BTreeMap<_, _> = arrows
        .keys()
        .map(|(from, _)| (*from, reached(*from)))
        .collect();
    let back = |from: &str, to: &str| reached.get(from).is_some_and(|found| found.contains(to));
    let mut violations = BTreeSet::new();
    for (start, found) in &reached {
        let mut circle = found.clone();
        circle.retain(|file| back(file, start));
        if circle.first() != Some(start) {
            continue;
        }
        let within = |((from, to), _): &(&(&str, &str), &usize)| {
            circle.contains(from) && circle.contains(to)
        };
        let list = arrows.iter().filter(within);
        let list: Vec<_> = list
            .map(|((from, to), line)| format!("\n    {from}:{line} imports {to}"))
            .collect();
        let files = Vec::from_iter(circle.iter().copied()).join(", ");
        let rule = format!(
            "a circle of imports; move what they share below them: {files}{}",
            list.concat()
        );
        let line = arrows.iter().find(within).map_or(1, |(_, line)| *line);
        violations.insert((start.to_string(), line, rule));
    }
    violations
}

#[test]
fn the_source_keeps_its_layers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeMap::new();
    let mut folders = vec![root.join("src"), root.join("compare/src")];
    // A published package has no comparison.
    folders.retain(|folder| folder.exists());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                sources.insert(name.replace(MAIN_SEPARATOR_STR, "/"), text);
            }
        }
    }
    assert!(sources.contains_key("src/lib.rs"), "{:?}", sources.keys());
    let list = lines(&check(&sources));
    assert!(
        list.is_empty(),
        "{} violations\n{}",
        list.len(),
        list.join("\n")
    );
}

fn lines(violations: &BTreeSet<Violation>) -> Vec<String> {
    let line = |(file, line, rule): &Violation| format!("{file}:{line}: {rule}");
    violations.iter().map(line).collect()
}

/// What breaks a rule in these files, beside a few others.
fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let common = [
        ("src/lib.rs", "pub mod base; pub mod pool; pub mod worker;"),
        ("src/base/mod.rs", "pub mod sys;"),
        ("src/base/sys.rs", "pub fn call() {}"),
        (
            "src/pool.rs",
            "use crate::base::sys; pub(in crate::worker) struct Pool;",
        ),
        ("src/worker/mod.rs", "mod conn; pub use conn::Conn;"),
    ];
    let all = common.iter().chain(files);
    lines(&check(
        &all.map(|(file, text)| (file.to_string(), text.to_string()))
            .collect(),
    ))
}

#[test]
fn every_way_to_write_a_path_is_seen() {
    for text in [
        "\n\npub use crate::pool::Pool;",
        "\n\nuse crate::{pool as workers, base::sys};",
        "use crate::{\n    base::sys,\n    pool::{self, Pool},\n};",
        "use super::super::{\n    base::{self, sys},\n    pool::*,\n};",
        "\n\nuse self::super::super::pool;",
        "mod tests {\n    use super::*;\n    use super::super::super::pool;\n}",
        "#[cfg(test)]\nmod tests {\n    use crate::pool;\n}",
        "fn f() {\n\n    use crate::pool;\n}",
        "fn f() {\n\n    crate::pool::start();\n}",
        "\n\ntype Pools = Vec<crate::pool::Pool>;",
        "fn f(a: u8) {\n    match a {\n        crate::pool::MOST => (),\n        _ => (),\n    }\n}",
        "\n\nimpl<T: super::super::pool::Run> Conn<T> {}",
        "fn f() {\n    format!(\"{}\",\n        [crate::pool::MOST]);\n}",
        "\n\n#[arg(value_parser = crate::pool::parse)]\nstruct Conn;",
    ] {
        let rule = "src/worker/conn.rs:3: worker may not import pool, only: proto base";
        assert_eq!(
            violations(&[("src/worker/conn.rs", text)]),
            [rule],
            "{text}"
        );
    }
}

#[test]
fn each_room_knows_only_those_below_it() {
    for (from, to) in [
        ("main", "pool"),
        ("lib", "pool"),
        ("server", "admin"),
        ("admin", "probe"),
        ("pool", "server"),
        ("worker", "report"),
        ("report", "worker"),
        ("bench", "ping"),
        ("ping", "check"),
        ("check", "client"),
        ("client", "bench"),
        ("probe", "bench"),
        ("proto", "probe"),
        ("base", "proto"),
        ("bench", "cli"),
    ] {
        let (file, below) = (format!("src/{from}.rs"), format!("src/{to}/deep.rs"));
        let text = format!("\nuse echopool::{to}::deep;");
        let found = violations(&[(&file, &text), (&below, "")]);
        let rule = format!("{file}:2: {from} may not import {to}, only: ");
        assert!(found.len() == 1 && found[0].starts_with(&rule), "{found:?}");
    }
    let found = violations(&[("src/new/run.rs", "use crate::base::sys;")]);
    assert!(
        found[0].starts_with("src/new/run.rs:1: new is a new room"),
        "{found:?}"
    );
}

#[test]
fn what_keeps_the_rules_is_not_named() {
    let text = "use crate::base::{self, sys::call}; use std::pool; use pool::Pool;
        mod tests { use super::*; } pub(in crate::pool) struct Conn;
        make!(pub(crate) type A; pub(super) type B; pub(in crate::pool) type C;);
        fn f() { base::sys::call(); let pool = 1; }";
    let main = "fn main() { echopool::worker::Conn::new() }";
    let found = violations(&[("compare/src/main.rs", main), ("src/worker/conn.rs", text)]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_mod_file_only_declares() {
    let text = "//! A part.\n\nmod a;\nuse a::A;\n\n/// Most.\npub const MOST: u8 = 1;\nmod tests {}\nimpl A {}";
    let found = violations(&[("src/ping/mod.rs", text), ("src/ping/a.rs", "struct A;")]);
    let rule = "a mod.rs or lib.rs only declares and re-exports: move its items to a file below it";
    assert_eq!(found, [format!("src/ping/mod.rs:7: {rule}")]);
}

#[test]
fn a_file_does_not_import_from_the_mod_file_above_it() {
    for text in [
        "\nuse super::Conn;",
        "\nuse super::*;",
        "\nuse crate::worker::{Conn as C};",
        "\ntype C = super::Conn;",
    ] {
        let found = violations(&[("src/worker/a.rs", text), ("src/worker/conn.rs", "")]);
        let rule =
            "a file may not import from src/worker/mod.rs above it, only from the item's own file";
        assert_eq!(found, [format!("src/worker/a.rs:2: {rule}")]);
    }
}

#[test]
fn a_circle_is_named_with_each_of_its_imports() {
    let circle = |from: &str, to: &str, files: [(&str, &str); 3]| {
        let (one, two) = (
            from.split(':').next().unwrap(),
            to.split(':').next().unwrap(),
        );
        let rule = "a circle of imports; move what they share below them";
        let rule = format!(
            "{from}: {rule}: {one}, {two}\n    {from} imports {two}\n    {to} imports {one}"
        );
        assert_eq!(violations(&files), [rule]);
    };
    let conn = ("src/worker/conn.rs", "");
    let run = "\nuse super::link::Link;\nuse super::link;";
    let link = "#[cfg(test)]\nmod tests {\n    use super::super::run;\n}\nuse crate::ping::run;";
    circle(
        "src/ping/link.rs:5",
        "src/ping/run.rs:2",
        [("src/ping/link.rs", link), ("src/ping/run.rs", run), conn],
    );
    // A file and one below it.
    let load = "mod client;\nfn f() {\n    client::run();\n}";
    let client = "use crate::load as all;\nfn f() {\n    all::load();\n}";
    let load = ("compare/src/load.rs", load);
    let client = ("compare/src/load/client.rs", client);
    circle(
        "compare/src/load.rs:3",
        "compare/src/load/client.rs:1",
        [load, client, conn],
    );
    // Through a module that was imported before.
    let run = "use crate::load as all;\nfn f() {\n    all::client::run();\n}";
    let run = ("compare/src/run.rs", run);
    let client = ("compare/src/load/client.rs", "use crate::run;");
    let load = ("compare/src/load.rs", "mod client;");
    circle(
        "compare/src/load/client.rs:1",
        "compare/src/run.rs:3",
        [run, client, load],
    );
    // A module whose file `#[path]` names for some systems is where that module is.
    let index = (
        "src/server/mod.rs",
        "mod run;\n#[cfg_attr(windows, path = \"manager/none.rs\")]\nmod manager;",
    );
    let run = ("src/server/run.rs", "use super::manager::Manager;");
    circle(
        "src/server/manager/none.rs:1",
        "src/server/run.rs:1",
        [
            ("src/server/manager/none.rs", "use super::run::Run;"),
            run,
            index,
        ],
    );
}

#[test]
fn circles_of_tests_are_allowed() {
    let files = [
        (
            "src/worker/conn.rs",
            "#[cfg(all(test, unix))]\nmod tests;\nuse super::a;",
        ),
        (
            "src/worker/conn/tests.rs",
            "use super::*; use crate::worker::a;",
        ),
        (
            "src/worker/a.rs",
            "#[cfg(test)]\nuse super::conn::Conn;\n#[test]\nfn f() { super::conn::f() }",
        ),
    ];
    assert!(violations(&files).is_empty(), "{:?}", violations(&files));
}
