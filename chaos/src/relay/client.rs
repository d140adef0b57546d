//! The tool's end of the relay: its process, and the words it understands.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Ports, Request, Row, Rule, local};

const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const TRIES: usize = 10;
const UP_WITHIN: Duration = Duration::from_secs(5);

/// Speaks to a relay by its control address.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub control: SocketAddr,
}

impl Client {
    pub const fn new(control_port: u16) -> Self {
        Self { control: local(control_port) }
    }

    /// Asks until there is an answer: the counts after the request took effect.
    ///
    /// # Errors
    /// When no relay answers.
    pub fn ask(&self, request: &Request) -> io::Result<Vec<Row>> {
        let socket = UdpSocket::bind(local(0))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut buffer = vec![0; super::DATAGRAM_BYTES_MAX];
        let mut last = io::Error::other("the relay does not answer");
        for _ in 0..TRIES {
            socket.send_to(&serde_json::to_vec(request)?, self.control)?;
            match socket.recv(&mut buffer) {
                Ok(len) => return Ok(serde_json::from_slice(&buffer[..len])?),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// # Errors
    /// When no relay answers.
    pub fn set(&self, from: u16, to: u16, rule: Rule) -> io::Result<Vec<Row>> {
        self.ask(&Request::Set { from, to, rule })
    }
}

/// A relay that was started here. It is told to quit on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pub client: Client,
}

impl Process {
    /// Starts this program again as a relay, in a process group of its own: Ctrl-C is for the tool.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(ports: &Ports) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("relay").args(["--nodes", &ports.nodes.to_string(), "--listen-base", &ports.listen_base.to_string()]);
        command.args(["--front-base", &ports.front_base.to_string(), "--control", &ports.control.to_string()]);
        command.args(["--seed", &ports.seed.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn()?;
        let process = Self { child, client: Client::new(ports.control) };
        let start = Instant::now();
        loop {
            match process.client.ask(&Request::Counts) {
                Ok(_) => return Ok(process),
                Err(error) if start.elapsed() > UP_WITHIN => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.client.ask(&Request::Quit).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
