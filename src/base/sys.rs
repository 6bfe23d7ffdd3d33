//! What differs between systems, and the system calls that have no safe wrapper.
#![allow(unsafe_code)]

pub(crate) mod accept;
pub(crate) mod addresses;
pub(crate) mod clock;
pub(crate) mod datagram;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "sys/poll_set_none.rs"
)]
pub(crate) mod poll_set;

use std::io;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::time::Duration;

#[cfg(unix)]
use mio::Interest;
use mio::{Events, Poll, Registry, Token};
#[cfg(unix)]
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Socket, Type};

/// Whether a short read proves that the socket is empty, so that no second read is needed:
/// epoll(7), question 9. Other pollers of mio require a `WouldBlock`.
pub(crate) const SHORT_READ_DRAINS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Whether the system counts what a peer has not acknowledged: see [`unacknowledged`].
pub(crate) const COUNTS_UNACKNOWLEDGED: bool =
    cfg!(any(target_os = "linux", target_os = "android"));

/// Waits for events. A signal ends the wait without events.
///
/// # Errors
/// The poller's.
pub(crate) fn poll(
    poller: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    match poller.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        result => result,
    }
}

/// The number of bytes that the peer has not acknowledged yet, where the FIN counts as one;
/// `None` where the system does not report it. Source: `SIOCOUTQ` in tcp(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn unacknowledged(stream: &mio::net::TcpStream) -> Option<usize> {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    // SAFETY: the stream keeps its descriptor open for the whole call, and
    // TIOCOUTQ (the same number as SIOCOUTQ) writes one int to the address given.
    let failed = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } != 0;
    (!failed).then(|| usize::try_from(bytes).unwrap_or(0))
}

/// Whether a connection has failed for good. `SO_ERROR` alone also reports errors that TCP
/// survives, such as a route that is gone for a moment: RFC 1122, section 4.2.3.9.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn has_failed(stream: &mio::net::TcpStream) -> bool {
    polled(stream, PollFlags::empty()).contains(PollFlags::ERR)
}

/// Not needed elsewhere: the number of unacknowledged bytes is unknown there.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn has_failed(_stream: &mio::net::TcpStream) -> bool {
    false
}

/// Whether a client waits in a listener's backlog, as far as the system reports it.
#[cfg(unix)]
pub(crate) fn has_client(listener: &TcpListener) -> bool {
    polled(listener, PollFlags::IN).contains(PollFlags::IN)
}

#[cfg(not(unix))]
pub(crate) fn has_client(_listener: &TcpListener) -> bool {
    true
}

/// The events that poll(2) reports for a socket now.
#[cfg(unix)]
fn polled(socket: &impl AsFd, flags: PollFlags) -> PollFlags {
    let mut sockets = [PollFd::new(socket, flags)];
    match rustix::event::poll(&mut sockets, Some(&Timespec::default())) {
        Ok(_) => sockets[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// Unknown elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn unacknowledged(_stream: &mio::net::TcpStream) -> Option<usize> {
    None
}

/// How many received bytes can be read now: `FIONREAD`.
#[cfg(unix)]
pub(crate) fn waiting(stream: &mio::net::TcpStream) -> usize {
    let bytes = rustix::io::ioctl_fionread(stream).unwrap_or(0);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Unknown elsewhere.
#[cfg(not(unix))]
pub(crate) fn waiting(_stream: &mio::net::TcpStream) -> usize {
    0
}

/// The kernel memory of a socket in bytes: for received bytes, bytes to send, and memory
/// allocated ahead.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn socket_memory(stream: &mio::net::TcpStream) -> usize {
    memory_info(stream).map_or(0, |info| {
        let counted = [meminfo::RECEIVED, meminfo::AHEAD, meminfo::QUEUED];
        counted.iter().map(|&place| info[place] as usize).sum()
    })
}

/// Unknown elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn socket_memory(_stream: &mio::net::TcpStream) -> usize {
    0
}

/// The kernel memory of a socket's received bytes, of those that can't be read yet as well.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn received_memory(stream: &mio::net::TcpStream) -> usize {
    memory_info(stream).map_or(0, |info| info[meminfo::RECEIVED] as usize)
}

