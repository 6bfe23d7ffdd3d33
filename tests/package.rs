//! What is installed: manual pages, completions, and the packages.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Program, connect, finish, round_trip};
use rustix::process::Signal;
use tempfile::TempDir;

/// The files below `folder`, as paths from there.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let path = path.strip_prefix(folder).unwrap();
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// What `command` says, which must succeed.
#[track_caller]
fn said(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

/// The names of the program's commands, from its help.
fn commands() -> Vec<String> {
    let help = String::from_utf8(finish(["--help"], "").stdout).unwrap();
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

mod the_sample_of_options {
    use super::*;

    /// What the lines of the sample set when they are taken in.
    fn variables() -> Vec<(String, String)> {
        let sample = include_str!("../deploy/debian/echopool.default");
        let lines = sample.lines().filter_map(|line| line.strip_prefix('#'));
        let settings = lines.filter(|line| !line.starts_with(' '));
        let pairs = settings.map(|line| line.split_once('=').unwrap());
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The service has no privilege, so that ports below 1024 are the socket units'.
    #[test]
    fn names_no_port_that_needs_privilege() {
        let mut ports = 0;
        for (name, value) in variables() {
            if !["ECHO", "COUNTED", "WHOAMI", "ADMIN"]
                .contains(&name.trim_start_matches("ECHOPOOL_"))
            {
                continue;
            }
            for address in value.split(',') {
                let address: echopool::base::address::Address = address.parse().unwrap();
                assert!(address.port().unwrap() > 1023, "{name}={value}");
                ports += 1;
            }
        }
        assert!(ports >= 4, "the sample names the ports");
    }

    #[test]
    fn is_understood_by_the_server() {
        // All of it at once, but for the addresses, which others may have.
        let mut command = Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.arg("serve");
        for (name, value) in variables() {
            let is_address = ["ECHO", "COUNTED", "ADMIN"]
                .iter()
                .any(|one| name.ends_with(one));
            match is_address {
                true => command.env(name, "127.0.0.1:0"),
                false => command.env(name, value),
            };
        }
        let mut server = Program::spawn(command);
        let address = server.wait_for_listener("echo");
        round_trip(&mut connect(address), b"hello");
    }
}

mod manual {
    use super::*;

    #[test]
    fn there_is_a_page_for_the_program_and_one_for_each_command() {
        let folder = tempfile::tempdir().unwrap();
        let ended = finish(["man", folder.path().to_str().unwrap()], "");
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        let commands = commands();
        assert!(commands.iter().any(|name| name == "serve"), "{commands:?}");
        let pages = commands.iter().map(|name| format!("echopool-{name}.1"));
        let pages: BTreeSet<_> = pages.chain([String::from("echopool.1")]).collect();
        assert_eq!(files(folder.path()), pages);
        let page = fs::read_to_string(folder.path().join("echopool-serve.1")).unwrap();
        for words in [
            ".TH ECHOPOOL\\-SERVE 1",
            ".SH SYNOPSIS",
            "\\-\\-max\\-connections",
            "ECHOPOOL_MAX_CONNECTIONS",
            "[\\fB\\-\\-max\\-connections\\fR \\fIN\\fR]",
            ".SH EXIT STATUS\n.TP\n\\fB0\\fR\n",
            ".SH EXAMPLES\n.TP\n\\fBechopool serve\\fR\n",
            ".SH SEE ALSO\n\\fBechopool\\fR(1),\n",
        ] {
            assert!(page.contains(words), "no {words} in {page}");
        }
    }

    #[test]
    #[ignore = "needs mandoc"]
    fn mandoc_has_nothing_to_say_of_the_pages_and_no_table_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        finish(["man", folder.path().to_str().unwrap()], "");
        for file in files(folder.path()) {
            let page = folder.path().join(&file);
            let mut lint = Command::new("mandoc");
            let lint = lint
                .args(["-T", "lint", "-W", "style"])
                .arg(&page)
                .output()
                .unwrap();
            let words = String::from_utf8_lossy(&lint.stdout).into_owned();
            assert!(lint.status.success() && words.is_empty(), "{file}: {words}");
            let mut show = Command::new("mandoc");
            let text = said(show.args(["-T", "ascii", "-O", "width=80"]).arg(&page));
            let widest = text.lines().map(|line| plain(line).chars().count()).max();
            assert!(widest.is_some_and(|width| width <= 80), "{file}: {text}");
            for title in ["SYNOPSIS", "OPTIONS", "SEE ALSO"] {
                assert!(page_has(&text, title), "{file}: no {title}");
            }
            if file != "echopool.1" {
                assert!(
                    page_has(&text, "EXIT STATUS") && page_has(&text, "EXAMPLES"),
                    "{file}"
                );
            }
        }
    }

    /// A line as it is seen: bold letters are struck twice.
    fn plain(line: &str) -> String {
        let mut letters = String::new();
        for letter in line.chars() {
            match letter {
                '\u{8}' => drop(letters.pop()),
                letter => letters.push(letter),
            }
        }
        letters
    }

    fn page_has(text: &str, title: &str) -> bool {
        text.lines().any(|line| plain(line) == title)
    }

    #[test]
    fn the_programs_page_goes_to_standard_output_without_a_folder() {
        let ended = finish(["man"], "");
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        let page = String::from_utf8(ended.stdout).unwrap();
        for words in [".TH ECHOPOOL 1", "\\fBechopool\\-serve\\fR(1)"] {
            assert!(page.contains(words), "no {words} in {page}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let ended = finish(["man", missing.to_str().unwrap()], "");
        assert_eq!(ended.code, Some(1));
        let words = format!("could not write {}/echopool", missing.display());
        assert!(ended.stderr.contains(&words), "{ended:?}");
        assert!(
            ended.stderr.ends_with("no such file or directory"),
            "{ended:?}"
        );
    }
}

mod completions {
    use super::*;

    #[test]
    fn each_shell_gets_every_command_and_the_servers_options() {
        for shell in ["bash", "zsh", "fish"] {
            let ended = finish(["completions", shell], "");
            assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
            let script = String::from_utf8(ended.stdout).unwrap();
            for word in commands() {
                assert!(script.contains(&word), "{shell}: no {word}");
            }
            assert!(script.contains("max-connections"), "{shell}");
        }
    }

    #[test]
    fn bash_offers_what_begins_as_what_was_typed() {
        let script = r#"
            source <("$1" completions bash)
            COMP_WORDS=(echopool serve --max-c) COMP_CWORD=2
            _echopool echopool --max-c serve
            echo "${COMPREPLY[@]}""#;
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "bash", env!("CARGO_BIN_EXE_echopool")]);
        assert_eq!(said(&mut bash).trim(), "--max-connections");
    }

    /// What bash offers for the last of these words.
    fn offered(words: &str) -> Vec<String> {
        let script = r#"
            source <("$1" completions bash)
            complete() { :; }
            eval "COMP_WORDS=($2)"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _echopool_with_values echopool "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            echo "${COMPREPLY[@]}""#;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hosts"), "192.0.2.7 lb.example\n").unwrap();
        fs::write(folder.path().join("run.json"), "").unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "bash", env!("CARGO_BIN_EXE_echopool"), words]);
        bash.env("HOSTFILE", folder.path().join("hosts"))
            .current_dir(folder.path());
        said(&mut bash)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn bash_offers_clauses_of_a_list_hosts_and_files() {
        for (words, want) in [
            ("echopool check --only byt", &["bytes"][..]),
            ("echopool check --only bytes,urg", &["bytes,urgent"]),
            (
                "echopool check --skip bytes,reset,slow-w",
                &["bytes,reset,slow-writer"],
            ),
            ("echopool check --only = bytes,urg", &["bytes,urgent"]),
            ("echopool ping lb.e", &["lb.example"]),
            ("echopool bench -q lb.e", &["lb.example"]),
            ("echopool report ru", &["run.json"]),
            ("echopool report --mer", &["--merge"]),
            ("echopool serve --max-c", &["--max-connections"]),
        ] {
            assert_eq!(offered(words), want, "{words}");
        }
        let all = offered("echopool check --only bytes,");
        assert!(
            all.len() > 20 && all.contains(&String::from("bytes,urgent")),
            "{all:?}"
        );
    }

    #[test]
    fn zsh_and_fish_get_lists_hosts_and_files() {
        for (shell, words) in [
            (
                "zsh",
                &[
                    ":CLAUSE:_sequence compadd - connect ",
                    ":_hosts'",
                    ":FILE:_files'",
                    "_files -/",
                ][..],
            ),
            (
                "fish",
                &[
                    "-l only",
                    "(__fish_append , connect ",
                    "(__fish_print_hostnames)",
                ],
            ),
        ] {
            let script = String::from_utf8(finish(["completions", shell], "").stdout).unwrap();
            for word in words {
                assert!(script.contains(word), "{shell}: no {word}");
            }
            let lists = ["_sequence compadd", "(__fish_append ,"];
            let count: usize = lists.iter().map(|list| script.matches(list).count()).sum();
            assert_eq!(count, 2, "{shell}: for --only and --skip");
        }
    }

    #[test]
    fn another_shell_is_wrong_usage_that_names_those_there_are() {
        let ended = finish(["completions", "csh"], "");
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("bash, "), "{ended:?}");
    }
}

