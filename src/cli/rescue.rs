//! Backup, restore, forced recovery and the skip of a poisoned entry: what an operator does against the worst days.
//!
//! `backup` and `skip` ask a running node; `restore` and `recover` work on a data directory that nobody runs on.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use tandem_cluster::{backup, recovery};

use super::{Failure, Remote, client::Client};

/// Fetches a backup into a file that appears only when it is whole.
pub(super) fn back_up(remote: &Remote, path: &Path) -> Result<(), Failure> {
    let of = |error: io::Error| Failure::new(error).of(path.display());
    if path.exists() {
        return Err(Failure::new("it exists already").of(path.display()));
    }
    let part = path.with_added_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(of)?;
    let fetched = Client::new(remote).download("/api/v1/backup", &mut file);
    let about = fetched.and_then(|()| {
        file.sync_all().map_err(of)?;
        backup::verify(&part).map_err(|error| Failure::new(error).of("the backup"))
    });
    let about = about.inspect_err(|_| drop(fs::remove_file(&part)))?;
    let bytes = file.metadata().map_err(of)?.len();
    fs::rename(&part, path).map_err(of)?;
    println!("{}: {} partitions, {bytes} bytes, checked; taken from node {}", path.display(), about.groups, about.node);
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The data directory to make; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What `tandem backup` wrote
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Id of the node that will run on it: the first of the new cluster
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=65535))]
    node: u64,
}

pub(super) fn restore(args: &Restore) -> Result<(), Failure> {
    let made = block_on(backup::restore(&args.data, &args.from, args.node))?;
    let about = made.map_err(|error| Failure::new(error).of(args.from.display()))?;
    println!(
        "{}: the data of node {}, the only member of a new cluster with groups = {}. Start it, then join others under ids that \
         the old cluster never used.",
        args.data.display(),
        args.node,
        about.groups
    );
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(super) struct Recover {
    /// The data directory of a survivor that is not running
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What the lost nodes acknowledged and this one never received is gone for good
    #[arg(long)]
    i_accept_data_loss: bool,
}

pub(super) fn recover(args: &Recover) -> Result<(), Failure> {
    if !args.i_accept_data_loss {
        return Err(Failure::new(
            "this makes one survivor the whole cluster; what the others acknowledged and it never received is lost, and the others must \
             never run again on their disks. Say --i-accept-data-loss if a majority cannot be brought back",
        ));
    }
    let done = block_on(recovery::recover(&args.data))?.map_err(|error| Failure::new(error).of(args.data.display()))?;
    println!("PARTITION  HOLDS UP TO  TERM  KNOWN COMMITTED  KEPT ON TRUST");
    for held in &done.groups {
        let ((term, index), committed) = (held.last, held.committed);
        println!("{:<9}  {index:<11}  {term:<4}  {committed:<15}  {}", held.group, index.saturating_sub(committed));
    }
    println!(
        "node {} is now the only member. Entries beyond the second column, if others had acknowledged any, are lost; those in the last \
         column were not known to be acknowledged and are kept. Start it, then join others under new ids on empty disks.",
        done.node
    );
    Ok(())
}

/// The cluster's own partition is skipped by a note on each disk, the others by a command that it commits.
pub(super) fn skip(remote: &Remote, partition: u32, index: u64, data: Option<&Path>) -> Result<(), Failure> {
    match (partition, data) {
        (0, Some(dir)) => {
            let node = recovery::skip_offline(dir, index).map_err(|error| Failure::new(error).of(dir.display()))?;
            println!("node {node} will skip entry {index} of partition 0. Say the same on the disk of every node before you start them.");
        }
        (0, None) => return Err(Failure::new("partition 0 is skipped on the disk of each node: say --data DIR")),
        (_, Some(_)) => return Err(Failure::new("--data is for partition 0 only; the others are skipped by the running cluster")),
        (_, None) => {
            let path = format!("/api/v1/partitions/{partition}/skips");
            let body = serde_json::json!({ "index": index }).to_string();
            Client::new(remote).change("POST", &path, &[("content-type", "application/json")], &body)?;
            println!("entry {index} of partition {partition} is skipped; its commands are void (`tandem get partitions`)");
        }
    }
    Ok(())
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Failure::new)?;
    Ok(runtime.block_on(work))
}
