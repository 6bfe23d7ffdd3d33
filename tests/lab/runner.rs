//! Plays paths, several at a time where they don't load the machine, and compares what
//! `echopool check` says of each with what the table says.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, available_parallelism, scope, sleep};
use std::time::{Duration, Instant};

use echopool::base::open_files::raise_open_files;
use serde_json::Value;

use crate::claims::prove;
use crate::common::Program;
use crate::made::unbroken;
use crate::namespaces::bound;
use crate::path::{Bound, Expected, Path};
use crate::paths::paths;
use crate::proxies::sweep;
use crate::quick;

/// Beyond its bound a check goes on for so long before it is killed, to be seen.
const BEYOND: Duration = Duration::from_secs(120);

/// Where the results are written, between these lines.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/diagnosis.md");
const BEGIN: &str = "<!-- The table is written by `LAB_WRITE=1 make lab-all`. -->";
const END: &str = "<!-- The end of the table. -->";
const BEGIN_DATAGRAMS: &str = "<!-- This table is written by `LAB_WRITE=1 make lab-udp`. -->";

/// Ctrl-C was pressed: no further path is begun.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// What became of a path.
enum Outcome {
    Right,
    /// With every reason.
    Wrong(Vec<String>),
    /// The machine can't do it.
    Skipped(String),
}

/// One line of the result.
struct Row {
    path: usize,
    outcome: Outcome,
    /// What was seen.
    seen: String,
    took: Duration,
}

/// Sees whether every path does what it claims.
///
/// # Panics
/// When one does not.
pub(crate) fn prove_all() {
    let paths = chosen();
    let rows = play(&paths, jobs(4), |path| {
        let made = path.make().map_err(Outcome::Skipped)?;
        let mut seen = Vec::new();
        for claim in &path.claims {
            match prove(*claim, &made) {
                Ok(what) => seen.push(what),
                Err(what) => return Err(Outcome::Wrong(vec![format!("{claim:?}: {what}")])),
            }
        }
        Ok((Outcome::Right, seen.join("; ")))
    });
    finish(&paths, &rows);
}

/// Sees whether a claim that makes a path a special one fails where nothing is the matter:
/// one that always held would prove nothing.
///
/// # Panics
/// When one does not.
pub(crate) fn disprove_all() {
    let paths = chosen();
    let rows = play(&paths, jobs(4), |path| {
        let made = path.make().map_err(Outcome::Skipped)?;
        let sound = unbroken(&made, path.options).map_err(Outcome::Skipped)?;
        drop(made);
        let special = path.claims.iter().filter(|claim| !claim.is_of_any_path());
        let mut seen = Vec::new();
        for claim in special {
            match prove(*claim, &sound) {
                Err(what) => seen.push(what),
                Ok(what) => return Err(Outcome::Wrong(vec![format!("{claim:?}: {what}")])),
            }
        }
        Ok((Outcome::Right, seen.join("; ")))
    });
    finish(&paths, &rows);
}

/// Checks every path of TCP, and compares what is said of it.
///
/// # Panics
/// When it is wrong of one.
pub(crate) fn check_all() {
    check(BEGIN, |path| !path.is_of_datagrams());
}

/// Checks every path of datagrams, and compares what is said of it.
///
/// # Panics
/// When it is wrong of one.
pub(crate) fn check_datagrams() {
    check(BEGIN_DATAGRAMS, Path::is_of_datagrams);
}

fn check(mark: &str, is_wanted: impl Fn(&Path) -> bool) {
    let mut paths = chosen();
    paths.retain(is_wanted);
    let rows = play(&paths, jobs(2), |path| {
        let made = path.make().map_err(Outcome::Skipped)?;
        let mut command = bound(env!("CARGO_BIN_EXE_echopool"));
        command.args(["check", &made.address.to_string(), "--json"]);
        command.args(path.options.split_whitespace());
        command.stdout(Stdio::piped());
        let (report, took) = report(made.client().start(command), path.bound + BEYOND)
            .map_err(|reason| Outcome::Wrong(vec![reason]))?;
        keep(path, &report);
        let wrong = compare(path, &report, took);
        let outcome = match wrong.is_empty() {
            true => Outcome::Right,
            false => Outcome::Wrong(wrong),
        };
        Ok((outcome, said(&report)))
    });
    println!("{}", table(&paths, &rows));
    let is_whole = std::env::var_os("LAB").is_none() && !STOPPED.load(Ordering::SeqCst);
    if std::env::var_os("LAB_WRITE").is_some() && is_whole {
        write_page(mark, &table(&paths, &rows));
    }
    finish(&paths, &rows);
}

