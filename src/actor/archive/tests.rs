//! Behaviours of the archive's files, whatever a crash or a bad disk left of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::core::effect::Record;

/// The records a state would have closed: of uneven length, chained from the first.
fn records(count: u64) -> Vec<Record> {
    let mut chain = cdr::Archive::default();
    let make = |seq: u64| {
        let bytes = format!("record {seq} {}", "x".repeat((seq * 7 % 50) as usize)).into_bytes();
        segment::extend(&mut chain, &bytes);
        Record { seq, hash: chain.hash, bytes }
    };
    (0..count).map(make).collect()
}

/// The head of the chain after these records, as a snapshot carries it.
fn head(records: &[Record]) -> cdr::Archive {
    let mut chain = cdr::Archive::default();
    records.iter().for_each(|record| segment::extend(&mut chain, &record.bytes));
    chain
}

/// Small files, so that a few records fill several.
const SEGMENT_BYTES: u64 = 512;

fn open(dir: &Path) -> Archive {
    Archive::open(dir, SEGMENT_BYTES).unwrap()
}

fn written(dir: &Path, records: &[Record]) -> Archive {
    let mut archive = open(dir);
    archive.append(records, None).unwrap();
    archive
}

/// Every record from `from` on, in pages of seven.
fn read(archive: &mut Archive, from: u64) -> Vec<(u64, Vec<u8>)> {
    let (mut all, mut next) = (Vec::new(), Some(from));
    while let Some(from) = next {
        let (items, more) = archive.plan(from, 7).unwrap().read().unwrap();
        all.extend(items);
        next = more;
    }
    all
}

fn expected(records: &[Record]) -> Vec<(u64, Vec<u8>)> {
    records.iter().map(|record| (record.seq, record.bytes.clone())).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn shorten(path: &Path, by: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

#[test]
fn records_are_read_back_across_files_from_any_sequence() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(40));
    let mut archive = written(dir.path(), &all);
    assert!(files(dir.path()).len() > 3, "the records fill several files");
    for from in [0, 1, 6, 17, 39, 40] {
        assert_eq!(read(&mut archive, from), expected(&all[from as usize..]), "from {from}");
    }
    let status = archive.status();
    assert_eq!((status.records, status.hash, status.complete), (40, all[39].hash, true));
}

#[test]
fn a_torn_tail_is_cut_and_written_again_by_the_replay() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(10));
    drop(written(dir.path(), &all));
    shorten(files(dir.path()).last().unwrap(), 3);
    let mut archive = open(dir.path());
    assert_eq!(archive.end(), 9, "the torn record is gone, those before it are not");
    // Without a snapshot the whole log is applied again.
    archive.append(&all, None).unwrap();
    assert_eq!(read(&mut archive, 0), expected(&all));
    assert_eq!(archive.status().hash, all[9].hash);
}

#[test]
fn a_header_that_was_never_finished_is_no_file_of_the_archive() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(3));
    fs::write(dir.path().join(format!("{:020}.open", 0)), b"TNDM").unwrap();
    let mut archive = written(dir.path(), &all);
    assert_eq!(read(&mut archive, 0), expected(&all));
}

#[test]
fn a_restart_cuts_back_to_the_sequence_of_the_snapshot() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(30));
    drop(written(dir.path(), &all));
    for at in [29, 16, 1, 0] {
        let mut archive = open(dir.path());
        archive.restore(&head(&all[..at]), &cdr::Archive::default()).unwrap();
        assert_eq!((archive.end(), archive.status().records), (at as u64, at as u64));
        assert_eq!(archive.status().hash, head(&all[..at]).hash);
        archive.append(&all[at..], None).unwrap();
        archive.unsynced().unwrap().unwrap().sync_data().unwrap();
        assert_eq!(read(&mut archive, 0), expected(&all), "written again from {at} on");
        assert_eq!(archive.status().hash, all[29].hash);
    }
}

#[test]
fn replicas_that_wrote_in_different_pieces_agree_on_the_hash() {
    let (one, other, all) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), records(25));
    let whole = written(one.path(), &all);
    let mut pieces = open(other.path());
    for some in all.chunks(3) {
        pieces.append(some, None).unwrap();
    }
    drop(pieces);
    let mut again = open(other.path());
    again.restore(&head(&all), &cdr::Archive::default()).unwrap();
    assert_eq!(again.status(), whole.status());
}

#[test]
#[should_panic(expected = "the files continue the chain of the state")]
fn a_record_of_another_chain_stops_the_replica() {
    let (dir, mut all) = (tempfile::tempdir().unwrap(), records(2));
    all[1].bytes.push(0);
    written(dir.path(), &all);
}

/// A replica that got its state as a snapshot: it knows the head and has nothing of the past.
fn newcomer(dir: &Path, all: &[Record], head_at: usize) -> Archive {
    let mut archive = open(dir);
    archive.restore(&head(&all[..head_at]), &cdr::Archive::default()).unwrap();
    archive.append(&all[head_at..], None).unwrap();
    archive
}

