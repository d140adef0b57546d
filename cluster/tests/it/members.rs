//! Nodes come and go under writes, and a witness votes without leading.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tandem_cluster::{Cluster, NodeId, ProposeError, Standing, StartError};

use super::register::{Fleet, GROUPS, SECOND, Seen, eventually, rows, write};

fn voters(cluster: &Cluster, wanted: &[NodeId]) -> bool {
    cluster.groups().iter().all(|group| group.voters == wanted && group.learners.is_empty())
}

fn led_by_one_of(cluster: &Cluster, nodes: &[NodeId]) -> bool {
    (0..=GROUPS).all(|group| cluster.leader(group).is_some_and(|leader| nodes.contains(&leader)))
}

/// Writes to every group in turn; every single write must be acknowledged.
fn steady_writer(cluster: Cluster, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Result<Vec<(u32, String)>, ProposeError>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for n in 0_u32.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (group, value) = (1 + n % GROUPS, format!("w{n}"));
            cluster.propose(group, Bytes::from(value.clone()), 10 * SECOND).await?;
            acknowledged.push((group, value));
        }
        Ok(acknowledged)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_and_leave_under_writes_and_nothing_is_lost() {
    let fleet = Fleet::founded_by(3, 5);
    let [first, second, third] = fleet.three().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = steady_writer(first.0.clone(), Arc::clone(&stop));
    let fourth = fleet.start(4).await;
    let fifth = fleet.start(5).await;
    assert!(!fourth.0.lease_valid(), "it is not admitted yet");
    for node in [4, 5] {
        second.0.join(fleet.peer(node), 10 * SECOND).await.expect("admitted");
    }
    let all: [&(Cluster, Seen); 5] = [&first, &second, &third, &fourth, &fifth];
    eventually("five voters", || all.iter().all(|(cluster, _)| voters(cluster, &[1, 2, 3, 4, 5]) && cluster.lease_valid())).await;
    write(&fifth.0, 1, "from the newest").await.expect("any node commits");
    assert!(third.0.release(10 * SECOND).await.is_err(), "nobody decided that it leaves");
    for (node, leaving) in [(3, &third.0), (2, &second.0)] {
        first.0.leave(node, 10 * SECOND).await.expect("decided");
        eventually("it knows that it leaves", || *leaving.standing().borrow() == Standing::Leaving).await;
        eventually("it votes no more", || first.0.groups().iter().all(|group| !group.voters.contains(&node))).await;
        write(leaving, 1, "still a member").await.expect("it follows until it says that it is done");
        leaving.release(10 * SECOND).await.expect("it was told to leave");
    }
    let stay: [&(Cluster, Seen); 3] = [&first, &fourth, &fifth];
    eventually("three voters", || {
        stay.iter().all(|(cluster, _)| voters(cluster, &[1, 4, 5]) && !cluster.nodes().borrow().contains_key(&2))
    })
    .await;
    for (cluster, _) in [&second, &third] {
        eventually("it knows that it has left", || *cluster.standing().borrow() == Standing::Left).await;
    }
    drop((second, third));
    let again = fleet.try_start(fleet.options(3)).await;
    assert!(matches!(again, Err(StartError::Config(why)) if why.contains("has left")), "that disk has no future");
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.expect("the writer does not panic").expect("no write fails");
    for (cluster, seen) in stay {
        for group in 1..=GROUPS {
            cluster.read_barrier(group, 10 * SECOND).await.expect("a quorum is there");
            let rows = rows(seen, group);
            for (_, value) in acknowledged.iter().filter(|(of, _)| *of == group) {
                assert_eq!(rows.iter().filter(|row| row.as_slice() == value.as_bytes()).count(), 1, "{value} is there once");
            }
        }
    }
    let back = first.0.join(fleet.peer(3), 10 * SECOND).await;
    assert!(matches!(back, Err(ProposeError::Refused(why)) if why.contains("new id")), "an id is not used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_sent_away_without_its_help() {
    let fleet = Fleet::founded_by(3, 4);
    let [first, second, third] = fleet.three().await;
    drop(third);
    first.0.leave(3, 10 * SECOND).await.expect("decided");
    // One that was admitted and never started has nothing to say either.
    first.0.join(fleet.peer(4), 10 * SECOND).await.expect("admitted");
    first.0.leave(4, 10 * SECOND).await.expect("decided");
    for (cluster, _) in [&first, &second] {
        eventually("two voters", || voters(cluster, &[1, 2]) && cluster.nodes().borrow().len() == 2).await;
    }
    write(&second.0, 1, "two are a cluster").await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_votes_and_leads_only_to_hand_over() {
    let mut fleet = Fleet::new(3);
    fleet.witness = Some(3);
    let [first, second, third] = fleet.three().await;
    eventually("a data node leads every group", || led_by_one_of(&first.0, &[1, 2])).await;
    drop(second);
    eventually("the data node leads every group", || led_by_one_of(&first.0, &[1])).await;
    write(&first.0, 1, "one").await.expect("a data node and the witness are a quorum");
    write(&first.0, 2, "two").await.expect("committed");
    // The other data node comes back behind, and the one that is ahead dies: the witness brings it level.
    drop(first);
    let second = fleet.start(2).await;
    // Until it has met the witness it refuses at once, for want of a quorum.
    eventually("groups are led again", || [1, 2].iter().all(|group| second.0.leader(*group).is_some_and(|leader| leader != 1))).await;
    write(&second.0, 1, "three").await.expect("the witness and the other data node are a quorum");
    eventually("the other data node leads", || led_by_one_of(&second.0, &[2]) && led_by_one_of(&third.0, &[2])).await;
    second.0.read_barrier(1, 10 * SECOND).await.expect("a quorum is there");
    second.0.read_barrier(2, 10 * SECOND).await.expect("a quorum is there");
    assert_eq!(rows(&second.1, 1), [b"one".to_vec(), b"three".to_vec()]);
    assert_eq!(rows(&second.1, 2), [b"two".to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_gives_its_leaderships_away() {
    let fleet = Fleet::new(3);
    let [first, second, _third] = fleet.three().await;
    let busy = first.0.leader(1).expect("group 1 is led");
    second.0.set_draining(busy, true, 10 * SECOND).await.expect("marked");
    let others: Vec<_> = [1, 2, 3].into_iter().filter(|id| *id != busy).collect();
    eventually("the others lead", || led_by_one_of(&first.0, &others)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feature_level_rises_when_all_agree() {
    let fleet = Fleet::new(3);
    let [first, second, _third] = fleet.three().await;
    eventually("all registered", || first.0.nodes().borrow().values().filter(|row| row.incarnation > 0).count() == 3).await;
    assert_eq!(first.0.feature_level(), 0);
    second.0.raise_feature_level(1, 10 * SECOND).await.expect("all support it");
    eventually("the level is known", || first.0.feature_level() == 1).await;
    // On a busy machine a leadership may change meanwhile and the answer be lost; the command can be repeated.
    let refused = loop {
        match second.0.raise_feature_level(2, 10 * SECOND).await {
            Err(ProposeError::Indefinite(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(&refused, Err(ProposeError::Refused(_))), "{refused:?}");
}
