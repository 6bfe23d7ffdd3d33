//! The command `echopool serve`: its options, and the server that they configure.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use log::{LevelFilter, warn};

use super::error::Error;
use super::exit::Exit;
use super::values::{UdpRate, address, bytes, count, limit, time, time_limit, udp_rate};
use crate::admin::{self, Admin};
use crate::base;
use crate::base::address::Address;
use crate::base::logging;
use crate::base::open_files::raise_open_files;
use crate::base::signals::on_signal;
use crate::pool::MAX_WORKERS;
use crate::proto::Protocol;
use crate::server::{
    self, Asked, Config, DEFAULT_BACKLOG, DEFAULT_UDP_BUFFER, Listener, Options, Server,
    ServiceManager, Sockets, Stop,
};
use crate::worker::datagrams::protocol::DatagramProtocol;

/// Serve TCP and UDP echo to any number of clients
///
/// Without --echo, --counted, --whoami, --udp and --stamp it serves echo on port 20162 of all
/// interfaces.
/// SIGINT, SIGTERM or SIGHUP stops it: clients have --grace to finish, and a second signal
/// ends it at once. The kernel merges signals of one kind that come almost together.
///
/// Sockets that a service manager hands over are served by their names: echo, counted, whoami,
/// udp or stamp. Nothing else is served then, unless an option asks for it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
ADDR is HOST:PORT, [V6]:PORT, :PORT, PORT or HOST; without a host, or with * for HOST, all \
interfaces. Addresses that this machine lacks are passed over with a warning while one is left.

Examples:
  echopool serve                      echo on port 20162
  echopool serve --echo 7 --counted   port 7, and the counted protocol on 4000
  echopool serve --echo --udp         TCP and UDP echo on port 20162
  echopool serve --echo '[::1]:0' -v  any free port; log clients that come and go

Environment:
  RUST_LOG             log filter, for instance trace; overrides -v and -q
  ECHOPOOL_...         the options, as named above; the command line overrides them;
                       ECHOPOOL_ECHO, _COUNTED, _WHOAMI, _UDP and _STAMP take lists with
                       commas

Exit codes:
  0    every client was served to its end
  1    an error, or a worker panicked
  2    wrong usage
  3    the grace period ran out and connections were cut, or clients that waited
       to be accepted were turned away
  130  a second signal")]
