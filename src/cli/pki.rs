//! `tandem pki`: the cluster's own authority and a certificate per node.
//!
//! It owns arguments and file names as an operator sees them; making certificates is the cluster's.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use tandem_cluster::pki;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an authority: ca.pem, which every node gets, and ca.key, which none does
    Init {
        #[arg(long, default_value = "pki")]
        dir: PathBuf,
    },
    /// Issue a node's certificate: nodeN.pem and nodeN.key; run again to rotate it
    Node {
        #[arg(long)]
        id: u64,
        #[arg(long, default_value = "pki")]
        dir: PathBuf,
        /// Further names or addresses that phones know the node by (SIP over TLS)
        #[arg(long = "host")]
        hosts: Vec<String>,
    },
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Init { dir } => {
            pki::init(dir).map_err(|e| Failure::new(e).of(dir.display()))?;
            println!(
                "{} is the cluster's authority; keep {} away from the nodes",
                authority_file(dir).display(),
                dir.join("ca.key").display()
            );
        }
        Command::Node { id, dir, hosts } => {
            if *id == 0 || *id > u64::from(u16::MAX) {
                return Err(Failure::new("--id must be 1 to 65535"));
            }
            pki::issue(dir, *id, hosts).map_err(|e| Failure::new(e).of(dir.display()))?;
            println!("{} and {} are for node {id} only", certificate_file(dir, *id).display(), key_file(dir, *id).display());
        }
    }
    Ok(())
}

/// Makes the authority unless it is there.
pub(super) fn ensure_authority(dir: &Path) -> Result<(), Failure> {
    if authority_file(dir).exists() { Ok(()) } else { pki::init(dir).map_err(|e| Failure::new(e).of(dir.display())) }
}

/// Issues a node's certificate for this machine unless it is there.
pub(super) fn ensure_node(dir: &Path, node: u64) -> Result<(), Failure> {
    if certificate_file(dir, node).exists() && key_file(dir, node).exists() {
        return Ok(());
    }
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    pki::issue(dir, node, &hosts).map_err(|e| Failure::new(e).of(dir.display()))
}

pub(super) fn authority_file(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

pub(super) fn certificate_file(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("node{node}.pem"))
}

pub(super) fn key_file(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("node{node}.key"))
}
