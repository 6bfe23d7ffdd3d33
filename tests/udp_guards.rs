//! Whom a server of datagrams does not answer, and how often it answers one.
#![cfg(target_os = "linux")]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::http::{admin_of, get, metrics};
use common::serve::{log_of, reported, stop_cleanly};
use common::udp::{local, receive, round_trip, serve, serve_on};
use common::wait_until;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A socket that writes the whole packet itself, which needs root.
fn forger() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).unwrap();
    socket.set_header_included_v4(true).unwrap();
    socket
}

/// Sends a datagram that names another one as its sender: RFC 791, RFC 768, without
/// checksums, which the kernel adds or does without.
fn forge(forger: &Socket, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), bytes: &[u8]) {
    let length = 28 + bytes.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(bytes);
    let to = SockAddr::from(SocketAddr::from((to.0, 0)));
    assert_eq!(forger.send_to(&packet, &to).unwrap(), packet.len());
}

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn a_source_over_its_rate_is_not_answered_and_counted() {
    let arguments = [
        "--udp-rate",
        "100/s",
        "--admin",
        "127.0.0.1:0",
        "--workers",
        "2",
    ];
    let (mut program, server) = serve(&arguments);
    let admin = admin_of(&mut program);
    let client = local();
    let start = Instant::now();
    for _ in 0..500 {
        client.send_to(b"x", server).unwrap();
    }
    wait_until("all to be counted", || {
        metrics(admin)["echopool_datagrams_received_total"] == 500.0
    });
    let samples = metrics(admin);
    let answered = samples["echopool_datagrams_answered_total"];
    let refused = samples["echopool_datagrams_refused_total{reason=\"rate\"}"];
    assert_eq!(answered + refused, 500.0);
    for (part, whole, labels) in [
        ("received", 500.0, ""),
        ("answered", answered, ""),
        ("echoed_bytes", answered, ""),
        ("dropped", 0.0, ""),
        ("refused", refused, ",reason=\"rate\""),
    ] {
        let of = |worker: &str| {
            let name = format!("echopool_worker_datagrams_{part}_total");
            samples[&format!("{name}{{worker=\"{worker}\"{labels}}}")]
        };
        assert_eq!(of("0") + of("1"), whole, "{part}");
    }
    let most = 100.0 * (1.0 + start.elapsed().as_secs_f64()) + 1.0;
    assert!((100.0..=most).contains(&answered), "{answered} of {most}");
    let page: serde_json::Value = serde_json::from_str(&get(admin, "/status.json").body).unwrap();
    let on_page = &page["datagrams"];
    assert_eq!(on_page["received"], 500);
    assert_eq!(on_page["answered"].as_f64(), Some(answered));
    assert_eq!(on_page["refused"]["rate"].as_f64(), Some(refused));
    let log = log_of(program);
    // Each of them is counted in a line.
    let count = |line: &String, before: &str| -> Option<f64> {
        let words = line.split(before).nth(1)?.split(' ').next()?;
        words.parse().ok()
    };
    let lines = log.iter().filter(|line| line.contains("over --udp-rate"));
    let told = lines.filter_map(|line| match line.contains("is not answered: ") {
        true => count(line, "(and ").map(|others| 1.0 + others),
        false => line
            .contains("more datagrams were not answered")
            .then(|| count(line, "WARN  "))?,
    });
    assert_eq!(told.sum::<f64>(), refused, "{log:#?}");
    let words = format!("{refused} over --udp-rate");
    assert!(reported(&log, "total:").contains(&words), "{log:#?}");
}

#[test]
fn a_long_datagram_takes_as_much_of_the_rate_as_its_packets() {
    let (program, server) = serve(&["--udp-rate", "1/s"]);
    let client = local();
    // 44 of the 64 tokens at once.
    client.send_to(&[7; 65_507], server).unwrap();
    client.send_to(&[8; 65_507], server).unwrap();
    client.send_to(b"x", server).unwrap();
    assert_eq!(receive(&client).0.len(), 65_507);
    assert_eq!(receive(&client).0, b"x");
    let log = log_of(program);
    let total = reported(&log, "total:");
    assert!(total.contains("1 refused: 1 over --udp-rate"), "{total}");
}

#[test]
fn no_metric_of_datagrams_is_missing_on_the_page() {
    let (mut program, server) = serve(&["--admin", "127.0.0.1:0"]);
    let admin = admin_of(&mut program);
    round_trip(&local(), server, b"hello");
    let page = get(admin, "/status.json");
    let page: serde_json::Value = serde_json::from_str(&page.body).unwrap();
    let listener = format!("udp://{server}");
    assert_eq!(page["listeners"], serde_json::json!([listener]));
    wait_until("the answer to be counted", || {
        metrics(admin)["echopool_datagrams_answered_total"] == 1.0
    });
    let samples = metrics(admin);
    for name in ["received", "answered", "unsent", "dropped"] {
        let name = format!("echopool_datagrams_{name}_total");
        assert!(samples.contains_key(&name), "{name}");
    }
    assert_eq!(samples["echopool_datagrams_echoed_bytes_total"], 5.0);
    let reasons = [
        "cut",
        "port_zero",
        "low_port",
        "address",
        "own",
        "rate",
        "malformed",
        "sessions",
    ];
    for reason in reasons {
        let name = format!("echopool_datagrams_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(samples[&name], 0.0);
        assert_eq!(page["datagrams"]["refused"][reason], 0, "{reason}");
    }
    let on_page = page["datagrams"]["refused"].as_object().unwrap();
    assert_eq!(on_page.len(), reasons.len(), "{on_page:?}");
}

#[test]
fn what_was_sent_to_many_is_not_answered_and_counted() {
    let arguments = ["--admin", "127.0.0.1:0", "--workers", "1"];
    let (mut program, server) = serve_on("0.0.0.0:0", &arguments);
    let admin = admin_of(&mut program);
    let client = local();
    client.set_broadcast(true).unwrap();
    let to_many = SocketAddr::from(([127, 255, 255, 255], server.port()));
    client.send_to(b"to many", to_many).unwrap();
    wait_until("it to be refused", || {
        metrics(admin)["echopool_datagrams_refused_total{reason=\"address\"}"] == 1.0
    });
    let log = log_of(program);
    let words = "1 refused: 1 to or from a broadcast, multicast or unspecified address";
    assert!(reported(&log, "total:").contains(words), "{log:#?}");
    let words = "is not answered: to or from a broadcast";
    assert!(log.iter().any(|line| line.contains(words)), "{log:#?}");
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 20]).is_err());
}