pub(super) struct ServeArgs {
    /// Serve RFC 862 echo on this address [default port: 20162]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "20162",
          value_delimiter = ',', value_parser = address)]
    echo: Vec<Address>,

    /// Serve the counted one-shot protocol on this address [default port: 4000]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "4000",
          value_delimiter = ',', value_parser = address)]
    counted: Vec<Address>,

    /// Serve whoami on this address: each client is sent its own address as the server sees it
    /// [default port: 4001]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "4001",
          value_delimiter = ',', value_parser = address)]
    whoami: Vec<Address>,

    /// Send clients of --whoami also what this machine's TCP knows of the connection, as a second
    /// line: round trip, retransmits, MSS and options, in JSON; behind a proxy, of that with the
    /// proxy; on Linux and Android
    #[arg(long, value_parser = BoolishValueParser::new())]
    whoami_tcp: bool,

    /// Answer datagrams on this address: RFC 862 echo over UDP. Limits that count connections do
    /// not apply [default: off; default port: 20162]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "20162",
          value_delimiter = ',', value_parser = address)]
    udp: Vec<Address>,

    /// Reflect STAMP's test packets on this address: RFC 8762, without authentication [default:
    /// off; default port: 862]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "862",
          value_delimiter = ',', value_parser = address)]
    stamp: Vec<Address>,

    /// Datagrams per second that are answered for each source, an IPv4 address or an IPv6 /64; a
    /// datagram counts once for each started 1,500 bytes. off sets no limit [default: 2000/s]
    #[arg(long, value_name = "N/s", value_parser = udp_rate)]
    udp_rate: Option<UdpRate>,

    /// Answer datagrams from source ports below 1024 as well; a service there may reply to the
    /// answers, without end
    #[arg(long, value_parser = BoolishValueParser::new())]
    udp_low_ports: bool,

    /// Size of each worker's receive buffer for datagrams; those that arrive while it is full are
    /// lost [default: 4MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes(i32::MAX as usize / 2))]
    udp_buffer: Option<usize>,

    /// Expect a PROXY protocol header, version 1 or 2, at the start of every connection: for
    /// listeners that only a load balancer can reach
    #[arg(long, value_parser = BoolishValueParser::new())]
    proxy_protocol: bool,

    /// Worker threads [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = count::<usize>(1..=MAX_WORKERS as u64))]
    workers: Option<usize>,

    /// Connections that may wait in the kernel to be accepted
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BACKLOG,
          value_parser = count::<u32>(1..=i32::MAX as u64))]
    backlog: u32,

    /// Clients served at once; more wait in the backlog [default: what the limit on open files
    /// allows]
    #[arg(long, value_name = "N", value_parser = limit)]
    max_connections: Option<usize>,

    /// Clients served at once from one source, an IPv4 address or an IPv6 /64; more are closed at
    /// once [default: no limit]
    #[arg(long, value_name = "N", value_parser = limit)]
    max_per_source: Option<usize>,

    /// Close a connection after this long without a byte in either direction [default: off]
    #[arg(long, value_name = "DURATION", value_parser = time_limit)]
    idle_timeout: Option<Duration>,

    /// Reset a client that has accepted none of its pending echo for this long: at least 250ms,
    /// or 0s for never
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = stall_time)]
    stall_timeout: Duration,

    /// Close a connection after this long, however busy; what has arrived is still echoed
    /// [default: off]
    #[arg(long, value_name = "DURATION", value_parser = time_limit)]
    max_lifetime: Option<Duration>,

    /// Probe a client after this long without a byte; one that is gone is ended after five
    /// probes, each a sixth of this time apart. In whole seconds, or 0s for never
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = keepalive_time)]
    keepalive: Duration,

    /// Size of each client's send and receive buffer in the kernel: bounds what a client that
    /// does not read costs [default: the kernel's choice, up to some megabytes]
    #[arg(long, value_name = "BYTES", value_parser = bytes(i32::MAX as usize))]
    socket_buffer: Option<usize>,

    /// Limit on unread echo: above it no client is accepted, and those that have read nothing for
    /// the longest are reset, after 5 s those with the most unread echo. The kernel's own limits
    /// apply as well [default: only those]
    #[arg(long, value_name = "BYTES", value_parser = bytes(usize::MAX))]
    memory_limit: Option<usize>,

    /// How long clients have to finish when the server stops
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = time)]
    grace: Duration,

    /// When asked to stop, serve for this long first and report not ready (/readyz of --admin), so
    /// that load balancers choose another server [default: off]
    #[arg(long, value_name = "DURATION", value_parser = time)]
    lame_duck: Option<Duration>,

    /// Serve metrics, health and a live page over HTTP on this address; without a host, on
    /// loopback only, and with * for HOST on all interfaces [default: off; default port: 20163]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "20163",
          value_parser = address)]
    admin: Option<Address>,

    /// Poll for this long after activity before sleeping: quicker replies to a client that sends
    /// now and then, over TCP or UDP, for a busy CPU per worker [default: off]
    #[arg(long, value_name = "DURATION", value_parser = time)]
    busy_poll: Option<Duration>,

    /// Log clients that come and go; twice, every read
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Log only warnings and errors
    #[arg(short, long)]
    quiet: bool,
}

/// The least `--stall-timeout`. It is longer than a healthy system delays its
/// acknowledgements: Linux up to 200 ms.
const LEAST_STALL: Duration = Duration::from_millis(250);

/// Reads the time of `--stall-timeout`, of which zero means never.
fn stall_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if !time.is_zero() && time < LEAST_STALL => Err(format!(
            "it must be at least {LEAST_STALL:?}, since healthy clients acknowledge what they \
             receive up to 200ms late, or 0s for never"
        )),
        time => Ok(time),
    }
}

/// The longest time that the system takes, in seconds.
const LONGEST_KEEPALIVE: u64 = 32_767;

/// Reads the time of `--keepalive`, of which zero means never.
fn keepalive_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time.subsec_nanos() > 0 || time.as_secs() > LONGEST_KEEPALIVE => Err(format!(
            "it must be whole seconds, at most {LONGEST_KEEPALIVE}s, or 0s for never"
        )),
        time => Ok(time),
    }
}

impl ServeArgs {
    /// Serves until asked to stop. Logs the warnings once there is a log.
    pub(super) fn run(&self, warnings: &[String]) -> Result<Exit, Error> {
        let _log = logging::start(self.level()).map_err(|source| base::error::Error::SetUp {
            operation: "start the log",
            source,
        })?;
        for warning in warnings {
            warn!("{warning}");
        }
        let default = Config::default();
        let config = Config {
            workers: self.workers.unwrap_or(default.workers),
            max_connections: self.max_connections,
            max_per_source: self.max_per_source,
            grace: self.grace,
            lame_duck: self.lame_duck.unwrap_or(default.lame_duck),
            idle_timeout: self.idle_timeout,
            stall_timeout: Some(self.stall_timeout).filter(|time| !time.is_zero()),
            max_lifetime: self.max_lifetime,
            memory_limit: self.memory_limit,
            busy_poll: self.busy_poll.unwrap_or(default.busy_poll),
            whoami_tcp: self.whoami_tcp,
            udp_rate: self.udp_rate.map_or(default.udp_rate, |rate| rate.0),
            udp_low_ports: self.udp_low_ports,
            reserved_descriptors: self.admin.as_ref().map_or(0, |_| admin::DESCRIPTORS),
            service_manager: ServiceManager::from_environment(),
            ..default
        };
        raise_open_files();
        let sockets = self.sockets(config.workers)?;
        self.warn_of_no_effect(&sockets);
        let admin = self.admin.as_ref().map(Admin::bind_if_present);
        let admin = admin.transpose()?.flatten();
        let stop = Stop::new();
        on_signal({
            let stop = stop.clone();
            move || stop.request()
        })?;
        let mut server = Server::start_with(sockets.listeners, sockets.datagrams, &config)?;
        let _admin = admin
            .map(|admin| admin.start(server.status()))
            .transpose()?;
        let report = server.run(&stop)?;
        Ok(match report.all_well() {
            false => Exit::Failure,
            true if !report.all_served() => Exit::Unmet,
            true => Exit::Success,
        })
    }

