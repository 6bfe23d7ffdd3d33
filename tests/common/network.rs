//! A network of a test's own: a namespace without a name, which the kernel removes with the last
//! process that has it. It needs root and ip(8).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

pub struct Network {
    handle: File,
}

impl Network {
    /// One with its loopback up.
    ///
    /// # Errors
    /// Where this user may not make any.
    pub fn new() -> io::Result<Self> {
        let made = thread::spawn(|| {
            // SAFETY: only unsharing the table of descriptors (FILES) can invalidate what other
            // threads hold, and that is not asked for.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        });
        let handle = made.join().unwrap()?;
        let network = Self { handle };
        network.ip("link set lo up");
        Ok(network)
    }

    /// Where programs find it.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.handle.as_raw_fd()
        )
    }

    /// Runs it on a thread in this network. Sockets and programs that it makes stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.handle.as_fd(), network).unwrap();
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs ip(8), which must succeed.
    pub fn ip(&self, arguments: &str) {
        let ended = self.run(|| Command::new("ip").args(arguments.split(' ')).output());
        let ended = ended.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "ip {arguments}: {said}");
    }
}