#[test]
fn what_a_snapshot_did_not_bring_is_fetched_from_a_peer() {
    let (here, there, all) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), records(30));
    let mut peer = written(there.path(), &all);
    let mut archive = newcomer(here.path(), &all, 20);
    assert_eq!(archive.holes().first(), Some(&(0..20)));
    assert!(!archive.status().complete);
    assert_eq!(archive.plan(5, 1).unwrap_err().kind(), io::ErrorKind::NotFound, "a record on its way is not one that is not there");
    assert_eq!(read(&mut archive, 20), expected(&all[20..]), "what is here is readable");
    let mut fill = archive.begin_fill().unwrap().unwrap();
    while let Some(from) = fill.wanted() {
        fill.take(&peer.plan(from, 7).unwrap().read().unwrap().0).unwrap();
    }
    archive.end_fill(fill).unwrap();
    assert_eq!(read(&mut archive, 0), expected(&all));
    assert_eq!(archive.status(), peer.status());
    // It is on disk like any other record.
    let mut again = open(here.path());
    again.restore(&head(&all), &cdr::Archive::default()).unwrap();
    assert_eq!(read(&mut again, 0), expected(&all));
}

#[test]
fn fetched_records_that_do_not_fit_the_chain_are_refused() {
    let (here, all) = (tempfile::tempdir().unwrap(), records(12));
    let mut archive = newcomer(here.path(), &all, 10);
    let mut forged = expected(&all[..10]);
    forged[4].1[0] ^= 1;
    let mut fill = archive.begin_fill().unwrap().unwrap();
    fill.take(&forged).unwrap();
    assert!(archive.end_fill(fill).is_err());
    assert_eq!(archive.holes().first(), Some(&(0..10)), "the hole is still one");
    let mut fill = archive.begin_fill().unwrap().unwrap();
    assert!(fill.take(&expected(&all[3..5])).is_err(), "a peer may not leave records out");
}

#[test]
fn a_damaged_record_is_never_handed_out() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(40));
    drop(written(dir.path(), &all));
    let first = files(dir.path()).remove(0);
    let mut bytes = fs::read(&first).unwrap();
    bytes[100] ^= 1;
    fs::write(&first, bytes).unwrap();
    let mut archive = open(dir.path());
    archive.restore(&head(&all), &cdr::Archive::default()).unwrap();
    let damaged = archive.plan(0, 40).and_then(read::Plan::read).unwrap_err();
    assert!(damaged.to_string().contains("damaged at record"), "{damaged}");
    assert_eq!(read(&mut archive, 30), expected(&all[30..]), "other files are not touched by it");
}

#[test]
fn a_call_that_closed_lately_is_found_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = written(dir.path(), &records(5));
    let call = CallId(7);
    assert_eq!(archive.recent(call), Err(0), "nothing was looked at yet");
    archive.remember(&[(0, CallId(1)), (1, call)]);
    assert_eq!((archive.recent(call), archive.recent(CallId(9))), (Ok(1), Err(2)));
}

/// Days of ten records each.
fn by_days(dir: &Path, all: &[Record]) -> Archive {
    let mut archive = Archive::open(dir, 1 << 20).unwrap();
    for day in all.chunks(10) {
        archive.append(day, Some(day[0].seq)).unwrap();
    }
    archive
}

#[test]
fn files_go_with_their_day_and_what_was_dropped_is_said_to_be_no_longer_kept() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(45));
    let mut archive = by_days(dir.path(), &all);
    assert_eq!(files(dir.path()).len(), 5);
    archive.keep_from(&head(&all[..20])).unwrap();
    assert_eq!(files(dir.path()).len(), 3);
    let refused = archive.plan(19, 7).unwrap_err();
    assert!(refused.get_ref().is_some_and(|inner| inner.is::<NoLongerKept>()), "{refused}");
    assert_eq!(read(&mut archive, 20), expected(&all[20..]));
    let status = archive.status();
    assert_eq!((status.kept_from, status.records, status.hash, status.complete), (20, 45, all[44].hash, true));
    archive.append(&records(50)[45..], None).unwrap();
    // In the middle of a file: the records are refused, though the file stays.
    archive.keep_from(&head(&all[..35])).unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    assert!(archive.plan(34, 7).is_err());
    assert_eq!(read(&mut archive, 35), expected(&records(50)[35..]));
}

#[test]
fn a_restart_finds_what_is_kept_and_drops_what_a_crash_left() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(40));
    drop(by_days(dir.path(), &all));
    let mut archive = open(dir.path());
    archive.restore(&head(&all), &head(&all[..30])).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    assert!(archive.holes().is_empty());
    assert_eq!(read(&mut archive, 30), expected(&all[30..]));
    archive.keep_from(&head(&all)).unwrap();
    let more = records(42);
    archive.append(&more[40..], Some(40)).unwrap();
    assert_eq!(read(&mut archive, 40), expected(&more[40..]));
}

#[test]
fn a_replica_without_files_fetches_what_is_kept_and_proves_it_by_the_chain() {
    let (dir, all) = (tempfile::tempdir().unwrap(), records(40));
    let mut archive = open(dir.path());
    archive.restore(&head(&all), &head(&all[..25])).unwrap();
    assert_eq!(archive.holes(), std::iter::once(25..40).collect::<Vec<_>>());
    let mut fill = archive.begin_fill().unwrap().unwrap();
    assert_eq!(fill.wanted(), Some(25));
    fill.take(&expected(&all[25..])).unwrap();
    archive.end_fill(fill).unwrap();
    assert_eq!(read(&mut archive, 25), expected(&all[25..]));
}
