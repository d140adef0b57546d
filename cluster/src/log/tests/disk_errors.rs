//! A disk that refuses: the log stops, says so once, and forgets nothing that it reported.

use super::*;

type Seen = Arc<Mutex<Vec<String>>>;

fn observed(dir: &TempDir) -> (Options, Seen) {
    let seen = Seen::default();
    let sink = Arc::clone(&seen);
    let on_fatal = Arc::new(move |e: &Error| sink.lock().push(e.to_string()));
    (Options { on_fatal, ..options(dir) }, seen)
}

async fn stops_at(op: DiskOp, errno: i32, text: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (options, seen) = observed(&dir);
    let faults = Arc::clone(&options.faults);
    let (wal, _) = Wal::open(options).unwrap();
    wal.commit(1, entries(1..=5)).await.unwrap();
    faults.arm(op, errno, 1);
    let mut acknowledged = 5;
    while wal.commit(1, entries(acknowledged + 1..=acknowledged + 100)).await.is_ok() {
        acknowledged += 100;
        assert!(acknowledged < 1_000_000, "the fault never fired");
    }
    assert!(wal.commit(1, entries(1..=1)).await.is_err(), "nothing is accepted after a failure");
    wal.close().await;
    let seen = seen.lock().clone();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].contains(text) && seen[0].contains("log segment"), "{seen:?}");
    drop(wal);
    let groups = reopened(&dir).await;
    assert!(expected(1..=acknowledged).iter().all(|(i, p)| groups[&1].entries.get(i) == Some(p)), "an acknowledged entry is lost");
}

#[tokio::test]
async fn a_failed_fsync_stops_the_log() {
    stops_at(DiskOp::Sync, 5, "Input/output error").await;
}

#[tokio::test]
async fn a_failed_write_stops_the_log() {
    stops_at(DiskOp::Write, 5, "Input/output error").await;
}

#[tokio::test]
async fn a_full_disk_stops_the_log_and_loses_nothing_acknowledged() {
    stops_at(DiskOp::Create, 28, "No space left on device").await;
}

#[tokio::test]
async fn a_full_disk_at_the_first_start_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    options.faults.arm(DiskOp::Create, 28, 0);
    let Err(error) = Wal::open(options) else { panic!("opened on a full disk") };
    assert!(error.to_string().contains("No space left on device"), "{error}");
}