/// Unknown elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn received_memory(_stream: &mio::net::TcpStream) -> usize {
    0
}

/// About how many bytes fit a socket's send buffer now; `None` where the system does not
/// report it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn send_room(stream: &mio::net::TcpStream) -> Option<usize> {
    let info = memory_info(stream)?;
    let room = info[meminfo::MOST_QUEUED].saturating_sub(info[meminfo::QUEUED]);
    Some(room as usize)
}

/// Unknown elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_room(_stream: &mio::net::TcpStream) -> Option<usize> {
    None
}

/// Indexes into the kernel's answer to `SO_MEMINFO`: linux/sock_diag.h.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod meminfo {
    /// Allocated for received bytes.
    pub(super) const RECEIVED: usize = 0;
    /// The size of the send buffer.
    pub(super) const MOST_QUEUED: usize = 3;
    /// Allocated ahead.
    pub(super) const AHEAD: usize = 4;
    /// Queued to be sent.
    pub(super) const QUEUED: usize = 5;
}

/// The memory counters of a socket: `SO_MEMINFO`, socket(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn memory_info(stream: &mio::net::TcpStream) -> Option<[u32; 9]> {
    use std::os::fd::AsRawFd;

    let mut info = [0_u32; 9];
    let mut length = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
    // SAFETY: the stream keeps its descriptor open for the whole call, which
    // writes at most `length` bytes to the array, whose size that is.
    let failed = unsafe {
        let info = info.as_mut_ptr().cast();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
        libc::getsockopt(stream.as_raw_fd(), level, name, info, &raw mut length) != 0
    };
    (!failed).then_some(info)
}

/// Writes what TCP knows of a connection to `info`, as much as the kernel has and fits:
/// `struct tcp_info` of linux/tcp.h. Returns the number of bytes that the kernel wrote.
///
/// # Errors
/// The socket is none of TCP.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn tcp_info(socket: &impl AsFd, info: &mut [u8]) -> io::Result<usize> {
    use std::os::fd::AsRawFd;

    let socket = socket.as_fd();
    let mut length = libc::socklen_t::try_from(info.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the descriptor is borrowed and so open for the whole call, which
    // writes at most `length` bytes to the slice, which has at least as many.
    let failed = unsafe {
        let info = info.as_mut_ptr().cast();
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        libc::getsockopt(socket.as_raw_fd(), level, name, info, &raw mut length) != 0
    };
    match failed {
        true => Err(io::Error::last_os_error()),
        false => Ok(length as usize),
    }
}

/// The largest packet of the path to a connected socket's peer, in bytes, as far as the
/// system knows: `IP_MTU` of ip(7), `IPV6_MTU` of ipv6(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn path_mtu(socket: &impl AsFd) -> Option<u32> {
    use rustix::net::sockopt::{ip_mtu, ipv6_mtu};

    // IPv4's first: a socket of IPv6 has it too, once it is connected to an IPv4 address.
    ip_mtu(socket).or_else(|_| ipv6_mtu(socket)).ok()
}

/// A non-blocking TCP socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn non_blocking(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking(), None)
}

/// Elsewhere it takes two calls.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn non_blocking(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether the error of a non-blocking connect means that it is in progress.
#[cfg(unix)]
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

