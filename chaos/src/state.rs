//! What this tool has done to whom and not yet undone, in a file written *before* each fault is made; and `heal`, which undoes
//! it after the tool itself has died. Healing twice is healing once.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{
    ram,
    relay::{Client, Request},
};

/// How one fault is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// A node that was stopped goes on.
    Continue { node: u16 },
    /// A node that was kept down may start.
    Release { node: u16 },
    /// The links pass everything.
    ClearLinks,
    /// A byte of a file gets its old value.
    Byte { file: PathBuf, offset: u64, was: u8 },
    /// A file that takes room is removed.
    Remove { file: PathBuf },
    /// A line is taken out of a file; whoever read the file must be started again.
    Line { file: PathBuf, line: String },
    /// A drill is called off at a node.
    Drill { url: String, body: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    pub n: usize,
    pub fault: String,
    pub undo: Vec<Undo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub tool: u32,
    pub run_dir: PathBuf,
    /// The process that supervises the nodes, and the relay between them.
    pub supervisor: u32,
    pub relay: u32,
    pub control: SocketAddr,
    /// `nodeK.pid`, `nodeK.hold` and the nodes' disks are here.
    pub cluster_dir: PathBuf,
    /// Where each node answers HTTP, node 1 first.
    pub http: Vec<String>,
    pub active: Vec<Active>,
    /// Disks in memory that were mounted for the run.
    #[serde(default)]
    pub mounts: Vec<PathBuf>,
}

/// Where states are found by whoever heals.
pub fn folder() -> PathBuf {
    std::env::temp_dir().join("tandem-chaos")
}

impl State {
    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.tool))
    }

    /// Whole or not at all, and on the disk before the fault is made.
    ///
    /// # Errors
    /// The file system's: then nothing may be hurt.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let (path, new) = (self.path(folder), folder.join(format!("{}.new", self.tool)));
        let file = fs::File::create(&new)?;
        serde_json::to_writer_pretty(&file, self)?;
        file.sync_all()?;
        fs::rename(new, path)
    }

    pub fn remove(&self, folder: &Path) {
        let _ = fs::remove_file(self.path(folder));
    }

    fn node_pid(&self, node: u16) -> Option<u32> {
        fs::read_to_string(self.cluster_dir.join(format!("node{node}.pid"))).ok()?.trim().parse().ok()
    }

    fn call_off(&self, url: &str, body: &str) -> Result<(), String> {
        let token = fs::read_to_string(self.cluster_dir.join("admin.token")).map_err(|error| error.to_string())?;
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(ASK_WITHIN)).build().into();
        let request =
            agent.post(url).header("Authorization", format!("Bearer {}", token.trim())).header("Content-Type", "application/json");
        request.send(body.as_bytes()).map(drop).map_err(|error| format!("{url}: {error}"))
    }

    /// Does one thing and says so; nothing if it needs no doing.
    fn undo(&self, undo: &Undo) -> Result<Option<String>, String> {
        match undo {
            Undo::Continue { node } => {
                let Some(pid) = self.node_pid(*node).filter(|pid| is_ours(*pid)) else { return Ok(None) };
                signal(pid, Signal::CONT).map(|()| Some(format!("let node {node} (pid {pid}) go on")))
            }
            Undo::Release { node } => {
                let hold = self.cluster_dir.join(format!("node{node}.hold"));
                if !hold.exists() {
                    return Ok(None);
                }
                fs::remove_file(&hold).map_err(|error| format!("{}: {error}", hold.display()))?;
                Ok(Some(format!("let node {node} start again")))
            }
            Undo::ClearLinks => {
                Client { control: self.control }.ask(&Request::Clear).map_err(|error| format!("the relay at {}: {error}", self.control))?;
                Ok(Some("let every link pass everything".to_owned()))
            }
            Undo::Remove { file } => match fs::remove_file(file) {
                Ok(()) => Ok(Some(format!("removed {}", file.display()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("{}: {error}", file.display())),
            },
            Undo::Line { file, line } => take_line(file, line)
                .map(|done| done.then(|| format!("took `{line}` out of {}", file.display())))
                .map_err(|e| e.to_string()),
            Undo::Drill { url, body } => self.call_off(url, body).map(|()| Some(format!("called the drill at {url} off: {body}"))),
            Undo::Byte { file, offset, was } => put_byte(file, *offset, *was)
                .map(|now| now.then(|| format!("put byte {offset} of {} back", file.display())))
                .map_err(|error| format!("{}: {error}", file.display())),
        }
    }
}

/// Takes a line out of a file. False if it was not there.
///
/// # Errors
/// The file system's.
pub fn take_line(file: &Path, line: &str) -> io::Result<bool> {
    let text = fs::read_to_string(file)?;
    let kept: String = text.split_inclusive('\n').filter(|row| row.trim_end() != line).collect();
    if kept == text {
        return Ok(false);
    }
    fs::write(file, kept).map(|()| true)
}

/// Writes one byte. False if it was there already.
pub fn put_byte(file: &Path, offset: u64, value: u8) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::options().read(true).write(true).open(file)?;
    let mut is = [0];
    file.read_exact_at(&mut is, offset)?;
    file.write_all_at(&[value], offset)?;
    file.sync_all()?;
    Ok(is[0] != value)
}

