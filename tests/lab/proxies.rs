//! Real proxies before our server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::common::network::Namespace;
use crate::common::serve::is_listening;
use crate::common::{Program, reserve, wait_until};
use crate::made::Server;
use crate::namespaces::bound;

/// Where their configurations lie, and what the names of their folders begin with.
const FOLDERS: &str = env!("CARGO_TARGET_TMPDIR");
const PREFIX: &str = "lab-";

/// A proxy, and how it is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Software {
    HaProxy,
    /// Nobody stands behind it.
    HaProxyWithoutServers,
    /// It rejects a client that has more connections.
    HaProxyRejectingAbove(u32),
    /// It has those wait that are more than its server is to get.
    HaProxyQueueingAbove(u32),
    Socat,
    /// It carries datagrams, by a process for each source.
    SocatOfDatagrams,
    /// nginx's stream module, that passes a half-close on or does not.
    Nginx {
        half_close: bool,
    },
    /// nginx as a web server.
    NginxHttp,
}

/// Ends all that a program has started.
struct Group(Program);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0.child), Signal::KILL);
    }
}

impl Software {
    fn program(self) -> &'static str {
        match self {
            Self::HaProxy
            | Self::HaProxyWithoutServers
            | Self::HaProxyRejectingAbove(_)
            | Self::HaProxyQueueingAbove(_) => "haproxy",
            Self::Socat | Self::SocatOfDatagrams => "socat",
            Self::Nginx { .. } | Self::NginxHttp => "nginx",
        }
    }

    /// Starts it before a server.
    ///
    /// # Errors
    /// Where it is not installed.
    pub(crate) fn start(self, host: &Namespace, server: SocketAddr) -> Result<Server, String> {
        let program = self.program();
        need(program)?;
        let folder = folder().map_err(|error| error.to_string())?;
        let reserve = || reserve(Ipv4Addr::LOCALHOST.into(), 0).expect("a port");
        let (reserved, address) = host.run(reserve);
        let mut command = self.command(&folder, address, server)?;
        command.process_group(0).stdout(Stdio::null());
        drop(reserved);
        let running = Group(host.start(command));
        let is_up = || match self {
            Self::SocatOfDatagrams => has_udp(address),
            _ => is_listening(address),
        };
        wait_until(program, || host.run(is_up));
        Ok(Server::new(address, (running, folder)))
    }

    fn command(
        self,
        folder: &TempDir,
        address: SocketAddr,
        server: SocketAddr,
    ) -> Result<Command, String> {
        let path = folder.path().display().to_string();
        let mut command = bound(self.program());
        let configuration = match self {
            Self::Socat => {
                let port = address.port();
                let listen = format!("TCP-LISTEN:{port},fork,reuseaddr,bind=127.0.0.1,nodelay");
                // By default its queue is 5 long, and it waits for the other side's end for
                // half a second.
                let listen = format!("{listen},backlog=4096");
                command.args(["-t", "60", &listen, &format!("TCP:{server},nodelay")]);
                return Ok(command);
            }
            Self::SocatOfDatagrams => {
                let port = address.port();
                let listen = format!("UDP4-LISTEN:{port},fork,reuseaddr,bind=127.0.0.1");
                // By default it cuts what is longer than 8,192 bytes.
                command.args(["-b", "65536", &listen, &format!("UDP4:{server}")]);
                return Ok(command);
            }
            Self::HaProxy => haproxy(address, &format!(" server one {server}\n")),
            Self::HaProxyWithoutServers => haproxy(address, ""),
            Self::HaProxyRejectingAbove(number) => {
                let table = " stick-table type ip size 1k expire 30s store conn_cur\n \
                             tcp-request connection track-sc0 src\n";
                let reject =
                    format!(" tcp-request connection reject if {{ sc0_conn_cur gt {number} }}\n");
                haproxy(address, &format!("{table}{reject} server one {server}\n"))
            }
            Self::HaProxyQueueingAbove(number) => {
                haproxy(address, &format!(" server one {server} maxconn {number}\n"))
            }
            Self::Nginx { half_close } => nginx_stream(&path, address, server, half_close),
            Self::NginxHttp => nginx_http(&path, address),
        };
        let file = folder.path().join("configuration");
        fs::write(&file, configuration).map_err(|error| error.to_string())?;
        match self.program() {
            "haproxy" => command.arg("-db").arg("-f").arg(&file),
            _ => command.args(["-p", &path, "-e", "stderr", "-c"]).arg(&file),
        };
        Ok(command)
    }
}

/// Whether a socket of datagrams has that address.
fn has_udp(address: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap_or_default();
    table.contains(&format!(":{:04X} 00000000:0000", address.port()))
}

/// A folder below the build, named after this process.
fn folder() -> std::io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(FOLDERS)
}

/// Removes what a laboratory that was killed has left: only SIGKILL leaves any.
pub(crate) fn sweep() {
    let folders = fs::read_dir(FOLDERS).into_iter().flatten().flatten();
    for folder in folders {
        let name = folder.file_name().into_string().unwrap_or_default();
        let Some((process, _)) = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'))
        else {
            continue;
        };
        if !fs::exists(format!("/proc/{process}")).unwrap_or(true) {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// # Errors
/// Where a program is not installed.
pub(crate) fn need(program: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    match folders.any(|folder| folder.join(program).is_file()) {
        true => Ok(()),
        false => Err(format!("{program} is not installed")),
    }
}

fn haproxy(address: SocketAddr, servers: &str) -> String {
    format!(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
         listen it\n bind {address}\n{servers}"
    )
}

/// One process, that leaves nothing outside its folder.
fn nginx(path: &str, modules: &str, blocks: &str) -> String {
    format!(
        "{modules}daemon off;\nmaster_process off;\nuser root;\npid {path}/pid;\n\
         events {{ worker_connections 8192; }}\n{blocks}\n"
    )
}

fn nginx_stream(path: &str, address: SocketAddr, server: SocketAddr, half_close: bool) -> String {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    // Where it is no module it is built in.
    let module = match fs::exists(MODULE) {
        Ok(true) => format!("load_module {MODULE};\n"),
        _ => String::new(),
    };
    let switch = if half_close { "on" } else { "off" };
    let block = format!(
        "stream {{ server {{ listen {address} backlog=4096; proxy_pass {server}; \
         proxy_half_close {switch}; }} }}"
    );
    nginx(path, &module, &block)
}

fn nginx_http(path: &str, address: SocketAddr) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {path}/{kind};"));
    let block = format!(
        "http {{ access_log off; {} server {{ listen {address} backlog=4096; \
         return 204; }} }}",
        temporary.join(" ")
    );
    nginx(path, "", &block)
}