#[cfg(not(unix))]
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Device and inode of standard error, as `JOURNAL_STREAM` names them (systemd.exec(5));
/// `None` where it is closed or the system has no journal.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn standard_error_identity() -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let copy = io::stderr().as_fd().try_clone_to_owned().ok()?;
    let file = std::fs::File::from(copy).metadata().ok()?;
    Some(format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const fn standard_error_identity() -> Option<String> {
    None
}

/// Whether this kind of socket lacks an option or a query, as MPTCP lacks some of TCP's.
pub(crate) fn is_lacking(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_unknown = error.raw_os_error() == Some(libc::ENOPROTOOPT);
    #[cfg(not(unix))]
    let is_unknown = false;
    is_unknown || error.kind() == io::ErrorKind::Unsupported
}

/// Lets a socket be bound to an address that the machine does not have yet: ip(7), ipv6(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn allow_absent_address(socket: &Socket, domain: Domain) -> io::Result<()> {
    match domain {
        Domain::IPV6 => socket.set_freebind_v6(true),
        _ => socket.set_freebind_v4(true),
    }
}

/// Elsewhere that can't be asked for, or not without privilege.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn allow_absent_address(_: &Socket, _: Domain) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Delays the choice of the port of a bound socket until it connects, so that connections
/// to different servers can share a port: ip(7).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn choose_port_late(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let on: libc::c_int = 1;
    // SAFETY: the socket keeps its descriptor open for the whole call, which
    // only reads the int, whose size it is given.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    } != 0;
    match failed {
        true => Err(io::Error::last_os_error()),
        false => Ok(()),
    }
}

/// Elsewhere the port is chosen with the address.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn choose_port_late(_: &Socket) -> io::Result<()> {
    Ok(())
}

/// The system's identifier of the calling thread; 0 where it is unknown.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn thread_number() -> u64 {
    let number = rustix::thread::gettid().as_raw_nonzero().get();
    u64::try_from(number).unwrap_or(0)
}

/// The processor time of a thread of this process: the first number of its schedstat, in
/// nanoseconds, proc(5).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn cpu_time(thread: u64) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let ns = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(ns))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn thread_number() -> u64 {
    0
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn cpu_time(_thread: u64) -> Option<Duration> {
    None
}

/// Whether standard output was closed when the program was started. Rust's runtime opens
/// /dev/null in place of a closed one before `main`, and what is written there succeeds.
#[cfg(any(target_os = "linux", target_os = "android"))]
static OUTPUT_WAS_CLOSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

// SAFETY: the loader calls each function that this section names once, before the runtime
// and `main`; this one makes one system call and sets a static that needs no set-up.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK_AT_OUTPUT: extern "C" fn() = look_at_output;

