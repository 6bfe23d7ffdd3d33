//! The admin socket: metrics, health and page, and that its HTTP clients delay no echo.
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::http::{admin_of, answer, ask, get, metrics};
use common::serve::{
    PROMPT, descriptors, failed_accepts, limit_descriptors, processor_time, serve, stop, suspend,
};
use common::{
    Over, Program, connect, connect_narrow, expect, expect_end, fill, finish, full_duplex, pour,
    read_to_end, round_trip, wait_for_reset, wait_until,
};
use rustix::process::Signal;

/// Starts the program with an echo listener and an admin socket of its own.
fn administered(arguments: &[&str]) -> (Program, SocketAddr, SocketAddr) {
    let all = [&["--admin", "127.0.0.1:0"], arguments].concat();
    let (mut program, echo) = serve(&all);
    let admin = admin_of(&mut program);
    (program, echo, admin)
}

/// What `/healthz` and `/readyz` say.
fn health(admin: SocketAddr) -> [(u16, String); 2] {
    ["/healthz", "/readyz"].map(|path| {
        let answer = get(admin, path);
        (answer.code, answer.body)
    })
}

/// What the page shows.
fn status(admin: SocketAddr) -> serde_json::Value {
    serde_json::from_str(&get(admin, "/status.json").body).unwrap()
}

fn ok() -> (u16, String) {
    (200, String::from("ok\n"))
}

fn unavailable(why: &str) -> (u16, String) {
    (503, format!("{why}\n"))
}

mod the_metrics {
    use super::*;

    #[test]
    fn count_every_connection_and_byte_and_their_worker() {
        let (_program, echo, admin) = administered(&["--workers", "2", "--max-per-source", "3"]);
        let mut clients: Vec<_> = (0..3).map(|_| connect(echo)).collect();
        for (client, length) in clients.iter_mut().zip([1, 20, 3_000]) {
            round_trip(client, &vec![b'x'; length]);
        }
        assert_eq!(
            read_to_end(&mut connect(echo)),
            b"",
            "the fourth is refused"
        );
        // A client has its echo before the worker has counted it.
        wait_until("the last echo to be counted", || {
            let samples = metrics(admin);
            samples["echopool_echoed_bytes_total"] >= 3_021.0
                && samples["echopool_echo_turns_total"] >= 3.0
                && samples["echopool_first_echo_seconds_count"] >= 3.0
        });
        let samples = metrics(admin);
        let of = |name: &str| samples[&format!("echopool_{name}")];
        assert_eq!(of("connections_open"), 3.0);
        assert_eq!(of("connections_accepted_total"), 4.0);
        assert_eq!(of("connections_refused_total{reason=\"source\"}"), 1.0);
        assert_eq!(of("echoed_bytes_total"), 3_021.0);
        assert!(of("echo_turns_total") >= 3.0);
        assert_eq!(of("first_echo_seconds_count"), 3.0);
        assert_eq!(of("first_echo_seconds_bucket{le=\"+Inf\"}"), 3.0);
        assert!(of("first_echo_seconds_sum") > 0.0);
        assert_eq!(of("state{state=\"serving\"}"), 1.0);
        for (name, suffix) in [
            ("connections_open", ""),
            ("echoed_bytes", "_total"),
            ("echo_turns", "_total"),
        ] {
            let each = [0, 1].map(|id| of(&format!("worker_{name}{suffix}{{worker=\"{id}\"}}")));
            assert_eq!(each[0] + each[1], of(&format!("{name}{suffix}")), "{name}");
            assert!(
                each[0].min(each[1]) > 0.0,
                "both have clients: {name} {each:?}"
            );
        }
        assert!(of("worker_cpu_seconds_total{worker=\"0\"}") > 0.0);
        drop(clients);
        wait_until("the clients to be gone", || {
            metrics(admin)["echopool_connections_open"] == 0.0
        });
    }

    #[test]
    fn count_clients_behind_a_load_balancer_like_others() {
        for options in [&[][..], &["--proxy-protocol"]] {
            let all = [&["--workers", "1", "--max-per-source", "2"], options].concat();
            let (_program, echo, admin) = administered(&all);
            let connect = || {
                let mut client = connect(echo);
                if !options.is_empty() {
                    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 7\r\n";
                    client.write_all(header).unwrap();
                }
                client
            };
            let mut clients = [(); 2].map(|()| connect());
            clients.iter_mut().for_each(|one| round_trip(one, b"hello"));
            for _ in 0..5 {
                assert_eq!(read_to_end(&mut connect()), b"", "a third is refused");
            }
            wait_until("those who are refused to be gone", || {
                metrics(admin)["echopool_connections_open"] == 2.0
            });
            let samples = metrics(admin);
            let of = |name: &str| samples[&format!("echopool_{name}")];
            assert_eq!(of("connections_accepted_total"), 7.0, "{options:?}");
            assert_eq!(of("connections_refused_total{reason=\"source\"}"), 5.0);
            assert_eq!(of("worker_connections_total{worker=\"0\"}"), 2.0);
        }
    }

