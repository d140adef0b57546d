//! Sudden death, proven death, false death, long absence: what was acknowledged stays, and somebody leads.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tandem_cluster::{Cluster, Herald, NodeState, Options, limits, log::Faults};

use super::register::{Drag, Fleet, GROUPS, SECOND, Seen, all_registered, eventually, eventually_at, rows, start, write};

/// Writes unique values to group 1 until told to stop; returns those that were acknowledged. No value is repeated, since an
/// outcome may be unknown.
fn writer(cluster: Cluster, name: &'static str, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let value = format!("{name}{n}");
            if cluster.propose(1, Bytes::from(value.clone()), 5 * SECOND).await.is_ok() {
                acknowledged.push(value);
            }
        }
        acknowledged
    })
}

fn check(acknowledged: &[String], seen: &Seen) {
    let rows = rows(seen, 1);
    for value in acknowledged {
        let times = rows.iter().filter(|row| row.as_slice() == value.as_bytes()).count();
        assert_eq!(times, 1, "{value} was acknowledged once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_a_leader_dies_suddenly() {
    let fleet = Fleet::new(3);
    let mut nodes: Vec<_> = fleet.three().await.into_iter().map(Some).collect();
    write(&nodes[0].as_ref().expect("alive").0, 1, "first").await.expect("committed");
    let dead = nodes[0].as_ref().expect("alive").0.leader(1).expect("group 1 is led");
    let stop = Arc::new(AtomicBool::new(false));
    let survivors: Vec<_> = (1..=3_usize).filter(|id| *id as u64 != dead).collect();
    let writers: Vec<_> = survivors
        .iter()
        .zip(["a", "b"])
        .map(|(id, name)| writer(nodes[id - 1].as_ref().expect("alive").0.clone(), name, Arc::clone(&stop)))
        .collect();
    tokio::time::sleep(SECOND / 2).await;
    drop(nodes[dead as usize - 1].take());
    let alive: Vec<_> = nodes.iter().flatten().collect();
    eventually("another leader of every group", || {
        alive.iter().all(|(cluster, _)| (0..=GROUPS).all(|group| cluster.leader(group).is_some_and(|leader| leader != dead)))
    })
    .await;
    write(&alive[0].0, 1, "after").await.expect("the survivors commit");
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = vec!["first".to_owned(), "after".to_owned()];
    for writer in writers {
        acknowledged.extend(writer.await.expect("the writer does not panic"));
    }
    for (cluster, seen) in &alive {
        cluster.read_barrier(1, 5 * SECOND).await.expect("a quorum is there");
        check(&acknowledged, seen);
    }
    eventually("the loss is known", || {
        alive.iter().all(|(cluster, _)| cluster.nodes().borrow().get(&dead).is_some_and(|row| row.state == NodeState::Lost))
    })
    .await;
}

/// A watcher that begins only when its node is dead.
async fn announce(options: Options, incarnation: u64) {
    Herald::start(options).expect("the certificate is good").announce(incarnation, 5 * SECOND).await.expect("a notice encodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_told_by_the_watcher_needs_no_silence() {
    let fleet = Fleet::new(3);
    let [first, second, third] = fleet.three().await;
    let (dead, incarnation) = (third.0.node(), third.0.incarnation());
    let herald = Herald::start(fleet.options(dead)).expect("the certificate is good");
    drop(third);
    // On a starved machine a connection alone may take seconds.
    let told = herald.announce(incarnation, 30 * SECOND).await.expect("a notice encodes");
    assert_eq!(told, 2, "both survivors hear of it");
    for (cluster, _) in [&first, &second] {
        let lost = || cluster.nodes().borrow().get(&dead).is_some_and(|row| row.state == NodeState::Lost);
        eventually_at(cluster, "the loss is known", lost).await;
        let led = || (0..=GROUPS).all(|group| cluster.leader(group).is_some_and(|leader| leader != dead));
        eventually_at(cluster, "another leader of every group", led).await;
        write(cluster, 1, "on").await.expect("committed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_taken_for_dead_begins_a_new_life_without_a_restart() {
    let fleet = Fleet::new(3);
    let [first, second, third] = fleet.three().await;
    let life = third.0.incarnation();
    announce(fleet.options(3), life).await;
    eventually("a new life", || third.0.incarnation() > life && third.0.lease_valid()).await;
    for (cluster, _) in [&first, &second] {
        eventually("the new life is known", || {
            cluster.nodes().borrow().get(&3).is_some_and(|row| row.incarnation > life && row.state == NodeState::Up)
        })
        .await;
    }
    write(&third.0, 1, "on").await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_long_absent_catches_up_from_a_snapshot_and_the_tail() {
    let fleet = Fleet::new(3);
    let [first, second, third] = fleet.three().await;
    drop(third);
    for n in 0..1_000 {
        write(&first.0, 1, &format!("v{n}")).await.expect("two of three commit");
    }
    let (back, seen) = fleet.start(3).await;
    eventually("the absent node is level", || rows(&seen, 1).len() == 1_000).await;
    back.read_barrier(1, 10 * SECOND).await.expect("a quorum is there");
    assert_eq!(rows(&seen, 1), rows(&second.1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_process() {
    let fleet = Fleet::new(1);
    let (running, _) = fleet.start(1).await;
    let mut options = fleet.options(1);
    options.listen.set_port(0);
    let refused = fleet.try_start(options).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("another process")));
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_does_not_come_back_under_its_old_name() {
    let fleet = Fleet::new(3);
    let [first, second, third] = fleet.three().await;
    // Its row is there from the founding; that it has lived is written when it has said so itself.
    let lived = |at: &Cluster| at.nodes().borrow().get(&3).is_some_and(|row| row.incarnation == 1);
    eventually("node 3 is registered", || lived(&first.0) && lived(&second.0)).await;
    drop(third);
    eventually("the disk is free", || std::fs::remove_dir_all(fleet.options(3).data_dir).is_ok()).await;
    // However often somebody starts it: the second start must not look like one of a disk with a past.
    for _ in 0..3 {
        let refused = fleet.try_start(fleet.options(3)).await;
        assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("new id")), "{:?}", refused.err());
    }
    write(&second.0, 1, "on").await.expect("the others go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_slow_disk_gives_its_leaderships_away() {
    let fleet = Fleet::new(3);
    let faults = Arc::new(Faults::default());
    let slow = fleet.try_start(Options { disk_faults: Arc::clone(&faults), ..fleet.options(1) }).await.expect("the node starts");
    let (second, _) = fleet.start(2).await;
    let (third, _) = fleet.start(3).await;
    eventually("it leads something", || (0..=GROUPS).any(|group| third.leader(group) == Some(1)) && slow.lease_valid()).await;
    faults.slow(SECOND / 5);
    // The verdict needs batches to judge by; every write must still succeed.
    let stop = Arc::new(AtomicBool::new(false));
    let writing = writer(second.clone(), "w", Arc::clone(&stop));
    eventually("the others lead", || (0..=GROUPS).all(|group| third.leader(group).is_some_and(|leader| leader != 1))).await;
    stop.store(true, Ordering::Relaxed);
    assert!(!writing.await.expect("the writer does not panic").is_empty());
    assert_eq!(slow.nodes().borrow().get(&1).map(|row| row.state), Some(NodeState::Up), "it stays a member");
}

/// An election then takes longer than the pause between two candidates, who must not outbid each other for ever.
#[tokio::test(flavor = "multi_thread")]
async fn survivors_with_slow_disks_agree_on_a_successor() {
    let fleet = Fleet::new(3);
    let faults = Arc::new(Faults::default());
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(fleet.try_start(Options { disk_faults: Arc::clone(&faults), ..fleet.options(id) }).await.expect("the node starts"));
    }
    eventually("every group is led", || (0..=GROUPS).all(|group| nodes[1].leader(group).is_some()) && nodes[1].lease_valid()).await;
    write(&nodes[1], 1, "first").await.expect("committed");
    faults.slow(SECOND / 10);
    let (dead, incarnation) = (nodes[0].node(), nodes[0].incarnation());
    drop(nodes.remove(0));
    announce(fleet.options(dead), incarnation).await;
    for survivor in &nodes {
        eventually("another leader of every group", || {
            (0..=GROUPS).all(|group| survivor.leader(group).is_some_and(|leader| leader != dead))
        })
        .await;
    }
    faults.slow(std::time::Duration::ZERO);
    write(&nodes[0], 1, "on").await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_applies_a_group_slowly_gives_that_group_away() {
    let fleet = Fleet::new(3);
    let drag = Drag::default();
    let (slow, _) = start(fleet.options(1), Arc::clone(&drag)).await;
    let (second, _) = fleet.start(2).await;
    let (third, seen) = fleet.start(3).await;
    let founder = |group| third.leader(group) == Some(1);
    eventually("it leads something", || (0..=GROUPS).any(founder) && slow.lease_valid() && all_registered(&second)).await;
    // The node that will be slow is made to lead all.
    for node in [2, 3] {
        second.set_draining(node, true, 10 * SECOND).await.expect("marked");
    }
    eventually("the slow node leads", || (0..=GROUPS).all(founder)).await;
    for node in [2, 3] {
        second.set_draining(node, false, 10 * SECOND).await.expect("taken back");
    }
    drag.store(200, Ordering::Relaxed);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = writer(second.clone(), "w", Arc::clone(&stop));
    eventually("another leads group 1", || third.leader(1).is_some_and(|leader| leader != 1)).await;
    write(&third, 1, "after").await.expect("committed");
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writing.await.expect("the writer does not panic");
    third.read_barrier(1, 10 * SECOND).await.expect("a quorum is there");
    check(&acknowledged, &seen);
    assert!((0..=GROUPS).any(founder), "what it applies well it may go on leading");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_group_does_not_hold_the_segments_of_a_busy_one_back() {
    let fleet = Fleet::new(1);
    let mut options = fleet.options(1);
    options.wal_segment_bytes = 64 << 10;
    let wal = options.data_dir.join("wal");
    let cluster = fleet.try_start(options).await.expect("the node starts");
    write(&cluster, 2, "quiet").await.expect("committed");
    let value = "x".repeat(16 << 10);
    // Group 1 is snapshotted by its count of entries; group 2, its own and the meta group's first entries would stay for ever.
    for _ in 0..600 {
        write(&cluster, 1, &value).await.expect("committed");
    }
    let segments =
        || std::fs::read_dir(&wal).expect("the log").flatten().filter(|e| e.path().extension().is_some_and(|x| x == "wal")).count();
    eventually("old segments are recycled", || segments() <= limits::WAL_PINNED_AFTER_SEGMENTS + 1).await;
    write(&cluster, 2, "still there").await.expect("committed");
}
