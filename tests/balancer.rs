//! The server behind real load balancers, with the PROXY protocol and without: HAProxy, and
//! nginx's `stream`.
//!
//! It needs haproxy and nginx, so it runs only when asked for: `make test-tools`.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use common::check::check;
use common::http::{admin_of, metrics};
use common::{Program, connect, full_duplex, reserve, wait_until};
use rustix::process::Signal;

/// What a check skips through any of them: each reads urgent data out of line.
const NOT_TESTED: &[&str] = &["urgent", "source-address", "idle"];

/// A load balancer before some servers.
struct Balancer {
    _program: Program,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Balancer {
    /// `option` says how it speaks to the server.
    fn before(server: SocketAddr, option: &str) -> Self {
        Self::start(&format!(" server one {server} {option}\n"))
    }

    fn start(servers: &str) -> Self {
        Self::of("haproxy", &["-db", "-f"], |address, _| {
            format!(
                "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n \
                 timeout server 60s\n timeout check 10s\n\
                 listen it\n bind {address}\n{servers}"
            )
        })
    }

    /// nginx as Debian has it, its `stream` with these lines beside the usual ones.
    fn nginx(server: SocketAddr, lines: &str) -> Self {
        Self::of("nginx", &["-e", "stderr", "-c"], |address, folder| {
            let pid = folder.join("pid");
            format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
                 daemon off;\nmaster_process off;\npid {};\n\
                 events {{ worker_connections 4096; }}\n\
                 stream {{ server {{ listen {address}; proxy_pass {server}; {lines} }} }}\n",
                pid.display()
            )
        })
    }

    fn of(
        name: &str,
        options: &[&str],
        configuration: impl FnOnce(SocketAddr, &Path) -> String,
    ) -> Self {
        let (reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("configuration");
        fs::write(&file, configuration(address, folder.path())).unwrap();
        let mut command = Command::new(name);
        command.args(options).arg(&file);
        command.stdout(Stdio::null());
        drop(reserved);
        let program = Program::spawn(command);
        wait_until(name, || TcpStream::connect(address).is_ok());
        Self {
            _program: program,
            _folder: folder,
            address,
        }
    }
}

#[test]
#[ignore = "needs nginx"]
fn nginx_cuts_the_echo_behind_a_half_close_unless_it_passes_that_on() {
    let mut server = Program::start(["serve", "--echo", "127.0.0.1:0"]);
    let echo = server.wait_for_listener("echo");
    let balancer = Balancer::nginx(echo, "");
    let checked = check(balancer.address, "--skip connect-storm");
    checked.assert_failed(&["half-close-early"]);
    let balancer = Balancer::nginx(echo, "proxy_half_close on;");
    check(balancer.address, "").assert_passed(NOT_TESTED);
}

#[test]
#[ignore = "needs nginx"]
fn nginx_names_its_clients_where_it_is_told_to() {
    let any = "127.0.0.1:0";
    let mut server = Program::start(["serve", "--echo", any, "--whoami", any, "--proxy-protocol"]);
    let echo = server.wait_for_listener("echo");
    let whoami = server.wait_for_listener("whoami");
    let balancer = Balancer::nginx(whoami, "proxy_protocol on;");
    check(balancer.address, "--whoami").assert_passed(&[]);
    let balancer = Balancer::nginx(echo, "proxy_protocol on; proxy_half_close on;");
    check(balancer.address, "").assert_passed(NOT_TESTED);
}

#[test]
#[ignore = "needs haproxy"]
fn what_haproxy_keeps_of_reset_clients_ends_as_stalled() {
    let any = "127.0.0.1:0";
    let options = ["--stall-timeout", "1s", "--admin", any];
    let mut server = Program::start([&["serve", "--echo", any], &options[..]].concat());
    let echo = server.wait_for_listener("echo");
    let admin = admin_of(&mut server);
    let balancer = Balancer::before(echo, "");
    check(balancer.address, "--only reset").assert_passed(&[]);
    wait_until("all sessions to end", || {
        metrics(admin)["echopool_connections_open"] == 0.0
    });
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{:#?}", server.log);
    assert!(server.logged(" stalled"), "{:#?}", server.log);
}

#[test]
#[ignore = "needs haproxy"]
fn behind_a_balancer_that_names_them_clients_are_seen_as_they_are() {
    let any = "127.0.0.1:0";
    let listen = ["serve", "--echo", any, "--whoami", any, "--workers", "2"];
    let mut server = Program::start([&listen[..], &["--proxy-protocol", "-v"]].concat());
    let echo = server.wait_for_listener("echo");
    let whoami = server.wait_for_listener("whoami");
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"] {
        let balancer = Balancer::before(whoami, option);
        check(balancer.address, "--whoami").assert_passed(&[]);
        let balancer = Balancer::before(echo, option);
        let client = connect(balancer.address);
        let own = client.local_addr().unwrap();
        full_duplex(client, 1, 8 << 20);
        server.wait_for(&format!("client {own} came through 127.0.0.1:"));
        server.wait_for(&format!("client {own} closed: 8388608 bytes echoed"));
        check(balancer.address, "").assert_passed(NOT_TESTED);
    }
}

#[test]
#[ignore = "needs haproxy"]
fn a_balancer_that_hides_its_clients_is_found() {
    let mut server = Program::start(["serve", "--whoami", "127.0.0.1:0"]);
    let balancer = Balancer::before(server.wait_for_listener("whoami"), "");
    let checked = check(balancer.address, "--whoami");
    checked.assert_failed(&["source-address"]);
    let seen = checked.seen("source-address");
    assert!(seen.contains("the server sees 127.0.0.1:"), "{seen}");
}

#[test]
#[ignore = "needs haproxy"]
fn nobody_notices_a_server_that_stops_as_a_lame_duck() {
    let any = "127.0.0.1:0";
    let mut servers: Vec<_> = (0..2)
        .map(|_| {
            let mut program = Program::start([
                "serve",
                "--echo",
                any,
                "--admin",
                any,
                "--lame-duck",
                "2s",
                "-v",
            ]);
            let echo = program.wait_for_listener("echo");
            let admin = admin_of(&mut program);
            (program, echo, admin)
        })
        .collect();
    let mut lines = String::from(" option httpchk GET /readyz\n");
    for (number, (_, echo, admin)) in servers.iter().enumerate() {
        let port = admin.port();
        lines += &format!(" server s{number} {echo} check port {port} inter 100 fall 2\n");
    }
    let balancer = Balancer::start(&lines);
    let address = balancer.address.to_string();
    let churn = [
        "--churn",
        "--rate",
        "200",
        "--duration",
        "6s",
        "--warmup",
        "0s",
    ];
    let mut load = Command::new(env!("CARGO_BIN_EXE_echopool"));
    load.arg("bench").arg(&address).args(churn);
    load.args(["--expect", "errors=0", "--quiet"])
        .env_remove("RUST_LOG");
    load.stdout(Stdio::null());
    let mut load = Program::spawn(load);
    let (leaving, ..) = &mut servers[0];
    leaving.wait_for("connected to echo");
    leaving.signal(Signal::TERM);
    leaving.wait_for("stopping in 2s");
    // It has had its last client well before it goes.
    assert_eq!(leaving.wait().code(), Some(0), "{:#?}", leaving.log);
    assert_eq!(load.wait().code(), Some(0), "{:#?}", load.log);
    assert!(servers[1].0.child.try_wait().unwrap().is_none());
}