    /// The listeners that a service manager has bound. Their addresses and their backlog
    /// are its choice; `--socket-buffer` applies to them, too.
    fn handed_over(&self) -> Result<Sockets, Error> {
        let Sockets {
            mut listeners,
            datagrams,
        } = server::sockets()?;
        if let Some(bytes) = self.socket_buffer {
            let each = listeners.into_iter();
            let each = each.map(|listener| listener.with_buffer(bytes));
            listeners = each.collect::<Result<_, _>>()?;
        }
        for each in &datagrams {
            each.warn_of_smaller_buffer(self.udp_buffer());
        }
        Ok(Sockets {
            listeners,
            datagrams,
        })
    }

    /// All that it is asked to listen on, beside what a service manager has handed over.
    fn sockets(&self, workers: usize) -> Result<Sockets, Error> {
        let handed_over = self.handed_over()?;
        let default = [Address::from_port(Protocol::Echo.default_port())];
        let asked = [
            &self.echo,
            &self.counted,
            &self.whoami,
            &self.udp,
            &self.stamp,
        ];
        let nothing_else = handed_over.listeners.is_empty()
            && handed_over.datagrams.is_empty()
            && asked.iter().all(|asked| asked.is_empty());
        let echo: &[Address] = match nothing_else {
            true => &default,
            false => &self.echo,
        };
        let asked = Asked {
            connections: [
                each(Protocol::Echo, echo),
                each(Protocol::Counted, &self.counted),
                each(Protocol::Whoami, &self.whoami),
            ]
            .concat(),
            options: Options {
                backlog: self.backlog,
                buffer: self.socket_buffer,
            },
            datagrams: [
                each(DatagramProtocol::Echo, &self.udp),
                each(DatagramProtocol::Stamp, &self.stamp),
            ]
            .concat(),
            workers,
            udp_buffer: self.udp_buffer(),
        };
        let mut sockets = asked.bind_beside(handed_over)?;
        let keepalive = Some(self.keepalive).filter(|time| !time.is_zero());
        let listeners = sockets.listeners.into_iter();
        let listeners = listeners.map(|listener| listener.with_keepalive(keepalive));
        sockets.listeners = match self.proxy_protocol {
            true => listeners.map(Listener::behind_proxy).collect(),
            false => listeners.collect(),
        };
        Ok(sockets)
    }

    fn udp_buffer(&self) -> usize {
        self.udp_buffer.unwrap_or(DEFAULT_UDP_BUFFER)
    }

    /// Warns of options for something that is not served.
    fn warn_of_no_effect(&self, sockets: &Sockets) {
        let mut protocols = sockets.listeners.iter().map(Listener::protocol);
        let answers_datagrams = !sockets.datagrams.is_empty();
        let needs_datagrams = "--udp or --stamp";
        for (is_given, option, has_effect, needs) in [
            (
                self.udp_rate.is_some(),
                "--udp-rate",
                answers_datagrams,
                needs_datagrams,
            ),
            (
                self.udp_buffer.is_some(),
                "--udp-buffer",
                answers_datagrams,
                needs_datagrams,
            ),
            (
                self.udp_low_ports,
                "--udp-low-ports",
                answers_datagrams,
                needs_datagrams,
            ),
            (
                self.proxy_protocol,
                "--proxy-protocol",
                !sockets.listeners.is_empty(),
                "--echo, --counted or --whoami",
            ),
            (
                self.whoami_tcp,
                "--whoami-tcp",
                protocols.any(|protocol| protocol == Protocol::Whoami),
                "--whoami",
            ),
        ] {
            if is_given && !has_effect {
                warn!("{option} has no effect: it needs {needs}");
            }
        }
    }

    const fn level(&self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::Warn,
            (false, 0) => LevelFilter::Info,
            (false, 1) => LevelFilter::Debug,
            (false, _) => LevelFilter::Trace,
        }
    }
}

/// Each of these addresses with what is spoken there.
fn each<P: Copy>(protocol: P, addresses: &[Address]) -> Vec<(P, &Address)> {
    addresses
        .iter()
        .map(|address| (protocol, address))
        .collect()
}