#[cfg(any(target_os = "linux", target_os = "android"))]
extern "C" fn look_at_output() {
    // SAFETY: it reads the flags of a descriptor, and touches no memory.
    let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    OUTPUT_WAS_CLOSED.store(closed, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn output_was_closed() -> bool {
    OUTPUT_WAS_CLOSED.load(std::sync::atomic::Ordering::Relaxed)
}

/// Unknown elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn output_was_closed() -> bool {
    false
}

/// Standard output, without a buffer. Unlike std's it does not hide that it is closed, or
/// open for reading only.
#[cfg(unix)]
pub(crate) fn standard_output() -> io::Result<std::fs::File> {
    use rustix::fs::{OFlags, fcntl_getfl};

    if output_was_closed() {
        return Err(io::Error::other("it is closed"));
    }
    let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
    if fcntl_getfl(&descriptor)? & OFlags::ACCMODE == OFlags::RDONLY {
        return Err(io::Error::other("it is open for reading only"));
    }
    Ok(descriptor.into())
}

#[cfg(not(unix))]
pub(crate) fn standard_output() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

/// Checks that this process may write to a path, without opening it.
#[cfg(unix)]
pub(crate) fn check_writable(path: &std::path::Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(not(unix))]
pub(crate) const fn check_writable(_: &std::path::Path) -> io::Result<()> {
    Ok(())
}

/// The signals that ask a program to stop.
#[cfg(unix)]
pub(crate) const STOP_SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Whether a signal is ignored, as SIGHUP is under nohup(1).
#[cfg(unix)]
pub(crate) fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action sigaction only writes the present one to the
    // address given, which is read only after the call has succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Ignores a signal from now on.
#[cfg(unix)]
pub(crate) fn ignore(signal: libc::c_int) {
    // SAFETY: SIG_IGN runs no code of this program.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Ends the process when the signal comes, also if it is process 1 of its namespace.
#[cfg(unix)]
pub(crate) fn end_on(signal: libc::c_int) {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: both calls may be made in a signal handler, signal-safety(7). The action is
        // the default one again, by SA_RESETHAND: raise ends the process by the signal, as
        // its parent expects. It returns in process 1, whose exit code shells would show so.
        unsafe {
            libc::raise(signal);
            libc::_exit(128 + signal);
        }
    }

    let handler: extern "C" fn(libc::c_int) = end;
    // SAFETY: a zeroed action is valid: no flag, an empty mask. The handler is a function of
    // the signature that an action without SA_SIGINFO has.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// Registers a listener, or a socket for datagrams, with the poller, for reading. It stays a
/// non-blocking std socket.
#[cfg(unix)]
pub(crate) fn watch(
    registry: &Registry,
    socket: &impl std::os::fd::AsRawFd,
    token: Token,
) -> io::Result<()> {
    let socket = socket.as_raw_fd();
    registry.register(&mut mio::unix::SourceFd(&socket), token, Interest::READABLE)
}

/// Elsewhere mio registers only sockets that it has created itself.
#[cfg(not(unix))]
pub(crate) fn watch<S>(_: &Registry, _: &S, _: Token) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// As [`watch`], but of the pollers that watch the same socket not all are woken for what
/// arrives: one that waits is, and those that do not wait are told with their next poll.
/// Source: `EPOLLEXCLUSIVE` in epoll_ctl(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn watch_shared(
    registry: &Registry,
    socket: &impl AsFd,
    token: Token,
) -> io::Result<()> {
    use rustix::event::epoll::{EventData, EventFlags, add};

    let data = EventData::new_u64(token.0 as u64);
    let flags = EventFlags::IN | EventFlags::ET | EventFlags::EXCLUSIVE;
    Ok(add(registry, socket, data, flags)?)
}

/// Elsewhere all of them are woken.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) fn watch_shared(
    registry: &Registry,
    socket: &impl std::os::fd::AsRawFd,
    token: Token,
) -> io::Result<()> {
    watch(registry, socket, token)
}

/// Elsewhere nothing is watched.
#[cfg(not(unix))]
pub(crate) fn watch_shared<S>(registry: &Registry, socket: &S, token: Token) -> io::Result<()> {
    watch(registry, socket, token)
}

/// Ends what [`watch`] or [`watch_shared`] began.
#[cfg(unix)]
pub(crate) fn unwatch(registry: &Registry, socket: &impl std::os::fd::AsRawFd) -> io::Result<()> {
    registry.deregister(&mut mio::unix::SourceFd(&socket.as_raw_fd()))
}

/// Elsewhere nothing is watched.
#[cfg(not(unix))]
pub(crate) fn unwatch<S>(_: &Registry, _: &S) -> io::Result<()> {
    Ok(())
}

/// Takes ownership of a descriptor that this process inherited.
///
/// The descriptor must be open and not owned by anything else in this process: the service
/// manager promises that (`LISTEN_PID`, `LISTEN_FDS`), and the caller takes each one once.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn take_over(descriptor: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;

    // SAFETY: the caller passes an open descriptor that nothing else owns.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor) }
}

/// Whether accept(2) returned an error that was pending on the new socket, as on Linux: it
/// concerns that client alone.
#[cfg(unix)]
pub(crate) fn is_of_new_socket(error: &io::Error) -> bool {
    let errors = [
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        libc::ENONET,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| errors.contains(&code))
}

