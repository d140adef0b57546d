//! Behaviours of the log as a whole, on real files.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::{
    DiskOp, Error, Op, Options, Recovered, Wal,
    record::{self, Head, Kind},
};
use crate::{GroupId, limits};

mod damage;
mod disk_errors;
mod kill;
mod suite;

const SEGMENT: u64 = limits::WAL_SEGMENT_MIN_BYTES;

fn options(dir: &TempDir) -> Options {
    Options { segment_bytes: SEGMENT, ..Options::new(dir.path().join("log")) }
}

fn segments(dir: &TempDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.path().join("log")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "wal"));
    paths.sort();
    paths
}

fn files(dir: &TempDir) -> usize {
    fs::read_dir(dir.path().join("log")).unwrap().count()
}

fn payload(index: u64) -> Vec<u8> {
    format!("entry {index} of the log, long enough to look like one").into_bytes()
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Op {
    Op::Append(range.map(|i| (i, payload(i))).collect())
}

fn expected(range: std::ops::RangeInclusive<u64>) -> BTreeMap<u64, Vec<u8>> {
    range.map(|i| (i, payload(i))).collect()
}

/// Opens, runs, closes.
async fn with_log<F: AsyncFnOnce(&Wal)>(dir: &TempDir, f: F) -> BTreeMap<GroupId, Recovered> {
    let (wal, groups) = Wal::open(options(dir)).unwrap();
    f(&wal).await;
    wal.close().await;
    groups
}

async fn reopened(dir: &TempDir) -> BTreeMap<GroupId, Recovered> {
    with_log(dir, async |_| {}).await
}

#[tokio::test]
async fn what_was_committed_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        wal.commit(1, entries(1..=9)).await.unwrap();
        wal.commit(1, Op::Vote(b"old".to_vec())).await.unwrap();
        wal.commit(1, Op::Vote(b"vote".to_vec())).await.unwrap();
        wal.commit(2, entries(0..=3)).await.unwrap();
        wal.note_committed(1, b"mark".to_vec());
    })
    .await;
    let groups = reopened(&dir).await;
    let one = Recovered { vote: Some(b"vote".to_vec()), committed: Some(b"mark".to_vec()), purged: None, entries: expected(1..=9) };
    assert_eq!(groups[&1], one);
    assert_eq!(groups[&2].entries, expected(0..=3));
}

#[tokio::test]
async fn truncate_and_append_hold_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        wal.commit(1, entries(1..=9)).await.unwrap();
        wal.commit(1, Op::Truncate(5)).await.unwrap();
        wal.commit(1, Op::Append(vec![(5, b"other".to_vec())])).await.unwrap();
        wal.commit(1, Op::Purge(2, b"mark".to_vec())).await.unwrap();
    })
    .await;
    let mut want = expected(3..=4);
    want.insert(5, b"other".to_vec());
    for _ in 0..3 {
        let groups = reopened(&dir).await;
        assert_eq!(groups[&1].entries, want);
        assert_eq!(groups[&1].purged, Some((2, b"mark".to_vec())));
    }
}

#[tokio::test]
async fn a_forgotten_group_stays_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        wal.commit(1, entries(1..=9)).await.unwrap();
        wal.commit(2, entries(1..=9)).await.unwrap();
        wal.commit(1, Op::Forget).await.unwrap();
    })
    .await;
    assert_eq!(reopened(&dir).await.into_keys().collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn many_groups_share_a_batch_and_keep_their_own_order() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        let groups = (0..64u32).map(|group| async move {
            for index in 1..=20 {
                wal.commit(group, entries(index..=index)).await.unwrap();
            }
        });
        futures::future::join_all(groups).await;
        let batches = wal.stats().batches;
        assert!(batches < 64 * 20 / 2, "{batches} fsyncs for {} appends: nothing was shared", 64 * 20);
    })
    .await;
    let groups = reopened(&dir).await;
    assert_eq!(groups.len(), 64);
    assert!(groups.values().all(|g| g.entries == expected(1..=20)));
}

#[tokio::test]
async fn recycled_segments_bound_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let bound = limits::WAL_SPARE_SEGMENTS + 1 + 3;
    with_log(&dir, async |wal| {
        wal.commit(9, Op::Vote(b"kept though its segment goes".to_vec())).await.unwrap();
        for round in 0..40 {
            let first = round * 500 + 1;
            wal.commit(1, entries(first..=first + 499)).await.unwrap();
            wal.commit(1, Op::Purge(first + 490, b"mark".to_vec())).await.unwrap();
            // The lock file and a segment that is just being zeroed are the other two.
            assert!(files(&dir) <= bound + 2, "round {round}: {} files", files(&dir));
        }
        assert_eq!(wal.pinned(), Vec::<GroupId>::new());
    })
    .await;
    let groups = reopened(&dir).await;
    assert_eq!(groups[&1].entries, expected(39 * 500 + 492..=40 * 500));
    assert_eq!(groups[&9].vote.as_deref(), Some(&b"kept though its segment goes"[..]));
}

#[tokio::test]
async fn a_group_that_pins_old_segments_is_reported_until_it_purges() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        wal.commit(7, entries(1..=3)).await.unwrap();
        for round in 0..8 {
            let first = round * 500 + 1;
            wal.commit(1, entries(first..=first + 499)).await.unwrap();
            wal.commit(1, Op::Purge(first + 499, b"mark".to_vec())).await.unwrap();
        }
        assert_eq!(wal.pinned(), [7]);
        wal.commit(7, Op::Purge(3, b"mark".to_vec())).await.unwrap();
        wal.commit(7, entries(4..=4)).await.unwrap();
        assert_eq!(wal.pinned(), Vec::<GroupId>::new());
        assert!(wal.stats().segments <= 2);
    })
    .await;
}

#[tokio::test]
async fn an_entry_larger_than_a_segment_is_kept_and_one_beyond_the_bound_refused() {
    let dir = tempfile::tempdir().unwrap();
    let big = vec![7u8; usize::try_from(SEGMENT).unwrap() * 3];
    with_log(&dir, async |wal| {
        wal.commit(1, entries(1..=1)).await.unwrap();
        wal.commit(1, Op::Append(vec![(2, big.clone())])).await.unwrap();
        wal.commit(1, entries(3..=3)).await.unwrap();
        let beyond = Op::Append(vec![(4, vec![0; limits::WAL_RECORD_MAX_BYTES + 1])]);
        assert!(matches!(wal.submit(1, beyond, Box::new(|_| {})).await, Err(Error::TooLarge(_))));
    })
    .await;
    let groups = reopened(&dir).await;
    assert_eq!(groups[&1].entries.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(groups[&1].entries[&2], big);
}

#[tokio::test]
async fn a_directory_in_use_is_refused_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(options(&dir)).unwrap();
    assert!(matches!(Wal::open(options(&dir)), Err(Error::InUse(_))));
    wal.close().await;
    assert!(Wal::open(options(&dir)).is_ok());
    assert!(wal.commit(1, entries(1..=1)).await.is_err(), "a closed log accepts nothing");
}
