//! What the kernel dropped of datagrams because a socket's queue was full.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// How many were dropped at the sockets with these local ports, whosever they are.
///
/// # Errors
/// `/proc/net/udp` can't be read.
pub fn at_ports(ports: &BTreeSet<u16>) -> io::Result<u64> {
    Ok(in_table(&fs::read_to_string("/proc/net/udp")?, ports))
}

/// A line has a number, the local `ADDRESS:PORT` in hex, and the drops at its end.
fn in_table(table: &str, ports: &BTreeSet<u16>) -> u64 {
    let drops = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (_, port) = words.nth(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        ports
            .contains(&port)
            .then(|| words.last()?.parse::<u64>().ok())?
    };
    table.lines().filter_map(drops).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_the_ports_are_added() {
        let table = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1234: 0100007F:4EC2 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 00000000abcdef01 7
 1235: 0100007F:4EC3 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 00000000abcdef02 5
 1236: 0100007F:4EC4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 00000000abcdef03 9
";
        let at = |ports: &[u16]| in_table(table, &ports.iter().copied().collect());
        assert_eq!(at(&[0x4ec2, 0x4ec4]), 16);
        assert_eq!(at(&[1]), 0);
    }

    #[test]
    fn the_drops_of_this_system_can_be_read() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
        let ports = BTreeSet::from([address.port()]);
        assert_eq!(at_ports(&ports).unwrap(), 0);
        for _ in 0..20 {
            socket.send_to(&[0; 1000], address).unwrap();
        }
        assert!(at_ports(&ports).unwrap() > 0);
    }
}
