//! The system calls of the laboratory that have no safe wrapper.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};

/// Creates a TUN device in the network namespace of this thread. It carries bare IP
/// packets, one a read or write, which do not block, and is gone with the file.
///
/// # Errors
/// Where there is no TUN driver, or the name is taken.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = options
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: all fields of an `ifreq` are numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "{name} is too long");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    match done {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The urgent byte that has come, if one has and nobody has had it yet.
pub(crate) fn receive_urgent(stream: &TcpStream) -> Option<u8> {
    let mut byte = [MaybeUninit::uninit()];
    match SockRef::from(stream).recv_out_of_band(&mut byte) {
        // SAFETY: one byte was received, and the kernel wrote it there.
        Ok(1) => Some(unsafe { byte[0].assume_init() }),
        _ => None,
    }
}

/// Sends a datagram, a few times if need be, and returns the byte of DSCP and ECN with which
/// its echo comes.
pub(crate) fn ask_for_marks(socket: &UdpSocket, bytes: &[u8]) -> Option<u8> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 2 * size_of::<libc::c_int>();

    let reference = SockRef::from(socket);
    let is_v6 = socket.local_addr().ok()?.is_ipv6();
    match is_v6 {
        false => reference.set_recv_tos_v4(true).ok()?,
        true => reference.set_recv_tclass_v6(true).ok()?,
    }
    (0..4).find_map(|_| {
        socket.send(bytes).ok()?;
        let mut control = [MaybeUninit::new(0_u8); 64];
        let mut block = [MaybeUninit::uninit(); 64];
        let mut buffers = [MaybeUninitSlice::new(&mut block)];
        let mut message = MsgHdrMut::new()
            .with_control(&mut control)
            .with_buffers(&mut buffers);
        reference.recvmsg(&mut message, 0).ok()?;
        let length = message.control_len();
        // SAFETY: all of them were initialised above, and the kernel writes over some.
        let control = control.map(|byte| unsafe { byte.assume_init() });
        // Behind its header one message has a byte of IPv4, or an int of IPv6.
        (length > HEADER).then(|| control[HEADER])
    })
}
