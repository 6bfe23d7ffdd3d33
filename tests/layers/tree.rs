//! The source as a tree of modules, and each path that is written in it.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser, discouraged::Speculative};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Ident, Item, LitStr, Meta, Token, UseTree};

/// What breaks a rule: its file, its line, and what is to be done there.
pub(crate) type Broken = (String, usize, String);

/// A path in a file, and what an import calls it there.
#[derive(Clone, Default)]
pub(crate) struct Reference {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The modules of the file that it is in, each after a `::`.
    inner: String,
    path: String,
    name: Option<String>,
    pub(crate) test: bool,
}

/// All files, each path in them, and what the names in a path stand for. A full path
/// begins with its crate. The crate of a program is called by its file, which no path names.
#[derive(Default)]
pub(crate) struct Tree {
    /// The module of a file. `#[path]` gives some modules two, for different systems.
    pub(crate) modules: BTreeMap<String, String>,
    /// The modules with a file of their own that are for tests, each before a `::`.
    pub(crate) tests: Vec<String>,
    pub(crate) references: Vec<Reference>,
    /// The full path of a name that a file imports.
    imports: BTreeMap<(String, String), String>,
    pub(crate) broken: BTreeSet<Broken>,
    /// What is being read: its place, the path that led there, and whether it is an attribute.
    place: Reference,
    path: Vec<Ident>,
    in_attribute: bool,
}

impl Tree {
    pub(crate) fn read(sources: &BTreeMap<String, String>) -> Self {
        let mut tree = Self::default();
        for (file, text) in sources {
            let module = || module_of(file);
            tree.modules.entry(file.clone()).or_insert_with(module);
            tree.place = Reference::default();
            tree.place.file.clone_from(file);
            let content = syn::parse_file(text).expect(file);
            tree.visit_file(&content);
            let stray = content.items.iter().find(|item| !is_declaration(item));
            if let (true, Some(item)) = (is_index(file), stray) {
                let rule = "a mod.rs or lib.rs only declares and re-exports: move its items below";
                tree.break_rule(item.span(), rule);
            }
        }
        // Twice: an import may begin with a name that one below it brings.
        for import in tree.references.iter().chain(&tree.references) {
            if let Some(name) = &import.name
                && let Some(path) = tree.resolve(import)
            {
                let name = (import.file.clone(), name.clone());
                tree.imports.insert(name, path);
            }
        }
        tree
    }

    /// Notes the path that led here.
    fn refer(&mut self, name: Option<&Ident>) {
        let names = self.path.iter().map(|name| name.unraw().to_string());
        self.references.push(Reference {
            line: self.path.last().map_or(0, |name| name.span().start().line),
            path: Vec::from_iter(names).join("::"),
            name: name.map(|name| name.unraw().to_string()),
            ..self.place.clone()
        });
    }

    fn break_rule(&mut self, span: Span, rule: &str) {
        let line = span.start().line;
        self.broken
            .insert((self.place.file.clone(), line, rule.to_owned()));
    }

    /// Notes the paths among tokens whose grammar only a macro knows.
    fn read_tokens(&mut self, input: ParseStream) -> syn::Result<()> {
        while !input.is_empty() {
            let (import, path) = (input.fork(), input.fork());
            if let Ok(found) = import.parse::<syn::ItemUse>() {
                self.visit_item_use(&found);
                input.advance_to(&import);
            } else if let Ok(found) = path.parse::<syn::ExprPath>() {
                self.visit_expr_path(&found);
                input.advance_to(&path);
            } else if input.peek(Token![pub]) {
                input.parse::<syn::Visibility>()?;
            } else if self.in_attribute && input.peek(LitStr) {
                // Such as `with = "PATH"`. Other texts need not be Rust.
                let read = |input: ParseStream| self.read_tokens(input);
                let _ = input.parse::<LitStr>()?.parse_with(read);
            } else if let TokenTree::Group(group) = input.parse()? {
                self.visit_token_stream(&group.stream());
            }
        }
        Ok(())
    }

