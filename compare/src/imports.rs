//! Reads the `use` lines of all files and checks that no circle is among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The modules that each module imports from, `lib.rs` and the binaries left out.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Adds the files of a folder, whose modules begin with `prefix`.
fn read(folder: &Path, prefix: &str, imports: &mut Imports) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().unwrap();
        if path.is_dir() && name != "bin" {
            read(&path, &format!("{prefix}{name}::"), imports);
        } else if let Some(stem) = name.strip_suffix(".rs")
            && !["lib", "main", "imports"].contains(&stem)
        {
            let module = match stem {
                "mod" => prefix.trim_end_matches("::").to_owned(),
                _ => format!("{prefix}{stem}"),
            };
            let text = fs::read_to_string(path).unwrap();
            imports.insert(module, imported(&text, prefix));
        }
    }
}

/// What the code of one file imports, without that of its tests. Every import is
/// on a line of its own; the modules are the words in small letters.
fn imported(text: &str, prefix: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let paths = code.lines().filter_map(|line| {
        let path = line.trim_start_matches("pub ").strip_prefix("use ")?;
        let path = path.trim_end_matches(';');
        match path.strip_prefix("super::") {
            Some(rest) => Some(format!("{prefix}{rest}")),
            None => Some(path.strip_prefix("crate::")?.to_owned()),
        }
    });
    let modules = paths.map(|path| {
        let words = path.split("::");
        let words = words.take_while(|word| word.starts_with(|letter: char| letter.is_lowercase()));
        words.collect::<Vec<_>>().join("::")
    });
    modules.collect()
}

/// The path from `module` back to one that is on it already.
fn circle(imports: &Imports, module: &str, path: &mut Vec<String>) -> Option<Vec<String>> {
    if path.iter().any(|passed| passed == module) {
        return Some([path.as_slice(), &[module.to_owned()]].concat());
    }
    path.push(module.to_owned());
    let next = imports.get(module).into_iter().flatten();
    let found = next.filter_map(|next| circle(imports, next, path)).next();
    path.pop();
    found
}

#[test]
fn no_file_imports_from_one_that_imports_from_it() {
    let mut imports = Imports::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&source, "", &mut imports);
    assert!(imports["scenario::measure"].contains("load::mixed"));
    for module in imports.keys() {
        assert_eq!(circle(&imports, module, &mut Vec::new()), None);
    }
}

#[test]
fn a_circle_of_two_is_found() {
    let text = |other: &str| format!("use crate::{other}::Name;\n");
    let imports = Imports::from([
        (String::from("one"), imported(&text("two"), "")),
        (String::from("two"), imported(&text("one"), "")),
    ]);
    let found = circle(&imports, "one", &mut Vec::new()).unwrap();
    assert_eq!(found, ["one", "two", "one"]);
}
