//! A manual page of a command, in the sections and the macros of man-pages(7) and man(7).

use clap::{Arg, ArgAction, Command};

/// When the texts of the pages last changed.
const DATE: &str = "2026-11-28";

/// The longest line of the source, so that tools that read it by line have no trouble.
const WIDTH: usize = 76;

/// Where the documents are that the pages refer to.
const DOCUMENTS: &str = "/usr/share/doc/echopool/docs";

/// The name of a command's page: `echopool-serve`.
pub(super) fn name(command: &Command) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name());
    name.to_owned()
}

/// The page of `command`, which is `program` or one of its commands. Both are built.
pub(super) fn of(command: &Command, program: &Command) -> String {
    let mut page = Page::default();
    let name = name(command);
    page.line(&format!(
        ".TH {} 1 {DATE} \"echopool {}\" \"User Commands\"",
        escape(&name.to_uppercase()),
        env!("CARGO_PKG_VERSION")
    ));
    page.section("NAME");
    let about = command.get_about().map(ToString::to_string);
    page.text(&format!("{name} - {}", about.unwrap_or_default()));
    page.section("SYNOPSIS");
    page.synopsis(command);
    page.section("DESCRIPTION");
    page.description(command);
    page.section("OPTIONS");
    page.options(command);
    page.commands(command);
    page.sections_behind_help(command);
    page.see_also(command, program);
    page.source
}