    /// The full path of what is referred to, unless it is another crate's, or the
    /// import that brought its name here says as much.
    pub(crate) fn resolve(&self, reference: &Reference) -> Option<String> {
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
    pub(crate) fn owner<'a>(&self, mut path: &'a str) -> Option<&'a str> {
        while !self.modules.values().any(|module| module == path) {
            path = path.rsplit_once("::")?.0;
        }
        Some(path)
    }
}

/// Visits each of these, and forgets then what its attributes say.
macro_rules! visit_scopes {
    ($($visit:ident $node:ident),*) => {$(
        fn $visit(&mut self, node: &'ast syn::$node) {
            let outer = self.place.clone();
            visit::$visit(self, node);
            self.place = outer;
        }
    )*};
}

impl<'ast> Visit<'ast> for Tree {
    visit_scopes!(visit_item Item, visit_impl_item ImplItem, visit_trait_item TraitItem);
    visit_scopes!(visit_stmt Stmt, visit_expr Expr, visit_arm Arm, visit_field_value FieldValue);
    visit_scopes!(visit_field Field, visit_variant Variant, visit_fn_arg FnArg);

    /// `pub(in PATH)` imports nothing.
    fn visit_visibility(&mut self, _: &syn::Visibility) {}

    fn visit_use_tree(&mut self, tree: &UseTree) {
        let (length, above) = (self.path.len(), self.path.last().cloned());
        match tree {
            UseTree::Group(group) => visit::visit_use_group(self, group),
            UseTree::Glob(_) => self.refer(None),
            UseTree::Path(found) => {
                self.path.push(found.ident.clone());
                self.visit_use_tree(&found.tree);
            }
            UseTree::Rename(found) => {
                self.path.push(found.ident.clone());
                self.refer(Some(&found.rename));
            }
            UseTree::Name(found) => {
                self.path.push(found.ident.clone());
                let name = above.filter(|_| found.ident == "self");
                self.refer(name.as_ref().or(Some(&found.ident)));
            }
        }
        self.path.truncate(length);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| &segment.ident);
        self.path.extend(names.cloned());
        if self.path.len() > 1 {
            self.refer(None);
        }
        self.path.clear();
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let outer = format!("{}::", self.place.inner);
        self.place.inner = outer + &item.ident.unraw().to_string();
        visit::visit_item_mod(self, item);
        if item.content.is_some() {
            return;
        }
        let module = module_of(&self.place.file) + &self.place.inner;
        let text = item.span().source_text().unwrap_or_default();
        if let Some((_, path)) = text.split_once("path = \"") {
            if path.starts_with(['/', '.']) {
                self.break_rule(item.ident.span(), "a module's file is below its parent's");
            }
            let folder = self.place.file.rsplit_once('/').unwrap().0;
            let file = format!("{folder}/{}", path.split('"').next().unwrap());
            self.modules.insert(file, module.clone());
        }
        self.tests.extend(self.place.test.then_some(module + "::"));
    }

    fn visit_item_extern_crate(&mut self, item: &syn::ItemExternCrate) {
        self.break_rule(
            item.span(),
            "call a crate by its name, without `extern crate`",
        );
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.segments.last().unwrap().ident == "include" {
            self.break_rule(call.span(), "declare a module, include no file");
        }
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        self.place.test |= is_test(&attribute.meta);
        self.in_attribute = true;
        visit::visit_attribute(self, attribute);
        self.in_attribute = false;
    }

    fn visit_token_stream(&mut self, tokens: &TokenStream) {
        let read = |input: ParseStream| self.read_tokens(input);
        read.parse2(tokens.clone()).expect(&self.place.file);
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

fn is_declaration(item: &Item) -> bool {
    match item {
        Item::Mod(item) => item.content.is_none(),
        other => matches!(other, Item::Use(_)),
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
pub(crate) fn is_index(file: &str) -> bool {
    file.ends_with("/mod.rs") || file.ends_with("/lib.rs")
}