    #[test]
    fn count_evicted_clients_and_the_page_lists_the_latest() {
        let (_program, echo, admin) = administered(&["--idle-timeout", "200ms"]);
        let mut clients = [(); 2].map(|()| connect(echo));
        let addresses = clients.each_ref().map(|one| one.local_addr().unwrap());
        clients.iter_mut().for_each(expect_end);
        let samples = metrics(admin);
        assert_eq!(
            samples["echopool_connections_evicted_total{reason=\"idle\"}"],
            2.0
        );
        let json = status(admin);
        assert_eq!(json["evicted"]["idle"], 2);
        assert_eq!(json["refused"]["source"], 0);
        let latest = json["latest"].as_array().unwrap();
        let named: BTreeSet<_> = latest
            .iter()
            .map(|one| one["address"].as_str().unwrap())
            .collect();
        let addresses = addresses.map(|address| address.to_string());
        assert_eq!(named, addresses.iter().map(String::as_str).collect());
        assert!(
            latest.iter().all(|one| one["reason"] == "idle"),
            "{latest:?}"
        );
    }

    #[test]
    fn count_how_often_accepting_paused_because_descriptors_ran_out() {
        let (mut program, echo, admin) = administered(&["--workers", "1"]);
        assert_eq!(metrics(admin)["echopool_accept_pauses_total"], 0.0);
        limit_descriptors(&program, descriptors(program.child.id()) as u64);
        // One of them may get the descriptor that the request above has freed.
        let mut clients: Vec<_> = (0..3).map(|_| connect(echo)).collect();
        for _ in 0..2 {
            program.wait_for("could not accept on");
        }
        limit_descriptors(&program, 1_000);
        clients.iter_mut().for_each(|c| round_trip(c, b"hello"));
        let samples = metrics(admin);
        let pauses = samples["echopool_accept_pauses_total"];
        // The log leaves out what came after its latest line.
        let logged = failed_accepts(&program);
        assert!(pauses >= logged as f64, "{pauses} of {logged}");
        assert_eq!(samples["echopool_connections_accepted_total"], 3.0);
        assert_eq!(status(admin)["accept_pauses"], pauses);
        // That was all of it.
        assert_eq!(metrics(admin)["echopool_accept_pauses_total"], pauses);
    }

    /// The families of the text, each as `name type`.
    fn families(text: &str) -> BTreeSet<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(String::from).collect()
    }

    #[test]
    fn hold_all_that_is_documented_from_the_start_and_nothing_else() {
        let (_program, _, admin) = administered(&["--workers", "2"]);
        let answer = get(admin, "/metrics");
        let kind = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        assert!(answer.head.contains(kind), "{}", answer.head);
        let text = answer.body;
        // As in the table: | `name` | type | ...
        let page = include_str!("../docs/admin.md");
        let rows = page.lines().filter(|line| line.starts_with("| `echopool_"));
        let documented = rows.map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let name = cells.next().unwrap().trim_matches('`');
            let name = name.split('{').next().unwrap();
            let kind = cells.next().unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            format!("{} {kind}", name.strip_suffix(suffix).unwrap())
        });
        assert_eq!(families(&text), documented.collect());
        // And | `reason` | refused | ...
        let reasons = page.lines().filter_map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let reason = cells.next()?.trim_matches('`');
            let verb = cells.next()?;
            let family = match verb {
                "refused" | "evicted" => format!("connections_{verb}"),
                "datagram" => String::from("datagrams_refused"),
                _ => return None,
            };
            Some(format!("echopool_{family}_total{{reason=\"{reason}\"}} 0"))
        });
        let counted = text.lines().filter(|line| line.contains("{reason="));
        let counted: BTreeSet<_> = counted.map(String::from).collect();
        assert_eq!(counted, reasons.collect());
    }

    /// The metrics as `accept` wants them.
    fn accepted(admin: SocketAddr, accept: &str) -> common::http::Answer {
        let request = format!("GET /metrics HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
        ask(admin, request.as_bytes()).unwrap()
    }

    const OLDER: &str = "text/plain;version=0.0.4";

    #[test]
    fn have_the_format_that_the_client_accepts() {
        let (_program, _, admin) = administered(&["--workers", "2"]);
        for (accept, kind) in [
            ("*/*", "application/openmetrics-text; version=1.0.0"),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
                "application/open",
            ),
            ("application/json", "application/openmetrics-text"),
            (OLDER, "text/plain; version=0.0.4; charset=utf-8\r\n"),
            ("text/plain", "text/plain; version=0.0.4"),
            (
                "application/openmetrics-text;q=0.2, text/plain;q=0.3",
                "text/plain; version=0.0.4",
            ),
        ] {
            let answer = accepted(admin, accept);
            let header = format!("Content-Type: {kind}");
            assert!(answer.head.contains(&header), "{accept}: {}", answer.head);
            let is_open_metrics = kind.starts_with("application/");
            assert_eq!(
                answer.body.ends_with("\n# EOF\n"),
                is_open_metrics,
                "{accept}"
            );
        }
        let body = accepted(admin, OLDER).body;
        let same = |text: &str| -> BTreeSet<_> {
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            let names = samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
            names.collect()
        };
        assert_eq!(same(&body), same(&get(admin, "/metrics").body));
        for line in [
            "# TYPE echopool_connections_accepted_total counter",
            "# TYPE echopool_build_info gauge",
            "# TYPE echopool_first_echo_seconds histogram",
            "# HELP echopool_echoed_bytes_total Bytes sent back.",
        ] {
            assert!(body.lines().any(|one| one == line), "no {line} in {body}");
        }
        assert!(!body.contains("# UNIT"), "{body}");
    }

    /// With the parser of Prometheus' own Python client.
    #[test]
    #[ignore = "needs prometheus_client of Python"]
    fn are_accepted_by_a_parser_of_the_older_format() {
        let (_program, echo, admin) = administered(&["--workers", "3"]);
        round_trip(&mut connect(echo), b"hello");
        let text = accepted(admin, OLDER).body;
        let read = read_by("prometheus_client.parser", &text);
        // It leaves the suffix of a counter out of the family's name.
        let kinds = families(&get(admin, "/metrics").body)
            .into_iter()
            .map(|family| family.replace("echopool_build info", "echopool_build_info gauge"));
        assert_eq!(
            read.keys().cloned().collect::<BTreeSet<_>>(),
            kinds.collect()
        );
        assert_eq!(read["echopool_worker_cpu_seconds counter"], 3);
        assert_eq!(read["echopool_first_echo_seconds histogram"], 15 + 2);
    }

    /// How many samples a parser finds in each family, as `name type`.
    fn read_by(parser: &str, text: &str) -> std::collections::BTreeMap<String, u64> {
        let script = format!(
            "import json, sys
from {parser} import text_string_to_metric_families as families
read = {{}}
for family in families(sys.stdin.read()):
    read[f'{{family.name}} {{family.type}}'] = len(family.samples)
json.dump(read, sys.stdout)"
        );
        let mut python = std::process::Command::new("python3");
        python.args(["-c", &script]);
        python
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut python = Program::spawn(python);
        let mut input = python.child.stdin.take().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        drop(input);
        let ended = common::end(python);
        assert_eq!(ended.code, Some(0), "{}{text}", ended.stderr);
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// With the parser of Prometheus' own Python client, which is strict.
    #[test]
    #[ignore = "needs prometheus_client of Python"]
    fn are_accepted_by_a_strict_parser() {
        let (_program, echo, admin) = administered(&["--workers", "3"]);
        round_trip(&mut connect(echo), b"hello");
        let text = get(admin, "/metrics").body;
        let read = read_by("prometheus_client.openmetrics.parser", &text);
        assert_eq!(
            read.keys().cloned().collect::<BTreeSet<_>>(),
            families(&text)
        );
        assert_eq!(read["echopool_worker_cpu_seconds counter"], 3);
        assert_eq!(read["echopool_first_echo_seconds histogram"], 15 + 2);
    }
}