/// All, or the quick ones, or those whose names are in `LAB` or have it in them.
fn chosen() -> Vec<Path> {
    let mut all = paths();
    let Ok(wanted) = std::env::var("LAB") else {
        return all;
    };
    let wanted: Vec<_> = match wanted.as_str() {
        quick::WORD => quick::QUICK.to_vec(),
        names => names
            .split([',', ' '])
            .filter(|name| !name.is_empty())
            .collect(),
    };
    let is_name = |word: &str| all.iter().any(|path| path.name == word);
    let (names, parts): (Vec<&str>, Vec<&str>) = wanted.iter().partition(|word| is_name(word));
    all.retain(|path| {
        names.contains(&path.name) || parts.iter().any(|part| path.name.contains(part))
    });
    let names = || paths().iter().map(|path| path.name).collect::<Vec<_>>();
    assert!(
        !all.is_empty(),
        "no path has such a name: {}",
        names().join(", ")
    );
    all
}

/// How many paths are played at once, for each processor.
fn jobs(each: usize) -> usize {
    let jobs = std::env::var("LAB_JOBS").ok().map(|jobs| jobs.parse());
    let jobs = jobs.map(|jobs| jobs.expect("LAB_JOBS is a number"));
    jobs.unwrap_or_else(|| each * available_parallelism().map_or(1, usize::from))
}

/// How many times the bound a check may take, on a machine that has other work.
fn slack() -> f64 {
    let slack = std::env::var("LAB_SLACK").ok().map(|slack| slack.parse());
    slack.map_or(1.0, |slack| slack.expect("LAB_SLACK is a number"))
}

type Played = Result<(Outcome, String), Outcome>;

/// Plays those that may run beside others, and then those that may not.
fn play(paths: &[Path], jobs: usize, run: impl Fn(&Path) -> Played + Sync) -> Vec<Row> {
    raise_open_files();
    sweep();
    // A second one ends the program, and the kernel all that it has started.
    let _ = ctrlc::set_handler(|| {
        if STOPPED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    let rows = Mutex::new(Vec::new());
    let one = |number: usize| {
        let path = &paths[number];
        let started = Instant::now();
        let played = catch_unwind(AssertUnwindSafe(|| run(path)));
        let took = started.elapsed();
        let (outcome, seen) = match played {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(outcome)) => (outcome, String::new()),
            Err(panic) => (Outcome::Wrong(vec![words_of(&*panic)]), String::new()),
        };
        let row = Row {
            path: number,
            outcome,
            seen,
            took,
        };
        println!("{}", line(path, &row));
        rows.lock().unwrap().push(row);
    };
    let (alone, beside): (Vec<usize>, Vec<usize>) =
        (0..paths.len()).partition(|number| paths[*number].alone);
    let next = AtomicUsize::new(0);
    scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(number) = beside.get(next.fetch_add(1, Ordering::SeqCst))
                    && !STOPPED.load(Ordering::SeqCst)
                {
                    one(*number);
                }
            });
        }
    });
    for number in alone {
        if !STOPPED.load(Ordering::SeqCst) {
            one(number);
        }
    }
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|row| row.path);
    rows
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic".into())
}

fn line(path: &Path, row: &Row) -> String {
    let (verdict, seen) = match &row.outcome {
        Outcome::Right => ("ok   ", row.seen.clone()),
        Outcome::Wrong(reasons) => ("WRONG", format!("{} [{}]", reasons.join("; "), row.seen)),
        Outcome::Skipped(reason) => ("skip ", reason.clone()),
    };
    let took = row.took.as_secs_f64();
    format!("{verdict} {:26} {took:5.1} s  {seen}", path.name)
}

