//! The network that a run measures in: one of its own, where the system's paces.
//!
//! BBR paces what a socket sends. Between two sockets of one machine that is a timer for
//! nearly every segment, which takes several times as long as what a server does with the
//! segment, and it is the same for every server. So where it is the system's congestion
//! control, servers and load run in a network namespace of their own with another one.

use std::error::Error;
use std::fs;
use std::io;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use rustix::process::{getgid, getuid};

/// Where the kernel names the congestion control that new sockets have.
const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// The congestion control in the namespace. It is part of every kernel, and allowed in
/// every namespace.
const UNPACED: &str = "reno";

/// Leaves the system's network for one without pacing, where the system's has it and the
/// kernel allows it: before this process has a second thread. Returns the congestion control
/// of the servers and the load.
///
/// # Errors
/// The new network could not be set up.
pub fn leave_pacing() -> Result<String, Box<dyn Error>> {
    let system = congestion_control()?;
    if !paces(&system) {
        return Ok(system);
    }
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("measuring with {system}, which paces: there is no ip (iproute2)");
        return Ok(system);
    }
    if let Err(error) = unshare_network() {
        eprintln!("measuring with {system}, which paces: no network of its own: {error}");
        return Ok(system);
    }
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    match up {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("ip link set lo up: {status}").into()),
        Err(error) => return Err(format!("could not run ip: {error}").into()),
    }
    fs::write(DEFAULT, UNPACED)?;
    Ok(format!("{UNPACED} (the system's, {system}, paces)"))
}

/// The congestion control that new sockets have.
///
/// # Errors
/// It can't be read.
pub fn congestion_control() -> io::Result<String> {
    Ok(fs::read_to_string(DEFAULT)?.trim().to_owned())
}

/// Moves this process to a network of its own, if need be by way of a user namespace. There
/// it is root: another user's rights would not outlast the start of `ip`.
fn unshare_network() -> Result<(), Box<dyn Error>> {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(());
    }
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(())
}

/// Whether the congestion control of this name paces: BBR and its later versions.
fn paces(name: &str) -> bool {
    name.starts_with("bbr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bbr_paces_in_each_version_and_the_usual_ones_do_not() {
        let names = ["bbr", "bbr2", "bbr3", "cubic", "reno", "dctcp"];
        assert_eq!(names.map(paces), [true, true, true, false, false, false]);
    }
}