mod every_limit {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::thread::JoinHandle;

    use echopool::admin::{Admin, AdminThread};
    use echopool::base::open_files::raise_open_files;
    use echopool::proto::Protocol;
    use echopool::server::error::Error;
    use echopool::server::{Config, Listener, Report, Stop};
    use echopool::worker::eviction::Reason;

    use super::*;

    /// As the metrics call each [`Reason`], by its number.
    const WORDS: [&str; Reason::ALL.len()] = [
        "source", "header", "message", "idle", "stalled", "lifetime", "shed", "vanished",
    ];

    /// A server in this process with every limit set.
    struct Strict {
        echo: SocketAddr,
        counted: SocketAddr,
        /// Its clients need a PROXY header.
        behind_proxy: SocketAddr,
        admin: SocketAddr,
        _admin_thread: AdminThread,
        stop: Stop,
        running: JoinHandle<Result<Report, Error>>,
        /// How many clients have connected.
        clients: Cell<u64>,
    }

    impl Strict {
        fn start() -> Self {
            let config = Config {
                workers: 2,
                max_per_source: Some(3),
                message_time: Duration::from_millis(200),
                stall_timeout: Some(Duration::from_millis(500)),
                idle_timeout: Some(Duration::from_millis(800)),
                max_lifetime: Some(Duration::from_secs(1)),
                memory_limit: Some(1 << 20),
                ..Config::default()
            };
            raise_open_files();
            let localhost = "127.0.0.1:0".parse().unwrap();
            let bind = |protocol| Listener::bind(protocol, &localhost, 128).unwrap().remove(0);
            let listeners = vec![
                bind(Protocol::Echo),
                bind(Protocol::Counted),
                bind(Protocol::Echo).behind_proxy(),
            ];
            let [echo, counted, behind_proxy] = [0, 1, 2].map(|at: usize| listeners[at].address());
            let socket = Admin::bind(&localhost).unwrap();
            let admin = socket.address();
            let stop = Stop::new();
            let mut server = echopool::server::Server::start(listeners, &config).unwrap();
            let admin_thread = socket.start(server.status()).unwrap();
            let running = thread::spawn({
                let stop = stop.clone();
                move || server.run(&stop)
            });
            Self {
                echo,
                counted,
                behind_proxy,
                admin,
                _admin_thread: admin_thread,
                stop,
                running,
                clients: Cell::default(),
            }
        }

        fn connect(&self, to: SocketAddr) -> TcpStream {
            self.clients.set(self.clients.get() + 1);
            connect_narrow(to)
        }

        /// A client that says this, and no more, until it is ended.
        fn say(&self, to: SocketAddr, bytes: &[u8]) {
            let mut client = self.connect(to);
            let _ = client.write_all(bytes);
            wait_for_end(&mut client);
        }

        /// Some clients that are all ended, and at least one of them by this limit,
        /// unless the machine is so busy that others come first.
        fn provoke(&self, reason: Reason) {
            match reason {
                Reason::Source => {
                    let mut crowd = [(); 4].map(|()| self.connect(self.echo));
                    crowd.iter_mut().for_each(wait_for_end);
                }
                Reason::Header => self.say(self.behind_proxy, b"hello"),
                Reason::Message => self.say(self.counted, b"no end"),
                Reason::Idle => self.say(self.echo, b"hello"),
                Reason::Stalled => {
                    let mut client = self.connect(self.echo);
                    let _ = client.write_all(&[7; 100_000]);
                    wait_for_reset(&client);
                }
                Reason::Lifetime => {
                    let mut client = self.connect(self.echo);
                    let mut talk = || client.write_all(b"x").and_then(|()| client.read(&mut [0]));
                    while talk().is_ok_and(|bytes| bytes > 0) {}
                }
                Reason::Shed => {
                    let crowd = [(); 3].map(|()| self.connect(self.echo));
                    crowd.iter().for_each(pour);
                    crowd.iter().for_each(wait_for_reset);
                }
                // The other limits end a client before six seconds are over.
                Reason::Vanished => {}
            }
        }
    }

