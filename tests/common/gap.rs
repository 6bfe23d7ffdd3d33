//! Clients that leave a gap in what they send to a server, which it can't read beyond.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use socket2::{SockFilter, SockRef};

use super::round_trip;

/// What the segment that is lost begins with.
const LOST: &[u8] = b"lost";

/// A listening socket whose clients' segments are dropped where they begin with [`LOST`],
/// however often they are sent.
pub fn losing_socket() -> TcpListener {
    let code = |code: u32| code as u16;
    let word = u32::from_be_bytes(LOST.try_into().unwrap());
    // The TCP header with its time stamps has 32 bytes.
    let filter = [
        SockFilter::new(code(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN), 0, 0, 0),
        SockFilter::new(code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K), 0, 3, 36),
        SockFilter::new(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, 32),
        SockFilter::new(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            1,
            word,
        ),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX),
    ];
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&socket).attach_filter(&filter).unwrap();
    socket
}

/// Takes an echo, then leaves a gap and sends behind it as much as it is allowed to. The
/// client holds no more than the server does: its memory is of the same machine.
pub fn fill_behind_gap(client: &mut TcpStream) {
    SockRef::from(&*client)
        .set_send_buffer_size(64 * 1024)
        .unwrap();
    round_trip(client, b"one that takes its bytes");
    client.set_nonblocking(true).unwrap();
    client.write_all(LOST).unwrap();
    while client.write(&[7; 64 * 1024]).is_ok() {}
}