/// Says how it went.
///
/// # Panics
/// When a path is wrong; with `LAB_STRICT` also when one was skipped.
fn finish(paths: &[Path], rows: &[Row]) {
    let names = |wanted: fn(&Outcome) -> bool| {
        let some = rows.iter().filter(|row| wanted(&row.outcome));
        some.map(|row| paths[row.path].name).collect::<Vec<_>>()
    };
    let wrong = names(|outcome| matches!(outcome, Outcome::Wrong(_)));
    let skipped = names(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let right = rows.len() - wrong.len() - skipped.len();
    println!(
        "{right} right, {} wrong, {} skipped",
        wrong.len(),
        skipped.len()
    );
    assert!(!STOPPED.load(Ordering::SeqCst), "interrupted");
    assert!(wrong.is_empty(), "wrong: {}", wrong.join(", "));
    let strict = std::env::var_os("LAB_STRICT").is_some();
    assert!(
        !strict || skipped.is_empty(),
        "skipped: {}",
        skipped.join(", ")
    );
}

/// Reads the report of a check, which is killed at the deadline.
fn report(mut program: Program, deadline: Duration) -> Result<(Value, Duration), String> {
    let mut stdout = program.child.stdout.take().expect("a pipe");
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes);
        bytes
    });
    let started = Instant::now();
    loop {
        match program.child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if STOPPED.load(Ordering::SeqCst) => return Err("interrupted".into()),
            Ok(None) if started.elapsed() < deadline => sleep(Duration::from_millis(5)),
            Ok(None) => return Err(format!("still running after {deadline:?}")),
            Err(error) => return Err(error.to_string()),
        }
    }
    let took = started.elapsed();
    let bytes = reader.join().expect("no panic");
    let report = serde_json::from_slice(&bytes);
    let report = report.map_err(|error| format!("no report: {error}: {:?}", program.log))?;
    Ok((report, took))
}

/// Writes the report into the folder that `LAB_REPORTS` names, if it does.
fn keep(path: &Path, report: &Value) {
    if let Some(folder) = std::env::var_os("LAB_REPORTS") {
        let file = std::path::Path::new(&folder).join(format!("{}.json", path.name));
        fs::write(file, format!("{report:#}")).expect("to write the report");
    }
}

/// The causes that were named; none by a program that knows of none.
fn diagnosis(report: &Value) -> &[Value] {
    let causes = report["diagnosis"].as_array();
    causes.map_or(&[], Vec::as_slice)
}

