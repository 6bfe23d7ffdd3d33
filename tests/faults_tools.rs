//! Faults that only other tools bring about: strace(1), which makes system calls
//! fail, network namespaces, cgroups, nft(8), another user, a clock that jumps.
//!
//! They run with `make test-tools`. A test whose tool a machine lacks, or
//! forbids, says so and passes.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::gap::{fill_behind_gap, losing_socket};
use common::ping::{assert_counts, read_events, story};
use common::serve::{
    PROMPT, log_of, pipe_ends, processor_time, reported, serve_under, stop_cleanly,
};
use common::{
    Program, connect, connect_narrow, end, expect, fill, full_duplex, is_reset, is_silent, keyed,
    pour, read_to_end, round_trip, wait_until,
};
use echopool::bench::results::{Doubt, Results};
use echopool::proto::answer;
use rustix::process::Signal;
use tempfile::NamedTempFile;

const MIB: usize = 1 << 20;

/// Whether this machine can do what a test needs, found out by doing it.
fn can(probe: &[&str]) -> bool {
    let output = Command::new(probe[0]).args(&probe[1..]).output();
    let able = output.is_ok_and(|output| output.status.success());
    if !able {
        let thread = thread::current();
        let test = thread.name().unwrap_or_default();
        // Past the capture of what tests print.
        let _ = writeln!(
            io::stderr(),
            "{test}: skipped, this machine cannot: {}",
            probe.join(" ")
        );
    }
    able
}

// `cargo test -- --ignored` where one process may trace another.
mod failing_calls {
    use super::*;

    /// A server some of whose system calls fail, and the trace of those.
    struct Failing {
        program: Program,
        trace: NamedTempFile,
    }

    impl Failing {
        /// With failures as strace(1)'s `inject` says; which calls they are, is
        /// counted for each thread alone. Nothing where tracing is forbidden.
        fn serve(inject: &str) -> Option<(Self, SocketAddr)> {
            if !can(&["strace", "-qq", "-o", "/dev/null", "true"]) {
                return None;
            }
            let trace = NamedTempFile::new().unwrap();
            let path = trace.path().to_str().unwrap();
            let (call, _) = inject.split_once(':').unwrap();
            let (calls, inject) = (format!("trace={call}"), format!("inject={inject}"));
            // With -D the server is our child, and strace its grandchild.
            // And -ttt puts the time of each call before it.
            let strace = ["strace", "-D", "-f", "-qq", "-ttt", "-o", path];
            let wrapper = [&strace[..], &["-e", &calls, "-e", &inject]].concat();
            let (program, address) = serve_under(&wrapper, &["--workers", "1"]);
            Some((Self { program, trace }, address))
        }

        /// Ends the server, in which calls must have failed, and all else gone well.
        fn stop(self) -> Program {
            self.stop_and_pauses().0
        }

        /// The same, with the times between the failed calls and to the one that followed the
        /// last of them, from the shortest on.
        fn stop_and_pauses(self) -> (Program, Vec<Duration>) {
            let program = stop_cleanly(self.program);
            let trace = fs::read_to_string(self.trace.path()).unwrap();
            assert!(trace.contains("(INJECTED)"), "nothing failed: {trace}");
            let time = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
            let lines: Vec<_> = trace.lines().collect();
            let pairs = lines.windows(2).filter(|at| at[0].contains("(INJECTED)"));
            let pause = |at: &[&str]| Some(time(at[1])? - time(at[0])?);
            let pauses = pairs.filter_map(pause).map(Duration::from_secs_f64);
            let mut pauses: Vec<_> = pauses.collect();
            pauses.sort();
            (program, pauses)
        }
    }

