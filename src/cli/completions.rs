//! `echopool completions`.

use clap::Args;
use clap_complete::{Shell, generate};

use super::error::Error;
use super::exit::Exit;
use crate::base::output::Output;

/// Write the completions for a shell to standard output
///
/// 'make install' and the Debian package put them where bash, zsh and fish look.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  source <(echopool completions bash)    for this shell

Exit codes:
  0    the script was written
  1    it was not
  2    wrong usage")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self, mut command: clap::Command) -> Result<Exit, Error> {
        let name = command.get_name().to_owned();
        // `generate` panics when its output fails, so it writes to memory.
        let mut script = Vec::new();
        generate(self.shell, &mut command, name, &mut script);
        let script = String::from_utf8_lossy(&script);
        let clauses = clauses(&command);
        let script = match self.shell {
            Shell::Bash => script.into_owned() + &bash(&command, &clauses),
            Shell::Zsh => {
                let clauses = clauses.join(" ");
                let list = format!(":CLAUSE:_sequence compadd - {clauses}'");
                script.replace(&format!(":CLAUSE:({clauses})'"), &list)
            }
            Shell::Fish => {
                let each: Vec<_> = clauses.iter().map(|name| format!("{name}\\t''")).collect();
                let list = format!("-a \"(__fish_append , {})\"", clauses.join(" "));
                script.replace(&format!("-a \"{}\"", each.join("\n")), &list) + FISH
            }
            _ => script.into_owned(),
        };
        Output::Standard.write(|to| to.write_all(script.as_bytes()))?;
        Ok(Exit::Success)
    }
}

fn bash(command: &clap::Command, clauses: &[String]) -> String {
    let mut flags = Vec::new();
    for each in command.get_subcommands() {
        let takes_none = |option: &&clap::Arg| !option.get_action().takes_values();
        for option in each.get_arguments().filter(takes_none) {
            let short = option.get_short().map(|short| format!("-{short}"));
            let long = option.get_long().map(|long| format!("--{long}"));
            let names = short.into_iter().chain(long);
            flags.extend(names.map(|name| format!("\"{} {name}\"", each.get_name())));
        }
    }
    BASH.replace("CLAUSES", &clauses.join(" "))
        .replace("FLAGS", &flags.join(" | "))
}

/// The names that the clauses of a check are chosen by.
fn clauses(command: &clap::Command) -> Vec<String> {
    let check = command.find_subcommand("check");
    let only = check.and_then(|check| {
        check
            .get_arguments()
            .find(|option| option.get_id() == "only")
    });
    let values = only.map(clap::Arg::get_possible_values).unwrap_or_default();
    values
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect()
}

/// What clap's script for bash lacks: lists with commas, hosts, and files for an operand.
const BASH: &str = r#"
_echopool_with_values() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    # The `=` of --only=bytes is a word of its own.
    [ "$cur" = "=" ] && cur=""
    [ "$prev" = "=" ] && prev="${COMP_WORDS[COMP_CWORD-2]}"
    case "${COMP_WORDS[1]} $prev" in
        "check --only" | "check --skip")
            local before=""
            [[ $cur == *,* ]] && before="${cur%,*},"
            COMPREPLY=($(compgen -P "$before" -W "CLAUSES" -- "${cur##*,}"))
            compopt -o nospace 2>/dev/null
            return
            ;;
    esac
    _echopool "$@"
    # What is behind an option without a value is an operand.
    case "${COMP_WORDS[1]} $prev" in
        FLAGS) prev="" ;;
    esac
    case "${COMP_WORDS[1]} $prev $cur" in
        *" -"*) ;;
        "client "* | "ping "* | "check "* | "bench "*)
            COMPREPLY=($(compgen -A hostname -- "$cur"))
            ;;
        "report "*) COMPREPLY=($(compgen -f -- "$cur")) ;;
    esac
}

complete -F _echopool_with_values -o bashdefault -o default echopool
"#;

/// What clap's script for fish lacks: hosts for an operand.
const FISH: &str = r#"
for command in client ping check bench
    complete -c echopool -n "__fish_echopool_using_subcommand $command" -f -a "(__fish_print_hostnames)"
end
"#;