/// True for a process of this product: its number may belong to somebody else by now.
fn is_ours(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(program).rsplit('/').next().unwrap_or_default().to_owned();
        name.starts_with("tandem") || name.starts_with("chaos")
    })
}

fn signal(pid: u32, signal: Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no such process")?;
    kill_process(pid, signal).map_err(|error| error.to_string())
}

/// What became of one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    pub lines: Vec<String>,
    pub whole: bool,
}

/// Members are ready again this long after healing.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(20);
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Undoes everything that tools which have died left behind; `even_alive` does it to tools that still run, too.
///
/// # Errors
/// When the folder of states cannot be read.
pub fn heal(folder: &Path, even_alive: bool, leave_running: bool) -> io::Result<Vec<Healed>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut healed = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ext| ext == "json")) {
        let state: State = serde_json::from_slice(&fs::read(&path)?)?;
        if is_ours(state.tool) && !even_alive {
            healed.push(Healed {
                lines: vec![format!("run {} (pid {}) still runs; it heals itself", state.run_dir.display(), state.tool)],
                whole: true,
            });
            continue;
        }
        healed.push(heal_one(&state, leave_running));
        state.remove(folder);
    }
    Ok(healed)
}

fn heal_one(state: &State, leave_running: bool) -> Healed {
    let mut lines = vec![format!("run {} (pid {}, gone)", state.run_dir.display(), state.tool)];
    for active in &state.active {
        lines.push(format!("fault {}: {}", active.n, active.fault));
        for undo in &active.undo {
            match state.undo(undo) {
                Ok(Some(done)) => lines.push(format!("  {done}")),
                Ok(None) => lines.push("  needed no undoing".to_owned()),
                Err(error) => lines.push(format!("  could not: {error}")),
            }
        }
    }
    let alive = is_ours(state.supervisor);
    let whole = alive && await_ready(&state.http);
    lines.push(match (alive, whole) {
        (false, _) => "its cluster is gone".to_owned(),
        (true, true) => "every member is ready".to_owned(),
        (true, false) => format!("not every member is ready within {} s", WHOLE_WITHIN.as_secs()),
    });
    if alive && !leave_running {
        let _ = signal(state.supervisor, Signal::TERM);
        let start = Instant::now();
        while is_ours(state.supervisor) && start.elapsed() < END_WITHIN {
            thread::sleep(Duration::from_millis(100));
        }
        lines.push("the cluster, which this tool had started, was ended".to_owned());
    }
    if !leave_running {
        lines.extend(state.mounts.iter().filter(|at| ram::unmount(at)).map(|at| format!("unmounted {}", at.display())));
    }
    if is_ours(state.relay) && !leave_running {
        let _ = Client { control: state.control }.ask(&Request::Quit);
    }
    Healed { lines, whole: whole || !alive }
}

fn await_ready(http: &[String]) -> bool {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).http_status_as_error(false).build().into();
    let ready = |url: &String| agent.get(format!("{url}/readyz")).call().is_ok_and(|response| response.status().is_success());
    let start = Instant::now();
    while start.elapsed() < WHOLE_WITHIN {
        if http.iter().all(ready) {
            return true;
        }
        thread::sleep(Duration::from_millis(200));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(dir: &Path) -> State {
        State {
            // No process has this number: the kernel's greatest is smaller.
            tool: u32::MAX >> 1,
            run_dir: dir.join("run"),
            supervisor: u32::MAX >> 1,
            relay: u32::MAX >> 1,
            control: "127.0.0.1:1".parse().unwrap(),
            cluster_dir: dir.to_path_buf(),
            http: Vec::new(),
            active: Vec::new(),
            mounts: Vec::new(),
        }
    }

    #[test]
    fn what_a_dead_tool_left_is_undone_once_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("states"), dir.path().join("log"));
        fs::write(&file, b"abc").unwrap();
        fs::write(dir.path().join("node2.hold"), "").unwrap();
        let (ballast, config) = (dir.path().join("ballast"), dir.path().join("node2.toml"));
        fs::write(&ballast, [0; 9]).unwrap();
        fs::write(&config, "old = 0\nnode = 2\n").unwrap();
        let mut state = state(dir.path());
        let undo = vec![Undo::Release { node: 2 }, Undo::Byte { file: file.clone(), offset: 1, was: b'x' }, Undo::Continue { node: 2 }];
        let undo =
            [undo, vec![Undo::Remove { file: ballast.clone() }, Undo::Line { file: config.clone(), line: "old = 0".into() }]].concat();
        state.active.push(Active { n: 1, fault: "bit-flip of node 2".into(), undo });
        state.save(&folder).unwrap();
        let healed = heal(&folder, false, false).unwrap();
        let said = healed[0].lines.join("\n");
        for line in [
            "bit-flip of node 2",
            "let node 2 start again",
            "put byte 1",
            "removed ",
            "took `old = 0` out",
            "needed no undoing",
            "its cluster is gone",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"axc");
        assert!(!dir.path().join("node2.hold").exists() && !ballast.exists());
        assert_eq!(fs::read_to_string(&config).unwrap(), "node = 2\n");
        assert_eq!(heal(&folder, false, false).unwrap(), [], "nothing is left to heal");
    }

    #[test]
    fn without_a_folder_there_is_nothing_to_heal() {
        assert_eq!(heal(Path::new("/nowhere/at/all"), false, false).unwrap(), []);
    }
}