    #[test]
    #[ignore = "needs strace(1)"]
    fn an_accept_that_the_system_refuses_is_tried_again_ten_times_a_second() {
        for error in ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"] {
            // The first accept finds no client, or one; ten more fail.
            let inject = format!("accept4:error={error}:when=2..11");
            let Some((server, address)) = Failing::serve(&inject) else {
                return;
            };
            let (start, used) = (Instant::now(), processor_time(&server.program));
            for _ in 0..2 {
                round_trip(&mut connect(address), b"hello");
            }
            let (time, used) = (start.elapsed(), processor_time(&server.program) - used);
            assert!(time >= Duration::from_millis(900), "{error}: {time:?}");
            let share = used.as_secs_f64() / time.as_secs_f64();
            assert!(share < 0.02, "{error}: {share} of a processor");
            let (program, pauses) = server.stop_and_pauses();
            // Any of them may end late, but not half of them, nor is one shorter.
            assert_eq!(pauses.len(), 10, "{error}: {pauses:?}");
            let (shortest, typical) = (pauses[0], pauses[5]);
            assert!(shortest >= Duration::from_millis(90), "{error}: {pauses:?}");
            assert!(typical <= Duration::from_millis(175), "{error}: {pauses:?}");
            let failures = program
                .log
                .iter()
                .filter(|l| l.contains("could not accept"));
            assert!((1..=2).contains(&failures.count()), "{:#?}", program.log);
        }
    }

    #[test]
    #[ignore = "needs strace(1)"]
    fn an_accept_that_fails_for_one_client_is_followed_by_the_next_at_once() {
        for error in [
            "ECONNABORTED",
            "EINTR",
            "EPROTO",
            "ENETDOWN",
            "EHOSTUNREACH",
            "ENONET",
        ] {
            let inject = format!("accept4:error={error}:when=2..11");
            let Some((server, address)) = Failing::serve(&inject) else {
                return;
            };
            for _ in 0..2 {
                round_trip(&mut connect(address), b"hello");
            }
            let (program, pauses) = server.stop_and_pauses();
            // One that is taken back would be a tenth of a second.
            assert_eq!(pauses.len(), 10, "{error}: {pauses:?}");
            let typical = pauses[5];
            assert!(typical < Duration::from_millis(50), "{error}: {pauses:?}");
            assert!(!program.logged("could not accept"), "{:#?}", program.log);
        }
    }

    #[test]
    #[ignore = "needs strace(1)"]
    fn a_client_whose_socket_fails_at_the_start_is_closed_and_no_other() {
        // The worker's 4th to 6th clients can't be watched.
        let Some((server, address)) = Failing::serve("epoll_ctl:error=ENOSPC:when=4..6") else {
            return;
        };
        let mut clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
        clients.retain_mut(|client| client.write_all(b"hello").is_ok());
        clients.retain_mut(|client| client.read_exact(&mut [0; 5]).is_ok());
        assert_eq!(clients.len(), 17);
        clients
            .iter_mut()
            .for_each(|c| round_trip(c, b"still there"));
        server.stop();
    }

    /// Streams through a server whose only worker's calls fail so.
    fn stream_beside(inject: &str) -> Option<Program> {
        let (server, address) = Failing::serve(inject)?;
        let mut steady = connect(address);
        for key in 0..2 {
            // It holds a pipe, so that the next stream needs another.
            let mut stalled = connect_narrow(address);
            let taken = fill(&mut stalled, 10 + key);
            full_duplex(connect(address), key, 2 * MIB);
            round_trip(&mut steady, b"hello");
            expect(&mut stalled, 10 + key, 0, taken);
        }
        Some(server.stop())
    }

    #[test]
    #[ignore = "needs strace(1)"]
    fn a_stream_without_pipes_is_copied() {
        // The first that the main thread makes is for its signals.
        for inject in ["pipe2:error=EMFILE:when=2+", "pipe2:error=ENFILE:when=2+"] {
            if stream_beside(inject).is_none() {
                return;
            }
        }
    }

    #[test]
    #[ignore = "needs strace(1)"]
    fn a_stream_that_cannot_be_spliced_any_more_is_copied_from_there_on() {
        // Odd ones fill the pipe, even ones empty it.
        for error in ["ENOMEM", "EINVAL", "EPERM"] {
            for when in ["1+", "2+", "21", "22", "40+"] {
                let inject = format!("splice:error={error}:when={when}");
                if stream_beside(&inject).is_none() {
                    return;
                }
            }
        }
    }

    #[test]
    #[ignore = "needs strace(1)"]
    fn an_interrupted_splice_is_made_again() {
        stream_beside("splice:error=EINTR:when=3+7");
    }

    #[test]
    #[ignore = "needs strace(1)"]
    fn a_broken_pipe_and_its_signal_end_one_connection_alone() {
        let inject = "splice:error=EPIPE:signal=PIPE:when=8";
        let Some((server, address)) = Failing::serve(inject) else {
            return;
        };
        let mut steady = connect(address);
        let mut broken = connect(address);
        let mut sending = broken.try_clone().unwrap();
        let sender = thread::spawn(move || sending.write_all(&keyed(1, 0, 8 * MIB)));
        let mut echo = Vec::new();
        let _ = broken.read_to_end(&mut echo);
        assert!(echo.len() < 8 * MIB, "nothing broke");
        assert!(echo == keyed(1, 0, echo.len()));
        let _ = sender.join().unwrap();
        round_trip(&mut steady, b"hello");
        full_duplex(connect(address), 2, 4 * MIB);
        server.stop();
    }
}