/// The source of a page.
#[derive(Default)]
struct Page {
    source: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.source.push_str(line);
        self.source.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.line(&format!(".SH {title}"));
    }

    /// Running text, escaped and broken into lines.
    fn text(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && escape(&line).len() + escape(word).len() >= WIDTH {
                self.text_line(&line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.text_line(&line);
    }

    /// A line of text. One that begins like a request is none.
    fn text_line(&mut self, line: &str) {
        let guard = if line.starts_with(['.', '\'']) {
            "\\&"
        } else {
            ""
        };
        if !line.is_empty() {
            self.line(&format!("{guard}{}", escape(line)));
        }
    }

    /// A paragraph with a term before it.
    fn term(&mut self, term: &str, text: &str) {
        self.line(".TP");
        self.line(term);
        self.text(text);
    }

    fn synopsis(&mut self, command: &Command) {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        self.line(&bold(name));
        for option in shown(command).filter(|option| !option.is_positional()) {
            let repeated = if is_repeated(option) { " ..." } else { "" };
            self.line(&format!("[{}]{repeated}", spelling(option, "|")));
        }
        for value in command.get_positionals() {
            let (open, close) = match value.is_required_set() {
                true => ("", ""),
                false => ("[", "]"),
            };
            let repeated = if is_repeated(value) { " ..." } else { "" };
            self.line(&format!("{open}{}{close}{repeated}", values(value)));
        }
        if command.has_subcommands() {
            self.line(&italic("command"));
        }
    }

    fn description(&mut self, command: &Command) {
        let long = command.get_long_about().or(command.get_about());
        let text = long.map(ToString::to_string).unwrap_or_default();
        for (at, paragraph) in text.split("\n\n").enumerate() {
            if at > 0 {
                self.line(".PP");
            }
            self.text(paragraph);
        }
    }

    fn options(&mut self, command: &Command) {
        for option in shown(command).filter(|option| !option.is_positional()) {
            let help = option.get_long_help().or(option.get_help());
            let mut text = help.map(ToString::to_string).unwrap_or_default();
            let values = option.get_possible_values();
            if !option.is_hide_possible_values_set() && !values.is_empty() && takes_value(option) {
                let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
                text += &format!(" [possible values: {}]", names.join(", "));
            }
            let defaults: Vec<_> = option.get_default_values().iter().collect();
            if !defaults.is_empty() && takes_value(option) {
                let defaults: Vec<_> = defaults.iter().map(|text| text.to_string_lossy()).collect();
                text += &format!(" [default: {}]", defaults.join(", "));
            }
            if let Some(variable) = option.get_env() {
                text += &format!(" [environment: {}]", variable.to_string_lossy());
            }
            self.term(&spelling(option, ", "), &text);
        }
        for value in command.get_positionals() {
            let help = value.get_help().map(ToString::to_string);
            self.term(&values(value), &help.unwrap_or_default());
        }
    }

    fn commands(&mut self, command: &Command) {
        if command.has_subcommands() {
            self.section("COMMANDS");
        }
        for each in command.get_subcommands() {
            let about = each.get_about().map(ToString::to_string);
            self.term(&reference(&name(each), 1), &about.unwrap_or_default());
        }
    }

    /// The text that the help has after the options: paragraphs, and tables with a title. The
    /// examples and the exit codes become sections of the page.
    fn sections_behind_help(&mut self, command: &Command) {
        let text = command.get_after_long_help().map(ToString::to_string);
        let text = text.unwrap_or_default();
        let mut notes = Vec::new();
        let mut tables = Vec::new();
        for paragraph in text.split("\n\n").filter(|text| !text.is_empty()) {
            match paragraph.split_once(":\n  ") {
                Some((title, rows)) => tables.push((title, rows)),
                None => notes.push(paragraph),
            }
        }
        if !notes.is_empty() {
            self.section("NOTES");
        }
        for (at, note) in notes.iter().enumerate() {
            if at > 0 {
                self.line(".PP");
            }
            self.text(note);
        }
        let order = |title: &str| match title {
            "Exit codes" => 1,
            "Environment" => 2,
            "Examples" => 3,
            _ => 0,
        };
        tables.sort_by_key(|(title, _)| order(title));
        for (title, rows) in tables {
            match title {
                "Exit codes" => self.section("EXIT STATUS"),
                _ => self.section(&title.to_uppercase()),
            }
            for (term, text) in table(rows) {
                self.term(&bold(&term), &text);
            }
        }
    }

    fn see_also(&mut self, command: &Command, program: &Command) {
        self.section("SEE ALSO");
        let own = name(command);
        let all = [program].into_iter().chain(program.get_subcommands());
        let others = all.map(name).filter(|name| *name != own);
        let mut pages: Vec<_> = others.map(|name| (name, 1)).collect();
        let further: &[(&str, u8)] = match command.get_name() {
            "serve" => &[("systemd.socket", 5), ("tcp", 7)],
            "client" => &[("nc", 1)],
            "ping" => &[("ping", 8)],
            _ => &[],
        };
        pages.extend(
            further
                .iter()
                .map(|(name, section)| ((*name).to_owned(), *section)),
        );
        let last = pages.len() - 1;
        for (at, (name, section)) in pages.iter().enumerate() {
            let comma = if at == last { "" } else { "," };
            self.line(&format!("{}{comma}", reference(name, *section)));
        }
        self.line(".PP");
        self.text(&format!("The documents in {DOCUMENTS}."));
    }
}

/// The rows of a table: two spaces or more, or a line's end, separate a term from its text,
/// which may go on in lines that are indented further.
fn table(rows: &str) -> Vec<(String, String)> {
    let mut table: Vec<(String, String)> = Vec::new();
    for row in rows.lines() {
        let is_continued = row.starts_with("     ");
        match table.last_mut() {
            Some((_, text)) if is_continued => {
                *text += " ";
                *text += row.trim();
            }
            _ => {
                let (term, text) = row.trim().split_once("  ").unwrap_or((row.trim(), ""));
                table.push((term.to_owned(), text.trim().to_owned()));
            }
        }
    }
    table
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|option| !option.is_hide_set())
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

fn is_repeated(option: &Arg) -> bool {
    match option.get_action() {
        ArgAction::Count => true,
        ArgAction::Append => !option.is_positional() || option.get_value_names().is_some(),
        _ => false,
    }
}

/// An option as it is written: `-c, --count COUNT`.
fn spelling(option: &Arg, between: &str) -> String {
    let short = option.get_short().map(|short| bold(&format!("-{short}")));
    let long = option.get_long().map(|long| bold(&format!("--{long}")));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    let names = names.join(between);
    let least = option.get_num_args().map_or(1, |range| range.min_values());
    match (takes_value(option), least) {
        (false, _) => names,
        (true, 0) => format!("{names} [{}]", values(option)),
        (true, _) => format!("{names} {}", values(option)),
    }
}

/// The names of an option's values.
fn values(option: &Arg) -> String {
    let names = option.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| italic(name)).collect();
    names.join(" ")
}

fn reference(name: &str, section: u8) -> String {
    format!("{}({section})", bold(name))
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escape(text))
}

/// Keeps what has a meaning in the source as it is: a hyphen is not a dash.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_terms_texts_and_lines_that_go_on() {
        let rows =
            "0    it went well\n  a --long one\n                   explained\n  b  c\n       d";
        let own = |term: &str, text: &str| (term.to_owned(), text.to_owned());
        assert_eq!(
            table(rows),
            [
                own("0", "it went well"),
                own("a --long one", " explained"),
                own("b", "c d")
            ]
        );
    }

    #[test]
    fn what_has_a_meaning_in_the_source_is_escaped() {
        let mut page = Page::default();
        page.text(".TH is 'no' request - a\\b");
        assert_eq!(page.source, "\\&.TH is \\(aqno\\(aq request \\- a\\eb\n");
    }
}