mod make {
    use super::*;

    /// A cargo that "installs" the program of this test.
    fn cargo(folder: &TempDir) -> PathBuf {
        let path = folder.path().join("cargo");
        let program = env!("CARGO_BIN_EXE_echopool");
        let script = format!(
            "#!/bin/sh\nfor root; do :; done\nmkdir -p \"$root/bin\"\ncp {program} \"$root/bin\"\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn install_puts_all_below_prefix_and_destdir_and_uninstall_takes_it_away() {
        let tools = tempfile::tempdir().unwrap();
        let cargo = cargo(&tools);
        let folder = tempfile::tempdir().unwrap();
        let make = |targets: &[&str]| {
            let variable = |name, path: &Path| format!("{name}={}", path.display());
            let mut make = Command::new("make");
            make.args(targets)
                .args([
                    "PREFIX=/opt/echo pool",
                    &variable("CARGO", &cargo),
                    &variable("DESTDIR", folder.path()),
                ])
                .current_dir(env!("CARGO_MANIFEST_DIR"));
            said(&mut make)
        };
        make(&["install", "install-units"]);
        let installed = files(&folder.path().join("opt/echo pool"));
        for file in [
            "bin/echopool",
            "share/man/man1/echopool.1",
            "share/man/man1/echopool-serve.1",
            "share/bash-completion/completions/echopool",
            "share/zsh/site-functions/_echopool",
            "share/fish/vendor_completions.d/echopool.fish",
            "lib/systemd/system/echopool-echo.socket",
            "lib/systemd/system/echopool-counted.socket",
            "lib/systemd/system/echopool-udp.socket",
            "lib/systemd/system/echopool-stamp.socket",
        ] {
            assert!(installed.contains(file), "no {file} in {installed:?}");
        }
        let unit = folder
            .path()
            .join("opt/echo pool/lib/systemd/system/echopool.service");
        let unit = fs::read_to_string(unit).unwrap();
        assert!(
            unit.contains("ExecStart=/opt/echo pool/bin/echopool serve\n"),
            "{unit}"
        );
        make(&["uninstall"]);
        assert_eq!(files(folder.path()), BTreeSet::new());
    }
}

mod cargo_package {
    use super::*;

