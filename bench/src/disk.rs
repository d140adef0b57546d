//! A node's disk fills up under load: the node leaves, the others go on, and once there is room it catches up.
//! Needs the right to mount, for a small disk of that node's own.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    error::Error,
    judge,
    lab::{self, Lab},
    report::Report,
    sipp,
    stage::Stage,
    tenant,
    traffic::{self, Traffic},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub traffic: traffic::Options,
}

/// Whose disk fills up.
const NODE: u16 = 2;
/// Room for a node's log and archive of this run, and not much more.
const DISK: &str = "size=512m";
const BEFORE: Duration = Duration::from_secs(3);
const LOAD_S: f64 = 15.0;
const FULL_FOR: Duration = Duration::from_secs(6);
const WITHIN: Duration = Duration::from_secs(60);
const BALLAST_CHUNK: usize = 1 << 16;

/// A disk in memory, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Self, Error> {
        fs::create_dir_all(at)?;
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tandem-bench"]).arg(at).status()?;
        if done.success() { Ok(Self(at.to_path_buf())) } else { Err(Error::Setup("mounting a small disk needs root".to_owned())) }
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes every byte that is left.
    fn fill(&self) -> Result<(), Error> {
        let mut ballast = fs::File::create(self.ballast())?;
        for chunk in [BALLAST_CHUNK, 512] {
            while ballast.write_all(&vec![0; chunk]).is_ok() {}
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A leftover of a failed run is the operator's to see.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub fn run(options: &Options) -> Result<Report, Error> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::mount(&dir.path().join(format!("node{NODE}")))?;
    let mut lab = lab::Options::new(tenant::with_agents(options.traffic.agents, sipp::PHONE_PORT));
    lab.restart_after_ms = Some(1_000);
    let stage = Stage::around(Lab::start_in(&lab, dir.path())?)?;
    let lab = &stage.lab;
    let callers = Traffic::start(lab, &options.traffic, &[1, 3], LOAD_S)?;
    thread::sleep(BEFORE);
    disk.fill()?;
    let left = lab.eventually("the node with the full disk leaves", WITHIN, |lab| !lab.ready(NODE));
    thread::sleep(FULL_FOR);
    fs::remove_file(disk.ballast())?;
    let mut seen = callers.finish()?;
    let back = lab.await_whole(&[1, 2, 3], WITHIN);
    let mut report = Report::new(format!("disk: node {NODE} has a full disk at {}/s on the others", options.traffic.rate));
    report.bounded("the node left", f64::from(u8::from(left.is_ok())), "", "= 1", left.is_ok());
    report.bounded("it came back once there was room", f64::from(u8::from(back.is_ok())), "", "= 1", back.is_ok());
    judge::traffic(&mut report, &stage, &mut seen)?;
    Ok(report)
}
