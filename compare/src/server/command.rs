//! The command that starts a server.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::definition::{Kind, POOL_THREADS, Server};
use super::options::Options;
use super::transport::Transport;
use crate::rival::QUEUE;

impl Server {
    /// The command that serves `transport` on `port` of 127.0.0.1 with so many workers.
    ///
    /// # Errors
    /// A file that it needs could not be written.
    pub fn command(
        &self,
        options: &Options,
        port: u16,
        workers: usize,
        transport: Transport,
    ) -> io::Result<Command> {
        let address = format!("127.0.0.1:{port}");
        let (port, threads) = (port.to_string(), workers.to_string());
        let buffer = options.buffer.to_string();
        let serve = serve(transport, &address, &threads);
        let mut command = match self.kind {
            Kind::Echopool(extra) => command(&options.echopool, &[&serve[..], extra].concat()),
            Kind::Baseline => command(options.baseline.as_deref().unwrap_or("".as_ref()), &serve),
            Kind::Rust(program) => {
                let words = [port.as_str(), &threads, &buffer];
                command(&options.programs.join(program), &words)
            }
            Kind::Floor => {
                let words = [port.as_str(), &threads, &buffer];
                command(&options.programs.join("rival-floor"), &words)
            }
            Kind::Splice(pipe) => {
                let words = [port.as_str(), &threads, &pipe.to_string()];
                command(&options.programs.join("rival-splice"), &words)
            }
            Kind::Pool => {
                let threads = POOL_THREADS.to_string();
                let words = [port.as_str(), &threads, &buffer];
                command(&options.programs.join("rival-thread-pool"), &words)
            }
            Kind::C(name) => command(&options.work.join(name), &[&port, &threads, &buffer]),
            Kind::GoDatagrams => command(&options.work.join("go-udp"), &[&port, &buffer]),
            Kind::Go(mode) => command(&options.work.join("go-echo"), &[&port, &buffer, mode]),
            Kind::Socat => {
                let options = "bind=127.0.0.1,reuseaddr,nodelay,fork,backlog=4096";
                let listen = format!("TCP4-LISTEN:{port},{options}");
                command("socat".as_ref(), &["-b", &buffer, &listen, "PIPE"])
            }
            Kind::SocatDatagrams => {
                let options = format!("bind=127.0.0.1,fork,rcvbuf={QUEUE}");
                let receive = format!("UDP4-RECVFROM:{port},{options}");
                command("socat".as_ref(), &["-b", &buffer, &receive, "PIPE"])
            }
            Kind::Ncat => {
                let words = [
                    "-l",
                    "-k",
                    "-e",
                    "/bin/cat",
                    "-m",
                    "1000",
                    "127.0.0.1",
                    &port,
                ];
                command("ncat".as_ref(), &words)
            }
            Kind::Xinetd => xinetd(&options.work, &port)?,
        };
        // Two rivals take the number of threads from the environment.
        command.envs([("SMOL_THREADS", &threads), ("GOMAXPROCS", &threads)]);
        Ok(command)
    }
}

/// The words of echopool's command line that serve `transport`.
fn serve<'a>(transport: Transport, address: &'a str, threads: &'a str) -> Vec<&'a str> {
    let mut words = vec!["serve", "-q", "--workers", threads];
    if transport.has_tcp() {
        words.extend(["--echo", address]);
    }
    if transport.has_udp() {
        // All clients have one address here.
        words.extend(["--udp", address, "--udp-rate", "off"]);
    }
    words
}

fn command(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

fn xinetd(folder: &Path, port: &str) -> io::Result<Command> {
    let file = folder.join("xinetd.conf");
    fs::write(&file, xinetd_conf(port))?;
    let mut command = command("xinetd".as_ref(), &["-dontfork", "-filelog", "/dev/null"]);
    command.arg("-pidfile").arg(folder.join("xinetd.pid"));
    command.arg("-f").arg(file);
    Ok(command)
}

/// xinetd's own echo without its usual limits, and without libwrap, which looks up
/// names of clients. Each brace has a line of its own, or xinetd overlooks the section.
fn xinetd_conf(port: &str) -> String {
    format!(
        "defaults\n{{\n instances = UNLIMITED\n per_source = UNLIMITED\n cps = 1000000 1\n}}\n\
         service echo\n{{\n type = INTERNAL UNLISTED\n id = echo-stream\n socket_type = stream\n \
         protocol = tcp\n port = {port}\n bind = 127.0.0.1\n wait = no\n user = nobody\n \
         flags = NODELAY NOLIBWRAP\n disable = no\n}}\n"
    )
}