    #[test]
    fn it_has_what_is_built_tested_and_installed_and_nothing_else() {
        let cargo = std::env::var_os("CARGO").unwrap();
        let output = Command::new(cargo)
            .args([
                "package",
                "--list",
                "--allow-dirty",
                "--offline",
                "--locked",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let list = String::from_utf8(output.stdout).unwrap();
        let list: BTreeSet<_> = list.lines().collect();
        for file in [
            "Cargo.toml",
            "Cargo.lock",
            "CHANGELOG.md",
            "LICENSE-APACHE",
            "LICENSE-MIT",
            "Makefile",
            "README.md",
            "src/main.rs",
            "src/report/style.css",
            "src/admin/page.html",
            "docs/admin.png",
            "tests/common/mod.rs",
            "docs/results.schema.json",
            "deploy/systemd/echopool.service",
            "deploy/kubernetes/deployment.yaml",
        ] {
            assert!(list.contains(file), "no {file}");
        }
        let folders = ["src/", "tests/", "docs/", "deploy/"];
        let top = [
            ".cargo_vcs_info.json",
            ".containerignore",
            ".dockerignore",
            "Containerfile",
            "CHANGELOG.md",
            "Cargo.lock",
            "Cargo.toml",
            "Cargo.toml.orig",
            "LICENSE-APACHE",
            "LICENSE-MIT",
            "Makefile",
            "README.md",
        ];
        let out_of_place = list.iter().filter(|file| {
            !top.contains(file) && !folders.iter().any(|folder| file.starts_with(folder))
        });
        assert_eq!(out_of_place.collect::<Vec<_>>(), Vec::<&&str>::new());
    }
}

mod debian {
    use super::*;

    /// `make deb`, and where the package is.
    fn build() -> PathBuf {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        said(Command::new("make").arg("deb").current_dir(top));
        let version = env!("CARGO_PKG_VERSION");
        let packages = files(&top.join("target/debian"));
        let name = packages
            .iter()
            .find(|name| name.starts_with(&format!("echopool_{version}_")))
            .unwrap();
        top.join("target/debian").join(name)
    }

    /// A root for dpkg to install into, where its scripts find a shell and no
    /// service manager.
    fn root() -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "var/lib/dpkg/info", "var/lib/dpkg/updates", "tmp"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("var/lib/dpkg/status"), "").unwrap();
        let busybox = said(Command::new("sh").args(["-c", "command -v busybox"]));
        let shell = root.path().join("bin/sh");
        fs::copy(busybox.trim(), &shell).expect("busybox-static must be installed");
        root
    }

