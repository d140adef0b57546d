//! Damaged logs: what is cut, what is refused, and what is never replayed.

use super::*;

/// Offsets of the records of a segment, with their heads.
fn records(bytes: &[u8]) -> Vec<(usize, Head)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(r) = record::decode(&bytes[at..]) {
        found.push((at, r.head));
        at += r.size;
    }
    found
}

/// Ten batches of three entries.
async fn ten_batches(dir: &TempDir) {
    with_log(dir, async |wal| {
        for batch in 0..10 {
            wal.commit(1, entries(batch * 3 + 1..=batch * 3 + 3)).await.unwrap();
        }
    })
    .await;
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0xFF;
    fs::write(path, bytes).unwrap();
}

fn refusal(dir: &TempDir) -> String {
    match Wal::open(options(dir)) {
        Ok(_) => panic!("the damaged log opened"),
        Err(e) => e.to_string(),
    }
}

#[tokio::test]
async fn a_flipped_byte_before_a_later_batch_refuses_to_open_and_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    ten_batches(&dir).await;
    let path = segments(&dir).remove(0);
    let good = fs::read(&path).unwrap();
    let all = records(&good);
    let last_batch = all.last().unwrap().1.batch;
    for &(at, head) in all.iter().filter(|(_, h)| h.batch < last_batch) {
        for byte in [at, at + 9, at + 30, at + record::HEADER_BYTES] {
            flip(&path, byte);
            let message = refusal(&dir);
            let named = message.contains("is corrupt at offset") && message.contains(path.file_name().unwrap().to_str().unwrap());
            assert!(named, "record {} byte {byte}: {message}", head.seq);
            if head.kind != Kind::Open {
                assert!(message.contains(&format!("offset {at}:")), "record at {at}: {message}");
            }
            fs::write(&path, &good).unwrap();
        }
    }
    assert_eq!(reopened(&dir).await[&1].entries, expected(1..=30));
}

#[tokio::test]
async fn a_flipped_byte_in_the_last_batch_cuts_there_and_the_log_goes_on() {
    for position in 0..3usize {
        let dir = tempfile::tempdir().unwrap();
        ten_batches(&dir).await;
        let path = segments(&dir).remove(0);
        let all = records(&fs::read(&path).unwrap());
        flip(&path, all[all.len() - 3 + position].0 + record::HEADER_BYTES);
        let last = 27 + position as u64;
        let groups = with_log(&dir, async |wal| wal.commit(1, entries(last + 1..=last + 2)).await.unwrap()).await;
        assert_eq!(groups[&1].entries, expected(1..=last));
        assert_eq!(reopened(&dir).await[&1].entries, expected(1..=last + 2));
    }
}

#[tokio::test]
async fn a_tail_torn_anywhere_in_the_last_batch_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    ten_batches(&dir).await;
    let path = segments(&dir).remove(0);
    let good = fs::read(&path).unwrap();
    let all = records(&good);
    let (start, _) = all[all.len() - 3];
    let end = all.last().unwrap().0 + record::size_of(payload(30).len());
    for cut in (start..end).step_by(17) {
        let mut torn = good.clone();
        torn[cut..].fill(0);
        fs::write(&path, torn).unwrap();
        let survived = reopened(&dir).await[&1].entries.len() as u64;
        assert!((27..30).contains(&survived), "cut at {cut}: {survived}");
    }
}

/// A crash may leave the later sectors of a batch and not the earlier ones, and may happen again right after.
#[tokio::test]
async fn a_batch_torn_in_front_is_cut_even_twice_in_a_row() {
    let dir = tempfile::tempdir().unwrap();
    ten_batches(&dir).await;
    let path = segments(&dir).remove(0);
    let all = records(&fs::read(&path).unwrap());
    // First crash: the middle of three records is missing; the first survives without the end of its batch.
    flip(&path, all[all.len() - 2].0);
    with_log(&dir, async |wal| wal.commit(1, entries(29..=31)).await.unwrap()).await;
    // Second crash, in the very next batch: its first record is missing, the others are there.
    let bytes = fs::read(&path).unwrap();
    let all = records(&bytes);
    flip(&path, all[all.len() - 3].0);
    assert_eq!(reopened(&dir).await[&1].entries, expected(1..=28));
    // What was cut does not come back when the log grows over it.
    with_log(&dir, async |wal| wal.commit(1, entries(29..=29)).await.unwrap()).await;
    assert_eq!(reopened(&dir).await[&1].entries, expected(1..=29));
}

#[tokio::test]
async fn records_of_a_recycled_segment_are_never_replayed() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        // Fill and free segments until old files come round again under new numbers.
        for round in 0..30 {
            let first = round * 500 + 1;
            wal.commit(1, entries(first..=first + 499)).await.unwrap();
            wal.commit(1, Op::Purge(first + 499, b"mark".to_vec())).await.unwrap();
        }
        // Too much for the rest of the last segment, too little to overwrite all of the next.
        wal.commit(1, entries(15_001..=15_150)).await.unwrap();
    })
    .await;
    let newest = segments(&dir).pop().unwrap();
    let number: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let stale =
        (0..bytes.len()).step_by(record::ALIGN).filter_map(|at| record::decode(&bytes[at..])).filter(|r| r.head.generation != number);
    assert!(stale.count() > 100, "the file was not recycled; the test proves nothing");
    let groups = reopened(&dir).await;
    assert_eq!(groups[&1].entries, expected(15_001..=15_150));
    assert_eq!(groups[&1].purged, Some((15_000, b"mark".to_vec())));
}

#[tokio::test]
async fn a_flipped_byte_in_an_older_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        for first in (1..2000).step_by(100) {
            wal.commit(1, entries(first..=first + 99)).await.unwrap();
        }
    })
    .await;
    let paths = segments(&dir);
    assert!(paths.len() >= 3);
    let all = records(&fs::read(&paths[0]).unwrap());
    let at = all.last().unwrap().0;
    flip(&paths[0], at + 60);
    assert!(refusal(&dir).contains(&format!("is corrupt at offset {at}:")));
}

#[tokio::test]
async fn a_missing_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    with_log(&dir, async |wal| {
        for first in (1..4000).step_by(100) {
            wal.commit(1, entries(first..=first + 99)).await.unwrap();
        }
    })
    .await;
    let paths = segments(&dir);
    assert!(paths.len() >= 4);
    for missing in [0, 1] {
        let aside = dir.path().join("aside");
        fs::rename(&paths[missing], &aside).unwrap();
        assert!(refusal(&dir).contains("corrupt"), "segment {missing}");
        fs::rename(&aside, &paths[missing]).unwrap();
    }
}