    /// Reads until the server has ended the connection, in whichever way.
    fn wait_for_end(client: &mut TcpStream) {
        while client.read(&mut [0; 1024]).is_ok_and(|bytes| bytes > 0) {}
    }

    /// How many clients came up against each limit: as `(refused, source)` and the like.
    fn turned_away(samples: &BTreeMap<String, f64>) -> BTreeMap<(&str, &str), f64> {
        let counts = samples.iter().filter_map(|(sample, &count)| {
            let rest = sample.strip_prefix("echopool_connections_")?;
            let (verb, rest) = rest.split_once("_total{reason=\"")?;
            Some(((verb, rest.strip_suffix("\"}")?), count))
        });
        counts.collect()
    }

    /// How many clients came up against one limit.
    fn count(samples: &BTreeMap<String, f64>, reason: Reason) -> f64 {
        let mut all = turned_away(samples).into_iter();
        let its = all.find(|((_, word), _)| *word == WORDS[reason as usize]);
        its.unwrap().1
    }

    #[test]
    fn is_counted_alike_in_the_metrics_on_the_page_and_in_the_closing_report() {
        let server = Strict::start();
        let provoked = Reason::ALL.into_iter();
        for reason in provoked.filter(|&reason| reason != Reason::Vanished) {
            wait_until(WORDS[reason as usize], || {
                let is_counted = count(&metrics(server.admin), reason) > 0.0;
                if !is_counted {
                    server.provoke(reason);
                }
                is_counted
            });
        }
        wait_until("the last to be gone", || {
            metrics(server.admin)["echopool_connections_open"] == 0.0
        });
        let (samples, shown) = (metrics(server.admin), status(server.admin));
        server.stop.request();
        let report = server.running.join().unwrap().unwrap();
        for ((verb, word), count) in turned_away(&samples) {
            assert_eq!(shown[verb][word], count, "{verb} {word}");
        }
        for reason in Reason::ALL {
            let reported = report.evicted().of(reason) as f64;
            assert_eq!(count(&samples, reason), reported, "{reason}");
        }
        // Each of them was ended by one limit.
        let clients = server.clients.get();
        assert_eq!(report.evicted().sum(), clients);
        assert_eq!(
            samples["echopool_connections_accepted_total"],
            clients as f64
        );
        assert_eq!(shown["accepted"], clients);
        assert_eq!(
            samples["echopool_echoed_bytes_total"],
            report.bytes() as f64
        );
        assert_eq!(shown["echoed_bytes"], report.bytes());
    }
}

mod health_is {
    use super::*;

    #[test]
    fn not_ready_while_all_places_are_taken_but_healthy() {
        let (_program, echo, admin) = administered(&["--max-connections", "1"]);
        assert_eq!(health(admin), [ok(), ok()]);
        let mut client = connect(echo);
        round_trip(&mut client, b"the only place");
        assert_eq!(
            health(admin),
            [ok(), unavailable("all connections are in use")]
        );
        drop(client);
        wait_until("the place to be free", || health(admin) == [ok(), ok()]);
    }

    /// Whether memory is short, by the readiness, the page and the metrics.
    fn shortness(admin: SocketAddr) -> [bool; 3] {
        [
            health(admin) == [ok(), unavailable("memory is short: --memory-limit")],
            status(admin)["memory_short"] == "--memory-limit",
            metrics(admin)["echopool_memory_short"] == 1.0,
        ]
    }