fn texts(values: &Value) -> Vec<&str> {
    let values = values.as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

/// The clauses that failed.
fn failed(report: &Value) -> Vec<&str> {
    let clauses = report["clauses"].as_array().into_iter().flatten();
    let failed = clauses.filter(|clause| clause["verdict"] == "fail");
    failed
        .filter_map(|clause| clause["name"].as_str())
        .collect()
}

/// All that is wrong with what was said of a path.
fn compare(path: &Path, report: &Value, took: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    let (said, failed) = (diagnosis(report), failed(report));
    let bound = path.bound.mul_f64(slack());
    if took > bound {
        wrong.push(format!("took {took:.1?} of {bound:?}"));
    }
    if path.is_healthy() {
        if !failed.is_empty() {
            wrong.push(format!("a healthy path fails {}", failed.join(", ")));
        }
        if report["passed"] == 0 {
            wrong.push("nothing passed".into());
        }
    }
    for expected in &path.causes {
        wrong.extend(compare_cause(expected, said));
    }
    let is_expected = |name: &str| path.causes.iter().any(|one| one.cause.contains(&name));
    let mut explained = HashSet::new();
    let mut before = usize::MAX;
    for cause in said {
        let name = cause["cause"].as_str().unwrap_or("no name");
        if !is_expected(name) {
            wrong.push(format!("{name} is named"));
        }
        let explains = texts(&cause["explains"]);
        if explains.len() > before {
            wrong.push(format!("{name} explains more than the one before it"));
        }
        before = explains.len();
        explained.extend(explains);
        wrong.extend(malformed(name, cause));
    }
    let open: Vec<_> = failed
        .into_iter()
        .filter(|name| !explained.contains(name))
        .collect();
    if !said.is_empty() && !open.is_empty() {
        wrong.push(format!("nothing explains {}", open.join(", ")));
    }
    wrong
}

/// What a cause must have, whatever it is.
fn malformed(name: &str, cause: &Value) -> Vec<String> {
    let is_text = |key: &str| cause[key].as_str().is_some_and(|text| !text.is_empty());
    let mut wrong: Vec<_> = ["text", "advice"]
        .into_iter()
        .filter(|key| !is_text(key))
        .map(|key| format!("{name} has no {key}"))
        .collect();
    if !matches!(cause["confidence"].as_str(), Some("certain" | "likely")) {
        wrong.push(format!("{name} has the confidence {}", cause["confidence"]));
    }
    wrong
}

/// What is wrong with one cause that must be named.
fn compare_cause(expected: &Expected, said: &[Value]) -> Vec<String> {
    let is_it = |cause: &&Value| {
        let name = cause["cause"].as_str();
        name.is_some_and(|name| expected.cause.contains(&name))
    };
    let Some(cause) = said.iter().find(is_it) else {
        return vec![format!("{} is not named", expected.cause.join(" or "))];
    };
    let mut wrong = Vec::new();
    if expected.is_certain && cause["confidence"] == "likely" {
        wrong.push(format!("{} is only likely", expected.cause.join(" or ")));
    }
    for (key, bound) in &expected.evidence {
        let value = &cause["evidence"][key];
        let is_right = match bound {
            Bound::Within(low, high) => {
                let value = value.as_f64();
                value.is_some_and(|value| (*low..=*high).contains(&value))
            }
            Bound::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Bound::Present => !value.is_null(),
            Bound::Absent => value.is_null(),
        };
        if !is_right {
            wrong.push(format!("{key} is {value}, not {}", words_of_bound(bound)));
        }
    }
    wrong
}

fn words_of_bound(bound: &Bound) -> String {
    match bound {
        Bound::Within(low, high) if low == high => figure(*low),
        Bound::Within(low, high) => format!("{} to {}", figure(*low), figure(*high)),
        Bound::OneOf(words) => words.join(" or "),
        Bound::Present => "anything".into(),
        Bound::Absent => "nothing".into(),
    }
}

/// A figure without what arithmetic adds to it behind its third decimal.
fn figure(value: f64) -> String {
    ((value * 1000.0).round() / 1000.0).to_string()
}

/// What must be said of a path, on one line.
fn wanted(path: &Path) -> String {
    if path.is_healthy() {
        return "healthy".into();
    }
    let causes = path.causes.iter().map(|expected| {
        let evidence = expected.evidence.iter();
        let evidence = evidence.map(|(key, bound)| format!(" {key} {}", words_of_bound(bound)));
        let evidence: Vec<_> = evidence.collect();
        let sure = if expected.is_certain { "" } else { " (likely)" };
        format!(
            "{}{sure}{}",
            expected.cause.join(" or "),
            evidence.join(",")
        )
    });
    causes.collect::<Vec<_>>().join("; ")
}

/// What was said, on one line.
fn said(report: &Value) -> String {
    let causes = diagnosis(report).iter().map(|cause| {
        let evidence = cause["evidence"].as_object().into_iter().flatten();
        let evidence = evidence.map(|(key, value)| match value.as_str() {
            Some(text) => format!(" {key} {text}"),
            None => format!(" {key} {value}"),
        });
        let evidence: Vec<_> = evidence.collect();
        let name = cause["cause"].as_str().unwrap_or("no name");
        let sure = match cause["confidence"].as_str() {
            Some("likely") => " (likely)",
            _ => "",
        };
        format!("{name}{sure}{}", evidence.join(","))
    });
    let causes: Vec<_> = causes.collect();
    let failed = failed(report);
    match (causes.is_empty(), failed.is_empty()) {
        (true, true) => "healthy".into(),
        (true, false) => format!("no cause; fails {}", failed.join(", ")),
        _ => causes.join("; "),
    }
}

/// The results as a table of a Markdown page.
fn table(paths: &[Path], rows: &[Row]) -> String {
    let mut table = String::from(
        "| path | made by | expected | said | time, of at most | |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let path = &paths[row.path];
        let verdict = match &row.outcome {
            Outcome::Right => "ok",
            Outcome::Wrong(_) => "**wrong**",
            Outcome::Skipped(_) => "skipped",
        };
        let what = match path.options {
            "" => path.what.clone(),
            options => format!("{}; `{options}`", path.what),
        };
        let _ = writeln!(
            table,
            "| `{}` | {what} | {} | {} | {:.1} s, {} s | {verdict} |",
            path.name,
            wanted(path),
            row.seen.replace('|', "\\|"),
            row.took.as_secs_f64(),
            path.bound.as_secs(),
        );
    }
    table
}

/// The page with the table in the place of the last one.
///
/// # Panics
/// Where the page has no such place.
fn placed(page: &str, mark: &str, table: &str) -> String {
    let (before, rest) = page.split_once(mark).expect("the page has its mark");
    let (_, after) = rest.split_once(END).expect("the page has its end mark");
    format!("{before}{mark}\n\n{table}\n{END}{after}")
}

fn write_page(mark: &str, table: &str) {
    let page = fs::read_to_string(PAGE).unwrap_or_else(|_| {
        format!("# What `echopool check` says of broken paths\n\n{mark}\n{END}\n")
    });
    fs::write(PAGE, placed(&page, mark, table)).expect("to write it");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(name: &str) -> Path {
        let mut paths = paths();
        paths.retain(|path| path.name == name);
        paths.pop().unwrap()
    }

    fn report(diagnosis: &Value) -> Value {
        let clause = |name| json!({"name": name, "verdict": "fail"});
        json!({"passed": 3, "clauses": [clause("bytes"), clause("urgent")], "diagnosis": diagnosis})
    }

    /// What is wrong with that diagnosis of a black hole of 1,280 bytes.
    fn of_black_hole(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut diagnosis = json!([{
            "cause": "mtu-black-hole", "text": "packets are lost", "advice": "clamp the MSS",
            "confidence": "certain", "explains": ["bytes", "urgent"],
            "evidence": {"packet_bytes": 1280, "direction": "both"},
        }]);
        change(&mut diagnosis);
        compare(
            &path("black-hole-1280"),
            &report(&diagnosis),
            Duration::ZERO,
        )
    }

    #[test]
    fn what_the_table_says_is_right() {
        assert_eq!(of_black_hole(|_| ()), [""; 0]);
    }

    #[test]
    fn whatever_differs_from_the_table_is_wrong() {
        let differs = |change: fn(&mut Value)| of_black_hole(change).join("; ");
        let other = differs(|said| said[0]["cause"] = "loss".into());
        assert_eq!(other, "mtu-black-hole is not named; loss is named");
        let size = differs(|said| said[0]["evidence"]["packet_bytes"] = 1279.into());
        assert_eq!(size, "packet_bytes is 1279, not 1280");
        let direction = differs(|said| said[0]["evidence"]["direction"] = "to-client".into());
        assert_eq!(direction, "direction is \"to-client\", not both");
        let missing = differs(|said| said[0]["evidence"] = json!({"direction": "both"}));
        assert_eq!(missing, "packet_bytes is null, not 1280");
        let open = differs(|said| said[0]["explains"] = json!(["bytes"]));
        assert_eq!(open, "nothing explains urgent");
        let unsure = differs(|said| said[0]["confidence"] = "maybe".into());
        assert_eq!(unsure, "mtu-black-hole has the confidence \"maybe\"");
        let likely = differs(|said| said[0]["confidence"] = "likely".into());
        assert_eq!(likely, "mtu-black-hole is only likely");
        let silent = differs(|said| said[0]["advice"] = "".into());
        assert_eq!(silent, "mtu-black-hole has no advice");
        let none = differs(|said| *said = json!([]));
        assert_eq!(none, "mtu-black-hole is not named");
        let more = differs(|said| {
            let again = said[0].clone();
            said[0]["explains"] = json!([]);
            said.as_array_mut().unwrap().push(again);
        });
        assert_eq!(more, "mtu-black-hole explains more than the one before it");
    }

    #[test]
    fn the_table_takes_the_place_of_the_last_one() {
        let page = |table: &str| format!("before\n{BEGIN}\n\n{table}\n{END}\nafter\n");
        assert_eq!(
            placed(&page("| old |\n"), BEGIN, "| new |\n"),
            page("| new |\n")
        );
    }

    #[test]
    fn a_row_of_the_table_has_what_was_expected_and_said() {
        let paths = [path("idle-2s-reset")];
        let row = Row {
            path: 0,
            outcome: Outcome::Right,
            seen: "idle-limit alive_s 1.9".into(),
            took: Duration::from_millis(12_340),
        };
        let table = table(&paths, &[row]);
        let expected = "| `idle-2s-reset` | nft forgets what is silent for 2 s, and resets; \
                        `--idle 5s` | idle-limit alive_s 0.4 to 2.04, dead_s 1.96 to 4, ends_by \
                        reset | idle-limit alive_s 1.9 | 12.3 s, 45 s | ok |";
        assert_eq!(table.lines().last(), Some(expected));
    }

    #[test]
    fn a_bound_has_no_more_decimals_than_it_was_given() {
        for (bound, text) in [
            (Bound::Within(1.1 * 100_000.0, 3.0 * 0.8), "110000 to 2.4"),
            (Bound::Within(0.2 * 3.0, 0.98 * 3.0), "0.6 to 2.94"),
            (Bound::Within(1280.0, 1280.0), "1280"),
        ] {
            assert_eq!(words_of_bound(&bound), text);
        }
    }

    #[test]
    fn a_late_or_healthy_path_that_fails_is_wrong() {
        let healthy = path("plain");
        let passed = json!({"passed": 3, "clauses": [], "diagnosis": []});
        let compared =
            |report: &Value, seconds| compare(&healthy, report, Duration::from_secs(seconds));
        assert_eq!(compared(&passed, 5), [""; 0]);
        assert_eq!(compared(&passed, 6), ["took 6.0s of 5s"]);
        let unexplained = report(&json!([]));
        let failed = compared(&unexplained, 0);
        assert_eq!(failed, ["a healthy path fails bytes, urgent"]);
        let nothing = json!({"passed": 0, "clauses": [], "diagnosis": []});
        assert_eq!(compared(&nothing, 0), ["nothing passed"]);
    }
}