// As an ordinary user, whom the system allows less than root.
mod another_user {
    use super::*;

    /// setpriv(1) to the user nobody.
    const NOBODY: [&str; 4] = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];

    /// Uses up the pipes of full size that a user may have: 1,024 of 64 KiB, see pipe(7).
    const HOLD_PIPES: &str = "for (1..1100) { pipe(my $r, my $w) or die; push @held, $r, $w }
        $| = 1; print 'held'; <STDIN>";

    /// A process of that user that holds its pipes until its input is closed.
    fn hold_pipes() -> Child {
        let mut holder = Command::new(NOBODY[0])
            .args(&NOBODY[1..])
            .args([
                "sh",
                "-c",
                "ulimit -n 4096; exec perl -e \"$0\"",
                HOLD_PIPES,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 4];
        let stdout = holder.stdout.as_mut().unwrap();
        stdout.read_exact(&mut ready).unwrap();
        holder
    }

    #[test]
    #[ignore = "needs setpriv(1), perl(1) and root"]
    fn a_user_whose_pipes_are_used_up_gets_the_same_bytes() {
        let able = can(&[&NOBODY[..], &["true"]].concat()) && can(&["perl", "-e", "1"]);
        if !able {
            return;
        }
        // Where that user may get at it, whatever the build's folders allow.
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("echopool");
        fs::copy(env!("CARGO_BIN_EXE_echopool"), &program).unwrap();
        open_to_all(folder.path());
        let mut holder = hold_pipes();
        let shell = format!("exec {} \"$@\"", program.display());
        let as_nobody = [&NOBODY[..], &["sh", "-c", &shell]].concat();
        let (program, address) = serve_under(&as_nobody, &["--workers", "1"]);
        let ends = pipe_ends(&program);
        let mut stalled = connect_narrow(address);
        let taken = fill(&mut stalled, 1);
        assert!(pipe_ends(&program) > ends);
        assert!(least_pipe(&program) < 64 * 1024, "a pipe of full size");
        for key in 2..6 {
            full_duplex(connect(address), key, 8 * MIB);
        }
        expect(&mut stalled, 1, 0, taken);
        stop_cleanly(program);
        drop(holder.stdin.take());
        holder.wait().unwrap();
    }

    fn open_to_all(folder: &Path) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// How much the smallest of a program's pipes holds, in bytes.
    fn least_pipe(program: &Program) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", program.child.id())).unwrap();
        let pipes = files.flatten().filter(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            target.to_string_lossy().starts_with("pipe:")
        });
        let open = |file: fs::DirEntry| fs::OpenOptions::new().read(true).open(file.path());
        let sizes = pipes.map(|file| rustix::pipe::fcntl_getpipe_size(open(file).unwrap()));
        sizes.map(Result::unwrap).min().unwrap()
    }
}

mod clock {
    use super::*;

    /// The library that shows a program another time: faketime(1).
    fn library() -> Option<PathBuf> {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten();
        let library = |folder: fs::DirEntry| folder.path().join("faketime/libfaketimeMT.so.1");
        folders.map(library).find(|path| path.exists())
    }

    #[test]
    #[ignore = "needs libfaketime"]
    fn a_clock_that_jumps_ends_no_client_and_delays_none() {
        let Some(library) = library() else {
            can(&["faketime", "--version"]);
            return;
        };
        let offset = NamedTempFile::new().unwrap();
        let jump = |offset_file: &Path, by: &str| fs::write(offset_file, by).unwrap();
        jump(offset.path(), "+0");
        let variables = [
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", offset.path().display()),
            String::from("FAKETIME_NO_CACHE=1"),
            // The other clock is the one that never jumps.
            String::from("FAKETIME_DONT_FAKE_MONOTONIC=1"),
        ];
        let wrapper: Vec<_> = std::iter::once("env")
            .chain(variables.iter().map(String::as_str))
            .collect();
        let arguments = ["-v", "--grace", "1500ms", "--counted", "127.0.0.1:0"];
        let (mut program, echo) = serve_under(&wrapper, &arguments);
        let counted = program.wait_for_listener("counted");
        let today = program.log[0].split('T').next().unwrap().to_owned();
        let mut steady = connect(echo);
        for by in ["+86400", "-86400", "+0"] {
            let mut half = connect(counted);
            half.write_all(b"half a mess").unwrap();
            round_trip(&mut steady, b"hello");
            jump(offset.path(), by);
            let newcomer = connect(echo);
            let line = program.wait_for(&newcomer.local_addr().unwrap().to_string());
            assert_eq!(line.starts_with(&today), by == "+0", "{by}: {line}");
            assert!(is_silent(&mut half, Duration::from_millis(300)), "{by}");
            half.write_all(b"age\0").unwrap();
            assert_eq!(read_to_end(&mut half), answer(b"half a message"));
            round_trip(&mut steady, b"hello");
        }
        let mut stuck = connect_narrow(echo);
        fill(&mut stuck, 1);
        program.signal(Signal::TERM);
        program.wait_for("stopping");
        let start = Instant::now();
        jump(offset.path(), "-86400");
        assert_eq!(program.wait().code(), Some(3), "{:#?}", program.log);
        let time = start.elapsed();
        assert!(time > Duration::from_secs(1) && time < PROMPT, "{time:?}");
    }
}