    /// Clients that send as much as they can and take a little of it now and then. So they
    /// are not shed, and what they hold stays what it is.
    fn hoard(echo: SocketAddr, over: &AtomicBool) {
        let hoarder = || {
            let stream = connect_narrow(echo);
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let mut hoarders = [(); 4].map(|()| hoarder());
        while !over.load(Ordering::SeqCst) {
            for stream in &mut hoarders {
                while stream.write(&[7; 64 * 1024]).is_ok() {}
                match stream.read(&mut [0; 16 * 1024]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(1..) => {}
                    // The machine was too busy to let it take anything in time.
                    _ => *stream = hoarder(),
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn not_ready_while_memory_is_short_and_ready_when_it_is_free_again() {
        let (_program, echo, admin) = administered(&["--memory-limit", "1MiB", "--workers", "1"]);
        assert_eq!(shortness(admin), [false; 3]);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| hoard(echo, &over));
            let _over = Over(&over);
            wait_until("memory to be short", || shortness(admin) == [true; 3]);
        });
        wait_until("memory to be free again", || {
            shortness(admin) == [false; 3] && health(admin) == [ok(), ok()]
        });
        round_trip(&mut connect(echo), b"accepted again");
    }

    #[test]
    fn not_ready_as_a_lame_duck_that_serves_on_and_in_the_drain_behind_it() {
        let (mut program, echo, admin) =
            administered(&["--lame-duck", "5s", "--grace", "60s", "--workers", "1"]);
        let mut before = connect_narrow(echo);
        let pending = fill(&mut before, 7);
        assert_eq!(health(admin), [ok(), ok()]);
        program.signal(Signal::TERM);
        let lame = [ok(), unavailable("the server is about to stop")];
        wait_until("the server to be a lame duck", || health(admin) == lame);
        round_trip(&mut connect(echo), b"new, and served");
        assert_eq!(metrics(admin)["echopool_state{state=\"lame_duck\"}"], 1.0);
        // A client's pending echo keeps the drain going.
        let draining = [ok(), unavailable("the server is stopping")];
        wait_until("the drain", || health(admin) == draining);
        let samples = metrics(admin);
        assert_eq!(samples["echopool_state{state=\"draining\"}"], 1.0);
        assert_eq!(samples["echopool_connections_open"], 1.0);
        expect(&mut before, 7, 0, pending);
        expect_end(&mut before);
        drop(before);
        assert_eq!(program.wait().code(), Some(0), "{:#?}", program.log);
    }

    #[test]
    fn over_at_once_at_a_second_signal_to_a_lame_duck() {
        let (mut program, _, admin) = administered(&["--lame-duck", "60s"]);
        program.signal(Signal::TERM);
        wait_until("the server to be a lame duck", || health(admin)[1].0 == 503);
        let (code, time) = stop(&mut program, Signal::TERM);
        assert_eq!(code, Some(130), "{:#?}", program.log);
        assert!(time < PROMPT, "{time:?}");
    }
}

mod requests {
    use super::*;

    #[test]
    fn to_head_have_the_head_alone() {
        let (_program, _, admin) = administered(&[]);
        for path in ["/", "/metrics", "/healthz", "/status.json"] {
            let head = ask(admin, format!("HEAD {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
            assert_eq!((head.code, &*head.body), (200, ""), "{path}");
            for line in ["Connection: close", "Cache-Control: no-store", "nosniff"] {
                assert!(head.head.contains(line), "{path}: {}", head.head);
            }
        }
    }

    #[test]
    fn that_can_not_be_served_get_a_whole_answer_that_says_why() {
        let (_program, _, admin) = administered(&[]);
        let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(300_000));
        let garbage: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for (request, code) in [
            (&b"GET /nowhere HTTP/1.0\r\n\r\n"[..], 404),
            (b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", 405),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
            (huge.as_bytes(), 431),
            (&garbage, 400),
        ] {
            let answer = ask(admin, request).unwrap();
            assert_eq!(answer.code, code, "{}", answer.head);
            let length = format!("Content-Length: {}\r\n", answer.body.len());
            assert!(answer.head.contains(&length), "{}", answer.head);
        }
        // One that ends in the middle is answered as well.
        let mut half = connect(admin);
        half.write_all(b"GET / HT").unwrap();
        half.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(answer(&mut half).unwrap().code, 400);
        assert_eq!(get(admin, "/healthz").code, 200);
    }

    #[test]
    fn that_never_end_are_closed_when_their_time_is_up() {
        let (_program, _, admin) = administered(&[]);
        let opened = Instant::now();
        let mut slow = connect(admin);
        let dripping = slow.try_clone().unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut bytes = b"GET /".iter().chain(std::iter::repeat(&b'x'));
                while !over.load(Ordering::SeqCst) {
                    let _ = (&dripping).write(&[*bytes.next().unwrap()]);
                    thread::sleep(Duration::from_millis(100));
                }
            });
            let _over = Over(&over);
            let _ = slow.read(&mut [0]);
        });
        let time = opened.elapsed();
        assert!(time >= Duration::from_millis(4_900), "{time:?}");
        assert!(time < Duration::from_secs(20), "{time:?}");
    }
}

/// A request may wait, whole or in part, when the server goes on after a pause that is longer
/// than a connection may last.
#[test]
fn requests_that_came_while_the_server_was_suspended_are_answered() {
    const TIME: Duration = Duration::from_secs(5);
    const REQUEST: &[u8] = b"GET /healthz HTTP/1.0\r\n\r\n";
    let (program, _, admin) = administered(&[]);
    let start = Instant::now();
    let mut clients: Vec<_> = (0..20).map(|_| connect(admin)).collect();
    let begun = |number: usize| number % 2 * (REQUEST.len() / 2);
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&REQUEST[..begun(number)]).unwrap();
    }
    // It accepts in turn, so that it has the others by now.
    assert_eq!(health(admin)[0], ok());
    suspend(&program);
    let was_busy = start.elapsed() > TIME / 2;
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&REQUEST[begun(number)..]).unwrap();
    }
    thread::sleep(TIME + TIME / 10);
    program.signal(Signal::CONT);
    for (number, client) in clients.iter_mut().enumerate() {
        let code = answer(client).map(|answer| answer.code);
        assert!(
            code.as_ref().is_ok_and(|&code| code == 200) || was_busy,
            "{number}: {code:?}"
        );
    }
}

mod the_health_command {
    use super::*;

    #[test]
    fn fails_where_nobody_answers_or_somebody_else_and_says_why() {
        let (_program, echo, _) = administered(&[]);
        let (_reserved, nobody) = common::reserve(echo.ip(), 0).unwrap();
        for (address, words) in [
            (nobody, "for its health: connection refused"),
            (echo, "what answers there is no admin socket of echopool"),
        ] {
            let address = address.to_string();
            let ended = finish(["health", "--timeout", "300ms", &address], "");
            assert_eq!(
                (ended.code, &*ended.stdout),
                (Some(1), &b""[..]),
                "{ended:?}"
            );
            let start = format!("echopool: could not ask {address} for its health: ");
            assert!(ended.stderr.starts_with(&start), "{ended:?}");
            let is_late = ended.stderr.contains("timed out");
            assert!(ended.stderr.contains(words) || is_late, "{ended:?}");
        }
    }

