//! Three nodes: commit from anywhere, survive restarts, hand over on shutdown, refuse at once without a quorum.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tandem_cluster::{Herald, NodeState, ProposeError, pki};

use super::register::{Fleet, GROUPS, SECOND, eventually, held_back, rows, write};

#[tokio::test(flavor = "multi_thread")]
async fn any_node_commits_and_every_replica_applies_the_same_in_order() {
    let fleet = Fleet::new(3);
    let nodes = fleet.three().await;
    for n in 0..60 {
        let (cluster, _) = &nodes[n % 3];
        write(cluster, 1 + n as u32 % GROUPS, &format!("v{n}")).await.expect("committed");
    }
    for group in 1..=GROUPS {
        for (cluster, seen) in &nodes {
            cluster.read_barrier(group, 5 * SECOND).await.expect("a quorum is there");
            assert_eq!(rows(seen, group), rows(&nodes[0].1, group));
            assert_eq!(rows(seen, group).len(), 20);
        }
    }
    assert_eq!(
        nodes[0].0.assign_domain("demo", 5 * SECOND).await.expect("committed"),
        nodes[2].0.assign_domain("demo", 5 * SECOND).await.expect("the same")
    );
    let answer = nodes[0].0.request(3, 1, Bytes::from_static(b"xyz"), SECOND).await.expect("answered");
    assert_eq!(&answer[..], b"1:3");
    eventually("every node up and leased", || {
        nodes.iter().all(|(cluster, _)| {
            cluster.lease_valid() && cluster.nodes().borrow().values().filter(|row| row.state == NodeState::Up).count() == 3
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_does_not_wait_for_the_entry_before_it() {
    let fleet = Fleet::new(3);
    let nodes = fleet.three().await;
    let leader = nodes[0].0.leader(1).expect("group 1 is led");
    let (cluster, seen) = &nodes[leader as usize - 1];
    let before = write(cluster, 1, "before").await.expect("committed");
    let last_log = || cluster.groups().into_iter().find(|group| group.group == 1).map(|group| group.last_log);
    let release = held_back(seen);
    let mut writes = Vec::new();
    for n in 1..=3 {
        let cluster = cluster.clone();
        writes.push(tokio::spawn(async move { write(&cluster, 1, &format!("v{n}")).await }));
        eventually("an entry of its own", || last_log() >= Some(before + n)).await;
    }
    drop(release);
    for (n, write) in writes.into_iter().enumerate() {
        assert_eq!(write.await.expect("no panic").expect("committed"), before + 1 + n as u64);
    }
    assert_eq!(rows(seen, 1), [b"before", &b"v1"[..], b"v2", b"v3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shuts_down_hands_over_and_no_write_fails() {
    let fleet = Fleet::new(3);
    let nodes = fleet.three().await;
    for group in 1..=GROUPS {
        write(&nodes[0].0, group, "before").await.expect("committed");
    }
    let writer = {
        let cluster = nodes[1].0.clone();
        tokio::spawn(async move {
            for n in 0..300 {
                write(&cluster, 1 + n % GROUPS, &format!("w{n}")).await?;
            }
            Ok::<_, ProposeError>(())
        })
    };
    let leaving = nodes[0].0.leader(1).expect("group 1 is led");
    // Writes go through a node that stays.
    let leaving = if leaving == 2 { 3 } else { leaving };
    nodes[leaving as usize - 1].0.shutdown().await;
    writer.await.expect("the writer does not panic").expect("no write fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_all_nodes_restart() {
    let fleet = Fleet::new(3);
    let expected: Vec<_> = (0..500).map(|n| format!("v{n}").into_bytes()).collect();
    {
        let nodes = fleet.three().await;
        for value in &expected {
            write(&nodes[0].0, 1, std::str::from_utf8(value).expect("text")).await.expect("committed");
        }
        for (cluster, _) in &nodes {
            cluster.shutdown().await;
        }
    }
    let fleet = fleet.moved();
    let nodes = fleet.three().await;
    for (cluster, seen) in &nodes {
        cluster.read_barrier(1, 20 * SECOND).await.expect("a quorum is there");
        assert_eq!(rows(seen, 1), expected);
        // A machine too busy to answer for a lease may have cost it further lives.
        assert!(cluster.incarnation() >= 2, "a life of its own after the restart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_command_is_refused_at_once() {
    let fleet = Fleet::new(3);
    let (cluster, _) = fleet.start(1).await;
    let before = Instant::now();
    let refused = write(&cluster, 1, "x").await;
    assert!(matches!(refused, Err(ProposeError::Definite(_))), "{refused:?}");
    assert!(before.elapsed() < 5 * SECOND, "at once, not at the deadline");
    assert!(!cluster.lease_valid());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused() {
    let (fleet, strangers) = (Fleet::new(2), Fleet::new(2));
    let (first, _) = fleet.start(1).await;
    let mut options = fleet.options(2);
    (options.ca, options.cert, options.key) =
        (strangers.path().join("ca.pem"), strangers.path().join("node2.pem"), strangers.path().join("node2.key"));
    pki::issue(strangers.path(), 2, &[]).expect("reissued");
    let herald = Herald::start(options).expect("the files can be read");
    assert!(herald.announce(1, SECOND).await.is_ok_and(|told| told == 0));
    assert!(first.nodes().borrow().values().all(|row| row.state != NodeState::Lost));
    drop(Arc::new(first));
}