// `cargo test -- --ignored` as root.
mod needs_a_mount {
    use super::*;

    /// The kernel's limits on TCP's memory look like 16 MiB and more.
    const SMALL_LIMITS: &str = "mount -t tmpfs none /dev/shm && \
        echo '4096 8192 16384' > /dev/shm/tcp_mem && \
        mount --bind /dev/shm/tcp_mem /proc/sys/net/ipv4/tcp_mem";

    #[test]
    #[ignore = "needs unshare(1), mount(8) and root"]
    fn before_the_kernel_runs_short_of_memory_for_tcp_the_most_stalled_are_shed() {
        if !can(&["unshare", "--mount", "sh", "-c", SMALL_LIMITS]) {
            return;
        }
        let script = format!("{SMALL_LIMITS} && exec \"$0\" \"$@\"");
        let wrapper = ["unshare", "--mount", "sh", "-c", &script];
        let (mut program, address) = serve_under(&wrapper, &["--stall-timeout", "0s"]);
        let greedy: Vec<_> = (0..16).map(|_| connect_narrow(address)).collect();
        greedy.iter().for_each(pour);
        program.wait_for("memory is short");
        program.wait_for("clients are accepted again");
        round_trip(&mut connect(address), b"a new one");
        wait_until("one of them to be reset", || greedy.iter().any(is_reset));
        drop(greedy);
        let program = stop_cleanly(program);
        assert!(
            program.logged("evicted: memory is short"),
            "{:#?}",
            program.log
        );
    }

    #[test]
    #[ignore = "needs unshare(1), mount(8) and root"]
    fn before_that_those_are_shed_whose_bytes_lie_behind_a_gap() {
        if !can(&["unshare", "--mount", "sh", "-c", SMALL_LIMITS]) {
            return;
        }
        // Handed over as a service manager does; all options have their defaults.
        let script = format!(
            "{SMALL_LIMITS} && export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=echo && \
             exec \"$0\" serve 3<&0 0</dev/null"
        );
        let socket = losing_socket();
        let address = socket.local_addr().unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", &script])
            .arg(env!("CARGO_BIN_EXE_echopool"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::from(OwnedFd::from(socket)));
        let mut program = Program::spawn(command);
        program.wait_for_listener("echo");
        let mut clients: Vec<_> = (0..300).map(|_| connect(address)).collect();
        clients.iter_mut().for_each(fill_behind_gap);
        program.wait_for("(net.ipv4.tcp_mem)");
        wait_until("one of them to be reset", || clients.iter().any(is_reset));
        round_trip(&mut connect(address), b"a new one");
        drop(clients);
        let program = stop_cleanly(program);
        let words = "evicted: memory is short, and it left a gap in what it sent";
        assert!(program.logged(words), "{:#?}", program.log);
    }
}

// `cargo test -- --ignored` as root, where a cgroup can be made below the root cgroup.
mod needs_cgroups {
    use super::*;

    /// Where the cgroups with a controller may be, and the file of its limit.
    type Places = [(&'static str, &'static str)];

    const CPU: &Places = &[
        ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us"),
        ("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us"),
        ("/sys/fs/cgroup", "cpu.max"),
        ("/sys/fs/cgroup/unified", "cpu.max"),
    ];

    const MEMORY_ONE: &Places = &[("/sys/fs/cgroup/memory", "memory.kmem.tcp.limit_in_bytes")];

    const MEMORY_TWO: &Places = &[
        ("/sys/fs/cgroup", "memory.max"),
        ("/sys/fs/cgroup/unified", "memory.max"),
    ];