#[test]
#[ignore = "needs root"]
fn a_forged_source_that_would_be_an_attack_is_not_answered() {
    let arguments = [
        "--stamp",
        "0.0.0.0:0",
        "--admin",
        "127.0.0.1:0",
        "--workers",
        "2",
    ];
    let (mut program, echo) = serve_on("0.0.0.0:0", &arguments);
    let reflector = program.wait_for_listener("stamp").port();
    let admin = admin_of(&mut program);
    let (forger, echo) = (forger(), echo.port());
    for to in [echo, reflector] {
        for (from, reason) in [
            ((LOCAL, echo), "own"),
            ((LOCAL, reflector), "own"),
            ((Ipv4Addr::new(127, 0, 0, 9), to), "own"),
            ((LOCAL, 0), "port_zero"),
            ((LOCAL, 19), "low_port"),
        ] {
            let name = format!("echopool_datagrams_refused_total{{reason=\"{reason}\"}}");
            let before = metrics(admin)[&name];
            forge(&forger, from, (LOCAL, to), &[0; 64]);
            wait_until(reason, || metrics(admin)[&name] == before + 1.0);
        }
    }
    let samples = metrics(admin);
    assert_eq!(samples["echopool_datagrams_received_total"], 10.0);
    assert_eq!(samples["echopool_datagrams_answered_total"], 0.0);
    stop_cleanly(program);
}

#[test]
#[ignore = "needs root"]
fn a_port_below_1024_is_answered_where_that_is_asked_for() {
    // One that no other program has.
    let low = (512..1024).rev().find_map(|port| {
        let socket = UdpSocket::bind(("127.0.0.1", port)).ok()?;
        let time = Some(common::DEADLINE);
        socket.set_read_timeout(time).unwrap();
        Some(socket)
    });
    let low = low.expect("a port below 1024");
    let both = ["127.0.0.1:0", "--stamp", "127.0.0.1:0"];
    for is_answered in [true, false] {
        let options = [
            &both[1..],
            if is_answered {
                &["--udp-low-ports"]
            } else {
                &[]
            },
        ];
        let (mut program, echo) = serve_on(both[0], &options.concat());
        let reflector = program.wait_for_listener("stamp");
        for server in [echo, reflector] {
            low.send_to(&[7; 44], server).unwrap();
            if is_answered {
                let (answer, from) = receive(&low);
                assert_eq!((answer.len(), from), (44, server));
            }
        }
        let log = log_of(program);
        let words = match is_answered {
            true => ", 2 datagrams answered with 88 bytes",
            false => "2 refused: 2 from a port below 1024 (--udp-low-ports)",
        };
        assert!(reported(&log, "total:").contains(words), "{log:#?}");
    }
    low.set_nonblocking(true).unwrap();
    assert!(low.recv(&mut [0; 100]).is_err(), "one answer each");
}

#[test]
#[ignore = "needs root"]
fn a_loop_between_two_servers_comes_down_to_the_rate() {
    const RATE: f64 = 200.0;
    let arguments = ["--udp-rate", "200/s", "--admin", "127.0.0.1:0"];
    let mut servers = [serve(&arguments), serve(&arguments)];
    let admins: Vec<_> = servers
        .iter_mut()
        .map(|(program, _)| admin_of(program))
        .collect();
    let [one, other] = [servers[0].1.port(), servers[1].1.port()];
    let (forger, start) = (forger(), Instant::now());
    // Far more than the rate in circulation.
    for _ in 0..1000 {
        forge(&forger, (LOCAL, one), (LOCAL, other), &[0; 64]);
    }
    let answered = |admin| metrics(admin)["echopool_datagrams_answered_total"];
    let refused = |admin| metrics(admin)["echopool_datagrams_refused_total{reason=\"rate\"}"];
    wait_until("all datagrams to have been refused once", || {
        admins.iter().copied().map(refused).sum::<f64>() >= 1000.0
    });
    for &admin in &admins {
        let (answered, time) = (answered(admin), start.elapsed().as_secs_f64());
        assert!(
            answered <= RATE * (1.0 + time) + 1.0,
            "{answered} in {time} s"
        );
    }
    // Without the guard it would go on for ever.
    let still = || admins.iter().copied().map(answered).sum::<f64>();
    wait_until("the loop to end", || {
        let before = still();
        std::thread::sleep(Duration::from_millis(50));
        still() == before
    });
    for (program, _) in servers {
        stop_cleanly(program);
    }
}
