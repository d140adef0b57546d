//! Small disks in memory for nodes that are to meet a full one: `tmpfs` of a fixed size, mounted before the cluster starts.
//! Needs the right to mount; without it nothing is mounted, and the fault is skipped.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::experiment::{Experiment, Kind};

/// Room for what a node writes in a run, and not much more.
const SIZE: &str = "size=512m";
/// Ballast is written in pieces of these sizes, so that not a byte is left.
const BALLAST_CHUNKS: [usize; 3] = [1 << 20, 1 << 12, 1];

/// The mounted disks of a run; unmounted on drop.
#[derive(Debug, Default)]
pub struct Disks(Vec<PathBuf>);

impl Disks {
    /// One for each node, if the experiment fills any and this machine lets us.
    pub fn mount(experiment: &Experiment, cluster_dir: &Path) -> Self {
        let mut disks = Self::default();
        if experiment.faults.iter().any(|fault| fault.kind == Kind::DiskFull) {
            let nodes = 1..=experiment.cluster.nodes + experiment.cluster.spare;
            disks.0.extend(nodes.map(|node| cluster_dir.join(format!("node{node}"))).filter(|at| mount(at)));
        }
        disks
    }

    pub fn mounts(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for at in &self.0 {
            // What cannot be unmounted is the operator's to see.
            unmount(at);
        }
    }
}

/// True if this process may mount at all, tried on a folder of its own.
pub fn can_mount() -> bool {
    let Ok(dir) = tempfile::tempdir() else { return false };
    mount(dir.path()) && unmount(dir.path())
}

fn mount(at: &Path) -> bool {
    let done = || Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tandem-chaos"]).arg(at).stderr(Stdio::null()).status();
    fs::create_dir_all(at).is_ok() && done().is_ok_and(|status| status.success())
}

/// True if something was unmounted there.
pub fn unmount(at: &Path) -> bool {
    // Lazily: a process that is just ending may still have a file open.
    Command::new("umount").arg("-l").arg(at).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Takes every byte that is left beside `ballast`, into it. How many that were.
///
/// # Errors
/// When the file cannot be made.
pub fn fill(ballast: &Path) -> std::io::Result<u64> {
    let mut file = fs::File::create(ballast)?;
    let mut taken = 0;
    for chunk in BALLAST_CHUNKS {
        let zeros = vec![0; chunk];
        while file.write_all(&zeros).is_ok() {
            taken += chunk as u64;
        }
    }
    Ok(taken)
}