    /// A cgroup and one within it, both removed when this is dropped.
    struct Nested {
        outer: PathBuf,
        limit: &'static str,
    }

    impl Nested {
        /// In the first of these places; `None`, and a line that says so, where the machine
        /// can't have them.
        fn make(places: &Places) -> Option<Self> {
            let made = places.iter().find_map(|(root, limit)| {
                let name = format!("echopool-test-{}-{limit}", std::process::id());
                let outer = Path::new(root).join(name);
                fs::create_dir(&outer).ok()?;
                let nested = Self { outer, limit };
                let (controller, _) = limit.split_once('.')?;
                let order = format!("+{controller}");
                let _ = fs::write(nested.outer.join("cgroup.subtree_control"), order);
                fs::create_dir(nested.inner()).ok()?;
                nested.inner().join(limit).exists().then_some(nested)
            });
            if made.is_none() {
                let each = places
                    .iter()
                    .map(|(root, limit)| format!("{root}/*/{limit}"));
                can(&["ls", &each.collect::<Vec<_>>().join(" ")]);
            }
            made
        }

        fn inner(&self) -> PathBuf {
            self.outer.join("inner")
        }

        /// Sets the limit of one of them; `None` for none.
        fn limit(&self, cgroup: &Path, limit: Option<u32>) {
            let text = match limit {
                Some(limit) => limit.to_string(),
                None if self.limit.ends_with(".max") => String::from("max"),
                None => String::from("-1"),
            };
            fs::write(cgroup.join(self.limit), text).unwrap();
        }

        /// What starts a program within the inner one.
        fn wrapper(&self) -> String {
            let members = self.inner().join("cgroup.procs");
            format!("echo $$ > {}; exec \"$0\" \"$@\"", members.display())
        }
    }

    impl Drop for Nested {
        fn drop(&mut self) {
            let _ = fs::remove_dir(self.inner());
            let _ = fs::remove_dir(&self.outer);
        }
    }

    /// The workers of a server and the CPUs that `bench` reports, both within the inner cgroup.
    fn counted(nested: &Nested) -> [u64; 2] {
        let script = nested.wrapper();
        let wrapper = ["sh", "-c", &script];
        let (program, address) = serve_under(&wrapper, &[]);
        let mut bench = Command::new("sh");
        bench.args(["-c", &script, env!("CARGO_BIN_EXE_echopool"), "bench"]);
        bench.args([
            &*address.to_string(),
            "-c",
            "1",
            "-n",
            "1",
            "-q",
            "--json",
            "-",
        ]);
        let output = bench.output().unwrap();
        let results: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let log = log_of(program);
        let total = reported(&log, "total: ").split(' ').nth(1).unwrap();
        let cpus = results["generators"][0]["cpus"].as_u64().unwrap();
        [total.parse().unwrap(), cpus]
    }

    #[test]
    #[ignore = "needs cgroups with the controller of the CPU, two CPUs and root"]
    fn the_pool_and_the_load_generator_count_the_quotas_of_every_cgroup_above() {
        let all = thread::available_parallelism().unwrap().get() as u64;
        let Some(nested) = Nested::make(CPU).filter(|_| all > 1) else {
            return;
        };
        let (inner, outer) = (nested.inner(), nested.outer.clone());
        assert_eq!(counted(&nested), [all; 2], "without a quota");
        for (quota, cpus) in [(100, 1), (150, 1), (50, 1), (200, 2), (10_000, all)] {
            for cgroup in [&outer, &inner] {
                // Of a period of 100 ms.
                nested.limit(cgroup, Some(quota * 1000));
                assert_eq!(counted(&nested), [cpus; 2], "{quota} % of {cgroup:?}");
                nested.limit(cgroup, None);
            }
        }
    }

    #[test]
    #[ignore = "needs cgroups of version 1 with the controller of memory, and root"]
    fn clients_that_do_not_read_are_shed_before_the_memory_of_a_cgroup_of_version_1_is_used_up() {
        shed_within(MEMORY_ONE);
    }

    #[test]
    #[ignore = "needs cgroups of version 2 with the controller of memory, and root"]
    fn clients_that_do_not_read_are_shed_before_the_memory_of_a_cgroup_of_version_2_is_used_up() {
        shed_within(MEMORY_TWO);
    }