    /// The server of the package starts, echoes and stops.
    fn assert_serves(program: &Path) {
        let mut command = Command::new(program);
        command.args(["serve", "--echo", "127.0.0.1:0"]);
        let mut server = Program::spawn(command);
        round_trip(&mut connect(server.wait_for_listener("echo")), b"packed");
        server.signal(Signal::TERM);
        assert!(server.wait().success());
    }

    #[test]
    #[ignore = "needs root, make, cargo-deb, dpkg and busybox-static"]
    fn the_package_installs_serves_and_leaves_nothing_behind() {
        let package = build();
        let root = root();
        let dpkg = |action: &[&str]| {
            let mut dpkg = Command::new("dpkg");
            // The C library is this system's: none is in the root.
            dpkg.args(["--force-depends", "--log=/dev/null"]);
            dpkg.arg(format!("--root={}", root.path().display()));
            said(dpkg.args(action))
        };
        let own = |path: &String| !path.starts_with("var/lib/dpkg/") && path != "bin/sh";
        let own_files = || {
            files(root.path())
                .into_iter()
                .filter(own)
                .collect::<BTreeSet<_>>()
        };
        dpkg(&["--install", package.to_str().unwrap()]);
        let installed = own_files();
        for file in [
            "usr/bin/echopool",
            "usr/lib/systemd/system/echopool.service",
            "usr/lib/systemd/system/echopool-echo.socket",
            "usr/lib/systemd/system/echopool-counted.socket",
            "usr/lib/systemd/system/echopool-udp.socket",
            "usr/lib/systemd/system/echopool-stamp.socket",
            "usr/share/man/man1/echopool.1.gz",
            "usr/share/man/man1/echopool-serve.1.gz",
            "usr/share/bash-completion/completions/echopool",
            "usr/share/zsh/vendor-completions/_echopool",
            "usr/share/fish/vendor_completions.d/echopool.fish",
            "usr/share/doc/echopool/copyright",
            "etc/default/echopool",
        ] {
            assert!(installed.contains(file), "no {file} in {installed:?}");
        }
        assert_serves(&root.path().join("usr/bin/echopool"));
        dpkg(&["--remove", "echopool"]);
        let kept = BTreeSet::from([String::from("etc/default/echopool")]);
        assert_eq!(own_files(), kept, "the administrator's own");
        dpkg(&["--purge", "echopool"]);
        assert_eq!(own_files(), BTreeSet::new());
    }
}