#[cfg(not(unix))]
pub(crate) fn is_of_new_socket(_: &io::Error) -> bool {
    false
}

/// Whether this process or the whole system had no free descriptor.
#[cfg(unix)]
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(not(unix))]
pub(crate) fn is_out_of_descriptors(_: &io::Error) -> bool {
    false
}

/// While this guard exists, its thread does not preempt a running thread when it is woken:
/// sched(7), `SCHED_BATCH`. It must be dropped in the thread that created it.
pub(crate) struct Yielding(());

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Yielding {
    /// Changes the calling thread, if it has the default policy.
    pub(crate) fn begin() -> Option<Self> {
        // SAFETY: it returns a number, and touches no memory.
        let policy = unsafe { libc::sched_getscheduler(0) };
        (policy == libc::SCHED_OTHER && set_policy(libc::SCHED_BATCH)).then_some(Self(()))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Drop for Yielding {
    fn drop(&mut self) {
        set_policy(libc::SCHED_OTHER);
    }
}

/// Sets the policy of the calling thread. Returns whether that succeeded.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_policy(policy: libc::c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: it only reads the parameters, which live for the whole call.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Yielding {
    /// Not available elsewhere.
    pub(crate) const fn begin() -> Option<Self> {
        None
    }
}

/// Lowers the priority of the calling thread to about a tenth of the processor time while
/// others are runnable: nice(2), which on Linux applies to each thread.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn lower_priority() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), 10) {
        let cause = crate::base::error::cause(&error.into());
        log::debug!("could not lower the priority of a thread: {cause}");
    }
}

/// Does nothing elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const fn lower_priority() {}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: it returns a number, and touches no memory.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn a_yielding_thread_gets_its_policy_back() {
        let yielding = Yielding::begin();
        assert_eq!(policy(), libc::SCHED_BATCH);
        assert!(Yielding::begin().is_none(), "it yields already");
        drop(yielding);
        assert_eq!(policy(), libc::SCHED_OTHER);
    }

    /// Whether a thread of this process sleeps.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn sleeps(thread: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        stat.rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('S')
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_datagram_of_a_shared_socket_wakes_one_of_those_that_wait() {
        use std::net::UdpSocket;
        use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

        use crate::base::testing::wait_until;

        const WAITING: usize = 4;
        const DATAGRAMS: u32 = 20;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let threads = [const { AtomicI32::new(0) }; WAITING];
        let (woken, received) = (AtomicU32::new(0), AtomicU32::new(0));
        let wait = |thread: &AtomicI32| {
            let mut poller = Poll::new().unwrap();
            watch_shared(poller.registry(), &socket, Token(7)).unwrap();
            let id = rustix::thread::gettid().as_raw_nonzero().get();
            thread.store(id, Ordering::SeqCst);
            let mut events = Events::with_capacity(8);
            while received.load(Ordering::SeqCst) < DATAGRAMS {
                poll(&mut poller, &mut events, Some(Duration::from_millis(500))).unwrap();
                for event in &events {
                    assert_eq!(event.token(), Token(7));
                    woken.fetch_add(1, Ordering::SeqCst);
                    while socket.recv(&mut [0]).is_ok() {
                        received.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        };
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        std::thread::scope(|scope| {
            for thread in &threads {
                scope.spawn(|| wait(thread));
            }
            for sent in 0..DATAGRAMS {
                wait_until(|| {
                    let ids = threads.iter().map(|id| id.load(Ordering::SeqCst));
                    received.load(Ordering::SeqCst) == sent
                        && ids.clone().all(|id| id != 0 && sleeps(id))
                });
                client.send_to(b"x", socket.local_addr().unwrap()).unwrap();
            }
        });
        // One that had just woken by its time limit is told with its next poll.
        let woken = woken.load(Ordering::SeqCst);
        assert!(woken < 2 * DATAGRAMS, "{woken} for {DATAGRAMS} datagrams");
    }
}