    #[test]
    fn gives_a_server_up_that_does_not_answer_in_time() {
        let (program, _, admin) = administered(&[]);
        let admin = admin.to_string();
        assert_eq!(finish(["health", &admin], "").code, Some(0));
        suspend(&program);
        let ended = finish(["health", "--timeout", "300ms", &admin], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("timed out"), "{ended:?}");
    }

    /// The command itself is suspended here, while its answer comes.
    #[test]
    fn takes_an_answer_that_came_in_time_however_late_it_looks() {
        const TIME: Duration = Duration::from_secs(5);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_echopool"));
        command.args(["health", "--timeout", "5s", &address]);
        command.stdout(std::process::Stdio::piped());
        let program = Program::spawn(command);
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 64];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /healthz "));
        let state = format!("/proc/{}/stat", program.child.id());
        wait_until("the command to wait", || {
            std::fs::read_to_string(&state).unwrap().contains(") S ")
        });
        suspend(&program);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
        stream.write_all(answer).unwrap();
        drop(stream);
        thread::sleep(TIME + TIME / 10);
        program.signal(Signal::CONT);
        let ended = common::end(program);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(0), &b"ok\n"[..]),
            "{ended:?}"
        );
    }

    #[test]
    fn asks_where_the_servers_variable_says() {
        let (_program, _, admin) = administered(&[]);
        let said = |value: &str| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_echopool"));
            command.arg("health").env("ECHOPOOL_ADMIN", value);
            command.stdout(std::process::Stdio::piped());
            common::end(Program::spawn(command))
        };
        assert_eq!(said(&admin.to_string()).code, Some(0));
        let bad = said("a:b");
        assert_eq!(bad.code, Some(2), "{bad:?}");
        assert!(
            bad.stderr
                .contains("the environment has ECHOPOOL_ADMIN=a:b"),
            "{bad:?}"
        );
        // Empty is not set: somebody may have the port.
        let unset = said("");
        let asked = unset.code == Some(0) || unset.stderr.contains(":20163");
        assert!(asked, "{unset:?}");
    }
}

mod the_socket {
    use super::*;

    #[test]
    fn is_loopback_where_no_host_is_given() {
        for address in ["0", ":0"] {
            let (mut program, _) = serve(&["--admin", address]);
            let admin = admin_of(&mut program);
            assert!(admin.ip().is_loopback(), "{admin}");
            assert_eq!(get(admin, "/healthz").code, 200);
        }
        let help = finish(["serve", "--help"], "").stdout;
        let help = String::from_utf8(help).unwrap();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("[default: off; default port: 20163]"),
            "{words}"
        );
    }

    #[test]
    fn is_an_error_where_another_has_it() {
        let (_program, _, admin) = administered(&[]);
        let address = admin.to_string();
        let ended = finish(["serve", "--echo", "127.0.0.1:0", "--admin", &address], "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let error = format!("could not listen on {address}: address already in use");
        assert!(ended.stderr.contains(&error), "{ended:?}");
    }

    #[test]
    fn holds_so_many_connections_and_no_more_and_delays_no_stop() {
        let (mut program, _, admin) = administered(&["--workers", "1"]);
        let before = descriptors(program.child.id());
        let slow: Vec<_> = (0..200).map(|_| half_a_request(admin)).collect();
        assert_eq!(get(admin, "/healthz").code, 200);
        let held = descriptors(program.child.id()) - before;
        assert!((32..=65).contains(&held), "{held}");
        let (code, time) = stop(&mut program, Signal::TERM);
        assert_eq!(code, Some(0), "{:#?}", program.log);
        assert!(time < PROMPT, "{time:?}");
        drop(slow);
    }

    #[test]
    fn costs_no_processor_where_descriptors_ran_out_and_answers_when_they_are_free() {
        let (mut program, _, admin) = administered(&["--workers", "1"]);
        limit_descriptors(&program, descriptors(program.child.id()) as u64);
        let mut waiting = connect(admin);
        waiting.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
        program.wait_for("could not accept an HTTP client: too many open files");
        let before = processor_time(&program);
        thread::sleep(Duration::from_secs(1));
        let used = processor_time(&program) - before;
        assert!(used < Duration::from_millis(50), "{used:?}");
        limit_descriptors(&program, 100);
        assert_eq!(answer(&mut waiting).unwrap().code, 200);
    }
}

fn half_a_request(admin: SocketAddr) -> TcpStream {
    let mut stream = connect(admin);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    stream
}

mod echoes_come_back_and_probes_are_answered {
    use super::*;

    /// Checks echoes and health probes while `disturb` uses the admin socket.
    fn during(disturb: impl FnOnce(SocketAddr)) {
        let (program, echo, admin) = administered(&["--workers", "2"]);
        let over = AtomicBool::new(false);
        let rounds = thread::scope(|scope| {
            let streams = [1, 2].map(|key| {
                let over = &over;
                scope.spawn(move || {
                    let mut rounds = 0;
                    while rounds == 0 || !over.load(Ordering::SeqCst) {
                        full_duplex(connect(echo), key, 400_000);
                        rounds += 1;
                    }
                    rounds
                })
            });
            {
                let _over = Over(&over);
                disturb(admin);
                probe(admin);
            }
            streams.map(|stream| stream.join().unwrap())
        });
        let bytes = 400_000 * rounds.iter().sum::<u64>();
        wait_until("every byte to be counted", || {
            metrics(admin)["echopool_echoed_bytes_total"] == bytes as f64
        });
        common::serve::stop_cleanly(program);
    }