    /// Clients pour into a server and read nothing, first within the limit of an outer cgroup,
    /// then within that of an inner one.
    fn shed_within(places: &Places) {
        const LIMIT: u32 = 64 << 20;
        const AMPLE: u32 = 1 << 30;
        let Some(nested) = Nested::make(places) else {
            return;
        };
        for cgroup in [nested.outer.clone(), nested.inner()] {
            // Version 1 counts the sockets of a cgroup only once it had a limit itself.
            nested.limit(&nested.outer, Some(AMPLE));
            nested.limit(&nested.inner(), Some(AMPLE));
            nested.limit(&cgroup, Some(LIMIT));
            let script = nested.wrapper();
            let wrapper = ["sh", "-c", &script];
            let (mut program, address) = serve_under(&wrapper, &["--stall-timeout", "0s"]);
            let greedy: Vec<_> = (0..100).map(|_| connect_narrow(address)).collect();
            let shed = || greedy.iter().any(is_reset);
            let mut each = greedy.iter();
            wait_until("one of them to be reset", || {
                each.next().into_iter().for_each(pour);
                shed()
            });
            program.wait_for(&format!("({} of its cgroup)", nested.limit));
            program.wait_for("clients are accepted again");
            round_trip(&mut connect(address), b"a new one");
            drop(greedy);
            stop_cleanly(program);
        }
    }
}

// `cargo test -- --ignored` on a Linux that lets its users make namespaces.
mod needs_namespaces {
    use super::*;

