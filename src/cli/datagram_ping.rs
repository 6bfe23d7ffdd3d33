//! `echopool ping --udp` and `ping --stamp`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;

use super::error::Error;
use super::lines;
use super::values::count;
use crate::base;
use crate::base::open_files::raise_open_files;
use crate::base::signals::on_signal;
use crate::base::units;
use crate::ping::datagram::event::Event;
use crate::ping::datagram::summary::DatagramSummary;
use crate::ping::datagram::{Carries, DatagramPing, Plan};
use crate::probe::datagram::marks::Marks;
use crate::proto::stamp::Format;
use crate::worker::datagrams::protocol::DatagramProtocol;

/// The most source ports: two descriptors each.
const MOST_PORTS: u64 = 256;

/// The options that only datagrams have.
#[derive(Clone, Debug, Args)]
pub(super) struct DatagramArgs {
    /// Send UDP datagrams, to the same port number
    #[arg(long, group = "datagrams")]
    pub(super) udp: bool,

    /// Send test packets of STAMP (RFC 8762) or TWAMP light, to port 862 where none is given:
    /// loss and delay of each direction
    #[arg(long, group = "datagrams")]
    pub(super) stamp: bool,

    /// Send times in the format of PTP, not of NTP
    #[arg(long, requires = "stamp", conflicts_with = "udp")]
    ptp: bool,

    /// Source ports to send from in turn; the summary reports each
    #[arg(long, value_name = "N", default_value_t = 1, requires = "datagrams",
          value_parser = count::<usize>(1..=MOST_PORTS))]
    ports: usize,

    /// Code point to mark datagrams with: 0 to 63, or a name such as EF or AF41
    #[arg(long, value_name = "DSCP", requires = "datagrams", value_parser = dscp)]
    dscp: Option<u8>,

    /// ECN bits to mark datagrams with: not-ect, ect0, ect1 or ce
    #[arg(long, value_name = "ECN", requires = "datagrams", value_parser = ecn)]
    ecn: Option<u8>,

    /// DSCP and ECN as one byte, as in 184 or 0xb8
    #[arg(long, value_name = "BYTE", requires = "datagrams", conflicts_with_all = ["dscp", "ecn"],
          value_parser = tos)]
    tos: Option<u8>,
}

/// What a ping is asked for, whatever carries it.
pub(super) struct Asked {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) count: Option<u64>,
    pub(super) interval: Duration,
    pub(super) size: usize,
    pub(super) timeout: Duration,
    pub(super) seed: u64,
    pub(super) quiet: bool,
    pub(super) json: bool,
}

impl DatagramArgs {
    /// Whether datagrams are to be sent.
    pub(super) const fn are_asked_for(&self) -> bool {
        self.udp || self.stamp
    }

    /// The port where none is given.
    pub(super) const fn default_port(&self) -> u16 {
        match self.stamp {
            true => DatagramProtocol::Stamp.default_port(),
            false => DatagramProtocol::Echo.default_port(),
        }
    }

    const fn carries(&self) -> Carries {
        match (self.stamp, self.ptp) {
            (false, _) => Carries::Echo,
            (true, false) => Carries::Stamp(Format::Ntp),
            (true, true) => Carries::Stamp(Format::Ptp),
        }
    }

    fn marks(&self) -> Marks {
        match self.tos {
            Some(byte) => Marks::of_byte(byte),
            None => Marks {
                dscp: self.dscp.unwrap_or(0),
                ecn: self.ecn.unwrap_or(0),
            },
        }
    }

    /// What is sent, and to whom, in a line.
    fn header(&self, address: SocketAddr, size: usize) -> String {
        let ports = match self.ports {
            1 => String::new(),
            ports => format!(", {ports} source ports in turn"),
        };
        let marks = match self.marks() {
            marks if marks == Marks::default() => String::new(),
            marks => format!(", {marks}"),
        };
        let (by, what) = match self.stamp {
            true => ("by STAMP", "packet"),
            false => ("over UDP", "datagram"),
        };
        let size = units::plain_count(size as u64, "byte", "bytes");
        format!("PING {address} {by}: {size} a {what}{ports}{marks}")
    }

    /// Sends the datagrams. Sets `failed` once one has failed, also where the event then
    /// can't be written. Returns whether all is well.
    pub(super) fn ping(&self, asked: Asked, failed: &mut bool) -> Result<bool, Error> {
        let size = asked.size;
        if self.ports > 1 {
            raise_open_files();
        }
        let ping = DatagramPing::new(Plan {
            addresses: asked.addresses,
            carries: self.carries(),
            count: asked.count,
            interval: asked.interval,
            size,
            timeout: asked.timeout,
            seed: asked.seed,
            ports: self.ports,
            marks: self.marks(),
        })?;
        let stop = ping.stop();
        on_signal(move || stop.request())?;
        let address = ping.address();
        let started = Instant::now();
        if !asked.json {
            lines::print(&self.header(address, size))?;
        }
        let write = |event: &Event| match asked.json {
            true => lines::write_json(event, started),
            false => lines::write_line(&event.to_string()),
        };
        let summary: DatagramSummary = ping.run(&mut |event| {
            *failed |= event.is_failure();
            match asked.quiet {
                true => Ok(()),
                false => write(event),
            }
        })?;
        *failed |= !summary.all_well();
        if !asked.json {
            let what = if self.stamp { "STAMP" } else { "UDP echo" };
            lines::print(&format!("\n--- {address} {what} statistics ---"))?;
        }
        let all_well = summary.all_well();
        write(&Event::Summary(Box::new(summary))).map_err(base::error::Error::Output)?;
        Ok(all_well)
    }
}

fn dscp(text: &str) -> Result<u8, String> {
    Marks::dscp_of(text).ok_or_else(|| {
        String::from("it must be from 0 to 63, or a name: EF, VA, LE, CS0 to CS7, AF11 to AF43")
    })
}

fn ecn(text: &str) -> Result<u8, String> {
    let words = "it must be not-ect, ect0, ect1, ce, or a number from 0 to 3";
    Marks::ecn_of(text).ok_or_else(|| String::from(words))
}

fn tos(text: &str) -> Result<u8, String> {
    let words = "it must be from 0 to 255, or from 0x00 to 0xff";
    Marks::byte_of(text).ok_or_else(|| String::from(words))
}
