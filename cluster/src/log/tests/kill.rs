//! `kill -9` in a loop: a real process appends and reports, its parent kills it at random moments and counts.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use rand::Rng;

use super::*;

const DIR: &str = "TANDEM_TEST_LOG_DIR";
const GROUPS: u32 = 4;

/// Not a test: the process that is killed. Appends to every group, purges now and then, and prints each acknowledged index.
#[tokio::test]
#[ignore = "the child of a_killed_process_loses_nothing_acknowledged"]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (wal, groups) = Wal::open(Options { segment_bytes: SEGMENT, ..Options::new(dir) }).unwrap();
    let tasks = (0..GROUPS).map(|group| {
        let wal = wal.clone();
        let found = groups.get(&group).cloned().unwrap_or_default();
        let purged = found.purged.map_or(0, |(i, _)| i);
        let mut last = found.entries.last_key_value().map_or(purged, |(i, _)| *i);
        tokio::spawn(async move {
            loop {
                let upto = last + 1 + last % 7;
                wal.commit(group, entries(last + 1..=upto)).await.unwrap();
                last = upto;
                // One write per line: a line that is there is whole.
                std::io::stdout().lock().write_all(format!("\nack {group} {last}\n").as_bytes()).unwrap();
                if last % 50 < 7 {
                    wal.commit(group, Op::Purge(last - 20, b"mark".to_vec())).await.unwrap();
                }
            }
        })
    });
    futures::future::join_all(tasks.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::from_iter((0..GROUPS).map(|g| (g, 0u64)));
    let mut rng = rand::rng();
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::tests::kill::child", "--ignored", "--nocapture"])
            .env(DIR, dir.path().join("log"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |line: Option<std::io::Result<String>>| {
            let Some(Ok(line)) = line else { return false };
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", group, index] = words[..]
                && let (Ok(group), Ok(index)) = (group.parse::<u32>(), index.parse())
            {
                acknowledged.insert(group, index);
            }
            true
        };
        // Let it make some progress, then strike within the next batches.
        for _ in 0..rng.random_range(1..60) {
            take(lines.next());
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..3000)));
        child.kill().unwrap();
        while take(lines.next()) {}
        child.wait().unwrap();
        let groups = reopened(&dir).await;
        for (group, &last) in acknowledged.iter().filter(|(_, last)| **last > 0) {
            let found = &groups[group];
            let purged = found.purged.as_ref().map_or(0, |(i, _)| *i);
            let lost = (purged + 1..=last).find(|i| found.entries.get(i) != Some(&payload(*i)));
            assert_eq!(lost, None, "round {round}: acknowledged entry of group {group} is lost");
        }
    }
    assert!(acknowledged.values().all(|&last| last > 100), "{acknowledged:?}: too little was written to prove anything");
}