    /// Runs a script, in which `$P` is the program and `serve` starts it on port
    /// 4444, on a network of its own. Returns what it prints, if it can be run.
    fn in_a_network(script: &str) -> Option<String> {
        if !can(&["unshare", "-rn", "ip", "link", "set", "lo", "up"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let begin = "set -e; ip link set lo up
            serve() {
                $P serve --echo 127.0.0.1:4444 \"$@\" 2> log & server=$!
                trap 'kill -KILL $server $client $bench 2> /dev/null || true' EXIT
                until grep -q waiting log; do sleep 0.01; done
            }";
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", &format!("{begin}\n{script}")]);
        command.env_remove("RUST_LOG").current_dir(folder.path());
        command.env("P", env!("CARGO_BIN_EXE_echopool"));
        let output = command.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{errors}");
        Some(said)
    }

    #[test]
    #[ignore = "needs unshare(1), ip(8), nstat(8) and ss(8)"]
    fn a_storm_of_clients_does_not_overflow_the_listen_queue() {
        // A short queue shows that an overflow would be seen.
        let said = in_a_network(
            "overflows() { nstat -asz TcpExtListenOverflows | awk '/Overflows/ { print $2 }'; }
             for backlog in 4096 16; do
                 before=$(overflows)
                 serve --backlog $backlog
                 kill -STOP $server
                 $P bench 127.0.0.1:4444 --connections 3000 -q > bench.log &
                 bench=$!
                 until [ $(ss -Htn state established sport = 4444 | wc -l) -ge 3000 ] \
                     || [ $(overflows) -gt $before ]; do sleep 0.01; done
                 kill -KILL $bench $server
                 wait
                 echo $backlog $(($(overflows) - before))
             done",
        );
        let Some(said) = said else { return };
        let counts: Vec<u64> = said
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let [4096, default, 16, short] = counts[..] else {
            panic!("{said}");
        };
        assert!(default == 0 && short > 0, "{said}");
    }

    #[test]
    #[ignore = "needs unshare(1), ip(8) and nft(8)"]
    fn a_network_that_loses_packets_loses_no_byte() {
        if !can(&["unshare", "-rn", "nft", "add", "table", "inet", "t"]) {
            return;
        }
        in_a_network(
            "serve --workers 1
             nft add table inet t
             nft 'add chain inet t c { type filter hook input priority 0; }'
             nft add rule inet t c numgen random mod 100 '<' 2 drop
             $P bench 127.0.0.1:4444 --connections 20 --size 1..20000 --count 2000 \
                 --warmup 0s --timeout 60s -q --expect errors=0
             nft flush ruleset
             kill $server; wait $server",
        );
    }

    #[test]
    #[ignore = "needs unshare(1), ip(8) and nft(8)"]
    fn clients_that_vanished_with_their_network_do_not_delay_a_stop() {
        if !can(&["unshare", "-rn", "nft", "add", "table", "inet", "t"]) {
            return;
        }
        let said = in_a_network(
            "serve --grace 60s
             mkfifo input
             $P client 127.0.0.1:4444 < input > output & client=$!
             exec 3> input
             echo hello >&3
             until grep -q hello output; do sleep 0.01; done
             nft add table inet t
             nft 'add chain inet t c { type filter hook input priority 0; }'
             nft add rule inet t c tcp dport 4444 drop
             start=$(date +%s%N)
             kill $server; wait $server
             echo $((($(date +%s%N) - start) / 1000000))
             kill -KILL $client",
        );
        let Some(said) = said else { return };
        let took = Duration::from_millis(said.trim().parse().unwrap());
        assert!(took < PROMPT, "{took:?}");
    }

    /// The server asks after its echo while nothing of it gets through.
    #[test]
    #[ignore = "needs unshare(1), ip(8) and nft(8)"]
    fn a_client_whose_host_is_unreachable_for_a_while_keeps_its_connection() {
        if !can(&["unshare", "-rn", "nft", "add", "table", "inet", "t"]) {
            return;
        }
        let said = in_a_network(
            "serve --stall-timeout 8s
             mkfifo input
             $P client 127.0.0.1:4444 < input > output & client=$!
             exec 3> input
             echo hello >&3
             until grep -q hello output; do sleep 0.01; done
             nft add table inet t
             nft 'add chain inet t c { type filter hook input priority 0; }'
             nft add rule inet t c tcp sport 4444 reject with icmp type host-unreachable
             head -c 100000 /dev/zero >&3
             sleep 3
             nft delete table inet t
             exec 3>&-
             wait $client
             wc -c < output
             kill $server; wait $server",
        );
        let Some(said) = said else { return };
        assert_eq!(said.trim(), "100006");
    }

    #[test]
    #[ignore = "needs unshare(1), ip(8) and nft(8)"]
    fn a_datagram_that_a_firewall_here_drops_is_not_sent_and_not_lost() {
        if !can(&["unshare", "-rn", "nft", "add", "table", "inet", "t"]) {
            return;
        }
        let script = "set -e; ip link set lo up; nft add table inet t
            nft add chain inet t c '{ type filter hook output priority 0; }'
            nft add rule inet t c udp dport 7 drop
            exec \"$0\" ping --udp -c3 -i0.01 -W0.3 --json 127.0.0.1:7";
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", script, env!("CARGO_BIN_EXE_echopool")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let ended = end(Program::spawn(command));
        assert_eq!((ended.code, &*ended.stderr), (Some(1), ""), "{ended:?}");
        let events = read_events(&ended);
        assert_eq!(
            story(&events),
            ["not_sent 1", "not_sent 2", "not_sent 3", "summary"]
        );
        let reason = events[0]["reason"].as_str().unwrap();
        let words = "operation not permitted: a firewall rule of this machine";
        assert!(reason.starts_with(words), "{reason}");
        let counts = [("not_sent", 3), ("sent", 0), ("lost", 0), ("under_way", 0)];
        assert_counts(&events, &counts);
    }

    #[test]
    #[ignore = "needs unshare(1) and ip(8)"]
    fn a_datagram_that_is_too_long_for_the_path_is_sent_again() {
        let of_its_own = "mount -t tmpfs t /run && ip netns add n && ip netns exec n true";
        if !can(&["unshare", "-rnm", "sh", "-c", of_its_own]) {
            return;
        }
        // A router with a link of 1,280 bytes behind it, of which it tells.
        let script = "set -e; mount -t tmpfs t /run; for n in c r s; do ip netns add $n; done
            ip link add c0 netns c type veth peer name r0 netns r
            ip link add s0 netns s type veth peer name r1 netns r
            ip -n c addr add 192.0.2.1/25 dev c0; ip -n r addr add 192.0.2.2/25 dev r0
            ip -n s addr add 192.0.2.129/25 dev s0; ip -n r addr add 192.0.2.130/25 dev r1
            ip -n r link set r1 mtu 1280; ip -n s link set s0 mtu 1280
            ip -n c link set c0 up; ip -n r link set r0 up
            ip -n s link set s0 up; ip -n r link set r1 up
            ip -n c route add default via 192.0.2.2; ip -n s route add default via 192.0.2.130
            ip netns exec r sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
            ip netns exec s \"$0\" serve --udp 192.0.2.129:2007 --quiet & server=$!
            trap 'kill $server' EXIT
            client='client --udp --size 1450 192.0.2.129:2007'
            until ip netns exec c \"$0\" client --udp 192.0.2.129:2007 x > /dev/null 2>&1; do :; done
            head -c 2900 /dev/zero | ip netns exec c \"$0\" $client | wc -c";
        let mut command = Command::new("unshare");
        command.args(["-rnm", "sh", "-c", script, env!("CARGO_BIN_EXE_echopool")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let ended = end(Program::spawn(command));
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), "2900");
    }

    #[test]
    #[ignore = "needs unshare(1), ip(8) and nft(8)"]
    fn what_a_firewall_here_drops_is_not_held_against_the_path() {
        if !can(&["unshare", "-rn", "nft", "add", "table", "inet", "t"]) {
            return;
        }
        let script = "set -e; ip link set lo up; nft add table inet t
            nft add chain inet t c '{ type filter hook output priority 0; }'
            nft add rule inet t c udp dport 2007 numgen random mod 100 \\< 20 drop
            \"$0\" serve --udp 127.0.0.1:2007 --quiet & server=$!
            trap 'kill $server' EXIT
            until \"$0\" client --udp 127.0.0.1:2007 x > /dev/null 2>&1; do :; done
            \"$0\" check --udp --json --only reachable,loss,rate 127.0.0.1:2007";
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", script, env!("CARGO_BIN_EXE_echopool")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let ended = end(Program::spawn(command));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let report: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        for clause in report["clauses"].as_array().unwrap() {
            let name = clause["name"].as_str().unwrap();
            let verdict = if name == "reachable" { "pass" } else { "skip" };
            assert_eq!(clause["verdict"], verdict, "{clause}");
            let seen = clause["seen"].as_str().unwrap();
            let words = "this machine did not send ";
            assert!(verdict == "pass" || seen.starts_with(words), "{clause}");
        }
        assert_eq!(report["diagnosis"], serde_json::json!([]));
    }

    #[test]
    #[ignore = "needs unshare(1), ip(8) and nft(8)"]
    fn an_answer_that_a_firewall_here_drops_is_in_the_log_with_its_client() {
        if !can(&["unshare", "-rn", "nft", "add", "table", "inet", "t"]) {
            return;
        }
        let said = in_a_network(
            "serve --udp 127.0.0.1:4444
             nft add table inet t
             nft add chain inet t c '{ type filter hook output priority 0; }'
             nft add rule inet t c udp sport 4444 drop
             $P client --udp --timeout 100ms 127.0.0.1:4444 hello 2> /dev/null || true
             kill $server; wait $server
             cat log",
        );
        let Some(log) = said else { return };
        let words = [
            "could not answer 127.0.0.1:",
            " on udp://127.0.0.1:4444: operation not permitted: a firewall rule of this machine",
        ];
        for words in words {
            assert!(log.contains(words), "{log}");
        }
    }

    /// One at a time, of which a rule drops each second one; as many as go, of which it drops
    /// all; and more than have a place, so that they wait for the one before.
    #[test]
    #[ignore = "needs unshare(1), ip(8) and nft(8)"]
    fn a_load_of_datagrams_that_a_firewall_here_drops_is_not_sent_and_not_lost() {
        if !can(&["unshare", "-rn", "nft", "add", "table", "inet", "t"]) {
            return;
        }
        for (rule, load, not_sent) in [
            (
                "numgen inc mod 2 0",
                "--connections 2 --depth 1 --rate 200",
                50,
            ),
            ("", "--connections 1 --rate 1000k", 100),
            ("numgen inc mod 2 0", "--depth 1 --rate 1000k", 50),
            ("", "--size 1 --depth 2 --rate 1000k", 100),
        ] {
            let said = in_a_network(&format!(
                "serve --udp 127.0.0.1:4444
                 nft add table inet t
                 nft add chain inet t c '{{ type filter hook output priority 0; }}'
                 nft add rule inet t c udp dport 4444 {rule} drop
                 $P bench --udp 127.0.0.1:4444 {load} --count 100 --warmup 0s --json - -q || true
                 kill $server; wait $server"
            ));
            let Some(said) = said else { return };
            let results: Results = serde_json::from_str(&said).unwrap();
            let counts = results.datagrams.as_ref().unwrap().counts;
            let seen = (counts.sent, counts.not_sent, counts.lost);
            assert_eq!(seen, (100 - not_sent, not_sent, 0), "{load}: {counts:?}");
            assert_eq!(results.totals.echoed, 100 - not_sent);
            let doubts = |doubt| results.suspicions.iter().any(|it| it.kind == doubt);
            assert!(doubts(Doubt::NotSent), "{:?}", results.suspicions);
            let words = "operation not permitted: a firewall rule of this machine";
            assert!(
                results.examples[0].contains(words),
                "{:?}",
                results.examples
            );
        }
    }
}