    #[track_caller]
    fn probe(admin: SocketAddr) {
        for _ in 0..10 {
            assert_eq!(health(admin), [ok(), ok()]);
        }
    }

    #[test]
    fn beside_200_clients_that_ask_a_byte_at_a_time() {
        during(|admin| {
            let mut slow: Vec<_> = (0..200).map(|_| half_a_request(admin)).collect();
            for _ in 0..5 {
                probe(admin);
                for stream in &mut slow {
                    // The oldest are closed already.
                    let _ = stream.write(b"x");
                }
            }
        });
    }

    #[test]
    fn beside_garbage_and_huge_heads() {
        during(|admin| {
            let mut garbage = vec![0; 50_000];
            for seed in 0..100 {
                fastrand::Rng::with_seed(seed).fill(&mut garbage);
                garbage[0] = b'G';
                // Answered, or reset while it was still being sent.
                let _ = ask(admin, &garbage);
                let huge = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000));
                assert_eq!(ask(admin, huge.as_bytes()).unwrap().code, 431);
            }
        });
    }

    #[test]
    fn beside_ten_thousand_requests_in_a_row() {
        during(|admin| {
            for number in 0..10_000 {
                let path = ["/healthz", "/metrics", "/", "/status.json"][number % 4];
                assert_eq!(get(admin, path).code, 200);
            }
        });
    }

    #[test]
    fn beside_clients_that_never_read_their_answer() {
        during(|admin| {
            let never: Vec<_> = (0..300)
                .map(|_| {
                    let mut stream = connect_narrow(admin);
                    let requests = b"GET / HTTP/1.0\r\n\r\n".repeat(100);
                    let _ = stream.write_all(&requests);
                    stream
                })
                .collect();
            probe(admin);
            drop(never);
        });
    }
}

mod echoes_are_as_quick {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A round trip is due so often.
    const EVERY: Duration = Duration::from_millis(1);

    /// As an echo client sees it: each round trip counts from when it was due, so that one
    /// that is held up delays those behind it as well.
    fn median_round_trip(client: &mut TcpStream) -> Duration {
        const TRIPS: u32 = 200;
        /// Later round trips would show nothing else.
        const ENOUGH: Duration = Duration::from_secs(1);

        let start = Instant::now();
        let due = (0..TRIPS).map(|number| start + number * EVERY);
        let mut times = Vec::new();
        for due in due.take_while(|_| start.elapsed() < ENOUGH) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            round_trip(client, b"hello");
            times.push(due.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// Has one kind of HTTP client come again and again, each time with its number.
    fn come(over: &AtomicBool, came: &AtomicU64, mut client: impl FnMut(usize)) {
        for number in 0.. {
            came.fetch_add(1, Ordering::SeqCst);
            client(number);
            if over.load(Ordering::SeqCst) {
                break;
            }
            thread::sleep(5 * EVERY);
        }
    }

    /// Runs `measure` while slow, malformed and well-behaved HTTP clients come, not so many
    /// that the processor is short.
    fn beside_http<T>(admin: SocketAddr, measure: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        let came = [(); 3].map(|()| AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut slow = Vec::new();
                come(&over, &came[0], |number| {
                    slow.push(half_a_request(admin));
                    // The oldest are closed already.
                    let _ = slow[number / 2].write(b"x");
                });
            });
            scope.spawn(|| {
                come(&over, &came[1], |_| {
                    let answer = ask(admin, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc");
                    assert_eq!(answer.unwrap().code, 400);
                });
            });
            scope.spawn(|| {
                come(&over, &came[2], |_| {
                    let samples = metrics(admin);
                    assert_eq!(samples["echopool_connections_open"], 1.0);
                });
            });
            let _over = Over(&over);
            wait_until("HTTP clients of each kind", || {
                came.iter().all(|came| came.load(Ordering::SeqCst) > 0)
            });
            measure()
        })
    }

    /// Where HTTP clients are served by a worker, one that is slow stops every echo.
    #[test]
    fn beside_slow_malformed_and_many_http_clients() {
        const ROUNDS: usize = 4;
        const MOST: f64 = 3.0;

        let (program, echo, admin) = administered(&["--workers", "1"]);
        let mut client = connect(echo);
        let medians = [(); ROUNDS].map(|()| {
            let alone = median_round_trip(&mut client);
            let beside = beside_http(admin, || median_round_trip(&mut client));
            (alone, beside)
        });
        let ratios = medians.map(|(alone, beside)| beside.as_secs_f64() / alone.as_secs_f64());
        // Where others have the processor for long, it is not the server's doing.
        let least = ratios.into_iter().fold(f64::INFINITY, f64::min);
        assert!(least <= MOST, "alone and beside them: {medians:?}");
        drop(client);
        common::serve::stop_cleanly(program);
    }
}

mod in_chromium {
    use std::path::PathBuf;

    use common::browser::Browser;
    use common::load;
    use serde_json::json;

    use super::*;

    /// The text of an element of the page, by its id.
    fn text(browser: &mut Browser, id: &str) -> String {
        let text = browser.evaluate(&format!("document.getElementById('{id}')?.textContent"));
        text.as_str().unwrap_or_default().to_owned()
    }

