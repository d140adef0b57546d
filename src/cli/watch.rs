//! Node processes as their watcher sees them: spawned, signalled, waited for, and announced to the peers when dead.
//!
//! A watcher is the only one who knows for certain that a process is gone: the kernel told it. It names the life that
//! ended by (node, incarnation), so that a message that arrives late can do no harm.

use std::{
    fs::File,
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tandem_cluster::Herald;
use tokio::process::{Child, Command};

use crate::config;

/// A node process and how it was configured.
pub(super) struct NodeProcess {
    config: config::node::Node,
    child: Child,
    pid: u32,
    /// Why there is none is said when it is needed: files of a certificate may come later than the node.
    herald: Result<Herald, String>,
}

impl NodeProcess {
    /// Starts this program again as the node itself, in a process group of its own, so that Ctrl-C reaches it through us.
    ///
    /// # Errors
    /// When its file cannot be read or no process be started.
    pub(super) fn spawn(config: &Path, log: Option<&File>) -> io::Result<Self> {
        let node = config::node::Node::load(config).map_err(io::Error::other)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--config").arg(config).arg("--as-node").stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        if let Some(log) = log {
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        }
        let child = command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the node ended before it began"))?;
        let herald = crate::node::herald(&node);
        Ok(Self { config: node, child, pid, herald })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the process to end.
    pub(super) async fn wait(&mut self) -> io::Result<End> {
        self.child.wait().await.map(End)
    }

    /// Sends a signal; a process that is gone already is no error.
    pub(super) fn signal(&self, signal: Signal) {
        if self.child.id().is_some()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            kill_process(pid, signal).ok();
        }
    }

    /// Tells the peers that this life of the node is over.
    pub(super) async fn announce(&self) -> Result<usize, String> {
        let herald = match &self.herald {
            Ok(herald) => herald,
            Err(_) => &crate::node::herald(&self.config)?,
        };
        crate::node::announce_death(&self.config, herald).await
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End(ExitStatus);

impl End {
    /// Drained: its peers know already.
    pub(super) fn is_clean(self) -> bool {
        self.0.success()
    }

    /// What a shell would report: the exit code, or 128 + the signal.
    pub(super) fn code(self) -> u8 {
        let code = self.0.code().or_else(|| self.0.signal().map(|signal| 128 + signal)).unwrap_or(1);
        u8::try_from(code).unwrap_or(1)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(0), _) => f.write_str("drained"),
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal} ({})", signal_name(signal)),
            (None, None) => f.write_str("ended"),
        }
    }
}

const fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "illegal instruction",
        6 => "abort: a panic or a broken invariant, see the last lines of its log",
        7 => "bus error",
        9 => "kill",
        11 => "segmentation fault",
        15 => "terminated before it could drain",
        _ => "signal",
    }
}

/// Makes this process end when the one that started it does, so that no node outlives its watcher unseen.
pub(super) fn die_with_parent() {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_a_shell_would() {
        let killed = End(ExitStatus::from_raw(9));
        assert_eq!((killed.code(), killed.is_clean(), killed.to_string().as_str()), (137, false, "signal 9 (kill)"));
        let failed = End(ExitStatus::from_raw(2 << 8));
        assert_eq!((failed.code(), failed.to_string().as_str()), (2, "exit code 2"));
        assert!(End(ExitStatus::from_raw(0)).is_clean());
    }
}
