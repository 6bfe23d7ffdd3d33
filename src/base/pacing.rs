//! Keeps connections over loopback from being paced.

use std::net::SocketAddr;

use socket2::SockRef;

#[cfg(target_os = "linux")]
use super::address::canonical;
#[cfg(target_os = "linux")]
use super::error::cause;

/// The congestion control of connections over loopback, where the system's own one paces. It
/// is part of every kernel and allowed to every user.
#[cfg(target_os = "linux")]
const UNPACED: &[u8] = b"reno";

/// Has a socket send as fast as its peer reads, if `address` is a loopback address: that of a
/// listener, for the clients that it accepts from now on, or that of the server that the socket
/// is going to connect to. BBR paces: without the `fq` queueing discipline, which loopback
/// lacks, it sets a timer for nearly every segment. Between two sockets of one machine there is
/// no queue that pacing keeps short, and the timers take most of a stream's CPU time. A
/// connection that is established stays paced whatever is set later.
#[cfg(target_os = "linux")]
pub(crate) fn stop_within_machine(socket: &SockRef<'_>, address: SocketAddr) {
    if canonical(address).ip().is_loopback()
        && socket.tcp_congestion().is_ok_and(|name| paces(&name))
        && let Err(error) = socket.set_tcp_congestion(UNPACED)
    {
        log::debug!("what is sent to {address} is paced: {}", cause(&error));
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn stop_within_machine(_socket: &SockRef<'_>, _address: SocketAddr) {}

/// Whether the congestion control of this name paces: BBR and its later versions.
#[cfg(target_os = "linux")]
fn paces(congestion_control: &[u8]) -> bool {
    congestion_control.starts_with(b"bbr")
}

/// The name of a socket's congestion control.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn name(socket: &SockRef<'_>) -> Vec<u8> {
    let mut name = socket.tcp_congestion().unwrap();
    name.retain(|&letter| letter != 0);
    name
}

/// Gives a socket BBR where the kernel has it and allows it. Returns the name of what it has.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn prefer_bbr(socket: &SockRef<'_>) -> Vec<u8> {
    let _ = socket.set_tcp_congestion(b"bbr");
    name(socket)
}

/// What a socket on loopback has that would have the congestion control of this name.
#[cfg(all(test, target_os = "linux"))]
pub(crate) fn without(congestion_control: Vec<u8>) -> Vec<u8> {
    match paces(&congestion_control) {
        true => UNPACED.to_vec(),
        false => congestion_control,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn bbr_paces_in_each_version_and_the_usual_ones_do_not() {
        let names = ["bbr", "bbr2", "bbr3", "cubic", "reno", "dctcp"];
        let paced = names.map(|name| paces(name.as_bytes()));
        assert_eq!(paced, [true, true, true, false, false, false]);
    }
}
