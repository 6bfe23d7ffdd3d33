//! The server behind a real load balancer: HAProxy, with the PROXY protocol and without.
//!
//! It needs haproxy, so it runs only when asked for: `make test-tools`.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use common::check::check;
use common::http::admin_of;
use common::{Program, connect, full_duplex, reserve, wait_until};
use rustix::process::Signal;

/// HAProxy before some servers.
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
        let (reserved, address) = reserve(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let configuration = format!(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
             timeout check 10s\n\
             listen it\n bind {address}\n{servers}"
        );
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        command.stdout(Stdio::null());
        drop(reserved);
        let program = Program::spawn(command);
        wait_until("haproxy to listen", || TcpStream::connect(address).is_ok());
        Self {
            _program: program,
            _folder: folder,
            address,
        }
    }
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
        // Urgent data is not passed on as such.
        check(balancer.address, "--skip urgent").assert_passed(&["source-address", "idle"]);
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