    fn wait_for(browser: &mut Browser, id: &str, wanted: impl Fn(&str) -> bool) {
        let mut last = String::new();
        let until = Instant::now() + common::DEADLINE;
        while Instant::now() < until {
            last = text(browser, id);
            if wanted(&last) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{id} is {last:?}");
    }

    /// Leaves the pictures in the folder that `ECHOPOOL_SCREENSHOTS` names, to be looked at.
    #[test]
    #[ignore = "needs chromium"]
    fn the_page_shows_a_server_at_work_then_stopping_then_gone_and_fetches_nothing_else() {
        let arguments = [
            "--workers",
            "4",
            "--max-per-source",
            "60",
            "--idle-timeout",
            "3s",
        ];
        let lame = ["--lame-duck", "3s", "--grace", "1s"];
        let (mut program, echo, admin) = administered(&[&arguments[..], &lame].concat());
        let load = load::start(echo, "--connections 50 --rate 6k --size 4k --duration 600s");
        let mut browser = Browser::start(1240, 940);
        let zone = json!({"timezoneId": "Asia/Tokyo"});
        browser.call("Emulation.setTimezoneOverride", zone);
        browser.go(&format!("http://{admin}/"));
        wait_for(&mut browser, "open", |text| text == "50");
        let _idle: Vec<_> = (0..7).map(|_| connect(echo)).collect();
        let _refused: Vec<_> = (0..9).map(|_| connect(echo)).collect();
        wait_for(&mut browser, "latest", |text| text.contains("source"));
        wait_for(&mut browser, "latest", |text| text.contains("idle"));
        for rate in ["bytes-rate", "turns-rate"] {
            let any = |text: &str| text.starts_with(|c: char| ('1'..='9').contains(&c));
            wait_for(&mut browser, rate, any);
        }
        let turns = text(&mut browser, "turns");
        wait_for(&mut browser, "turns", |text| text != turns);
        let bars = browser.evaluate("document.querySelectorAll('#workers .fill').length");
        assert_eq!(bars, 2 * 4);
        let points = "document.querySelector('#bytes-line polyline').getAttribute('points')";
        let seconds = if std::env::var_os("ECHOPOOL_SCREENSHOTS").is_some() {
            45
        } else {
            3
        };
        wait_until("some seconds to be drawn", || {
            let drawn = browser.evaluate(points);
            drawn.as_str().unwrap().split(' ').count() >= seconds
        });
        for width in [400, 1240] {
            browser.resize(width, 940);
            assert_eq!(browser.hidden(), json!([]), "at {width} pixels");
            pictures(&mut browser, width);
        }
        tells_times_in_utc(&mut browser);
        assert_eq!(browser.complaints(), [""; 0]);

        program.signal(Signal::TERM);
        wait_for(&mut browser, "state", |text| text == "about to stop");
        wait_for(&mut browser, "notice", |text| {
            text == "the server is about to stop"
        });
        drop(load);
        program.wait();
        wait_for(&mut browser, "notice", |text| {
            text.contains("No answer from the server since") && text.contains(" UTC")
        });
        let home = format!("http://{admin}/");
        let mut requests = browser.requests();
        requests.retain(|url| !url.starts_with(&home) && !url.starts_with("data:"));
        assert_eq!(requests, [""; 0]);
        forbids_what_is_elsewhere(&mut browser);
    }

    /// The browser's own zone is another one.
    fn tells_times_in_utc(browser: &mut Browser) {
        assert_eq!(browser.evaluate("new Date(0).getHours()"), 9);
        let shown = "document.querySelector('#latest td').textContent.slice(0, 2)";
        let hour = browser.evaluate(shown);
        // The hour may have changed meanwhile.
        let now = "[0, 1].map((ago) => new Date(Date.now() - ago * 60000).getUTCHours())";
        let hours = browser.evaluate(now);
        let hour: u64 = hour.as_str().unwrap().parse().unwrap();
        assert!(
            hours.as_array().unwrap().contains(&json!(hour)),
            "{hour}, {hours}"
        );
        let head = text(browser, "load") + &text(browser, "latest-head");
        for words in ["echoes/s", "unread echo", "time (UTC)"] {
            assert!(head.contains(words), "no {words} in {head}");
        }
    }

    fn pictures(browser: &mut Browser, width: u32) {
        let folder = tempfile::tempdir().unwrap();
        let kept = std::env::var_os("ECHOPOOL_SCREENSHOTS").map(PathBuf::from);
        let folder = kept.unwrap_or_else(|| folder.path().to_owned());
        let [light, dark] = ["light", "dark"].map(|scheme| {
            browser.prefer(scheme);
            let picture = browser.picture();
            std::fs::write(folder.join(format!("admin-{width}-{scheme}.png")), &picture).unwrap();
            picture
        });
        assert!(light.len() > 20_000 && light != dark);
    }

    /// The page's policy, which is still in force when the server is gone.
    fn forbids_what_is_elsewhere(browser: &mut Browser) {
        let before = browser.complaints().len();
        browser.evaluate(
            "const image = new Image(); image.src = 'http://127.0.0.2:9/'; \
             fetch('http://127.0.0.2:9/').catch(() => {}); document.body.append(image); 0",
        );
        let markup = "try { document.body.innerHTML = '<b>x</b>'; 'made' } catch { 'refused' }";
        assert_eq!(browser.evaluate(markup), "refused");
        let mut refused = 0;
        wait_until("the policy to refuse it", || {
            browser.evaluate("0");
            let complaints = browser.complaints();
            let policy = |text: &&String| text.contains("Content Security Policy");
            refused = complaints[before..].iter().filter(policy).count();
            refused >= 2
        });
    }
}
