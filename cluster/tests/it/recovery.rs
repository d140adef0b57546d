//! Backups, new clusters made of them, and one survivor that goes on alone.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use tandem_cluster::{Cluster, ProposeError, Standing, backup, recovery};

use super::register::{Fleet, GROUPS, SECOND, Seen, eventually, rows, write};

async fn take_backup(cluster: &Cluster, fleet: &Fleet) -> PathBuf {
    let path = fleet.path().join("backup");
    let archive = fleet.path().join("archive");
    fs::write(&archive, "what a machine keeps beside its state").expect("written");
    let out = File::create(&path).expect("made");
    let files = move || Ok(vec![backup::SideFile { name: "archive/1".to_owned(), file: File::open(archive)? }]);
    cluster.backup(out, files).await.expect("taken");
    path
}

/// A node that is a cluster of its own, as its data directory says.
async fn alone(fleet: &Fleet) -> (Cluster, Seen) {
    let node = fleet.start(1).await;
    eventually("it leads all groups", || (0..=GROUPS).all(|group| node.0.leads(group).is_some())).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_a_new_cluster_that_knows_all_that_was_acknowledged() {
    let fleet = Fleet::new(3);
    let nodes = fleet.three().await;
    for n in 0..300 {
        write(&nodes[0].0, 1 + n % GROUPS, &format!("v{n}")).await.expect("committed");
    }
    let group = nodes[0].0.assign_domain("demo", 5 * SECOND).await.expect("assigned");
    // The node that is asked need not lead.
    let path = take_backup(&nodes[2].0, &fleet).await;
    let expected: Vec<_> = (1..=GROUPS).map(|group| rows(&nodes[0].1, group)).collect();
    let about = backup::verify(&path).expect("whole");
    assert_eq!((about.groups, about.node), (GROUPS, 3));

    let other = Fleet::founded_by(1, 4);
    let dir = other.options(1).data_dir;
    backup::restore(&dir, &path, 1).await.expect("restored");
    assert!(backup::restore(&dir, &path, 1).await.is_err(), "a directory in use is not touched");
    assert_eq!(fs::read_to_string(dir.join("archive/1")).expect("restored"), "what a machine keeps beside its state");
    let (cluster, seen) = alone(&other).await;
    for group in 1..=GROUPS {
        cluster.read_barrier(group, 5 * SECOND).await.expect("it is its own quorum");
        assert_eq!(rows(&seen, group), expected[group as usize - 1]);
        write(&cluster, group, "after").await.expect("it goes on");
    }
    assert_eq!(cluster.group_of("demo"), Some(group));
    assert!(cluster.incarnation() > nodes.iter().map(|(node, _)| node.incarnation()).max().expect("three"), "no life is lived twice");
    let old = cluster.join(other.peer(2), 5 * SECOND).await;
    assert!(matches!(old, Err(ProposeError::Refused(why)) if why.contains("new id")), "ids of the old cluster are spent");
    let newcomer = other.start(4).await;
    cluster.join(other.peer(4), 5 * SECOND).await.expect("admitted");
    eventually("the newcomer votes", || newcomer.0.groups().iter().all(|group| group.voters == [1, 4])).await;
    newcomer.0.read_barrier(1, 10 * SECOND).await.expect("a quorum is there");
    assert_eq!(rows(&newcomer.1, 1), rows(&seen, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_makes_nothing() {
    let fleet = Fleet::new(1);
    let (cluster, _) = alone(&fleet).await;
    let path = take_backup(&cluster, &fleet).await;
    let mut bytes = fs::read(&path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).expect("written");
    assert!(backup::verify(&path).is_err());
    let dir = fleet.path().join("restored");
    assert!(backup::restore(&dir, &path, 1).await.is_err());
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_of_a_lost_quorum_goes_on_alone_when_it_is_told_to() {
    let fleet = Fleet::new(3);
    let nodes = fleet.three().await;
    // Enough for snapshots and purged logs in group 1, and none in group 2.
    for n in 0..500 {
        write(&nodes[0].0, 1, &format!("v{n}")).await.expect("committed");
    }
    write(&nodes[0].0, 2, "one").await.expect("committed");
    let dir = fleet.options(1).data_dir;
    assert!(recovery::recover(&dir).await.is_err(), "a node runs on it");
    nodes[0].0.read_barrier(1, 5 * SECOND).await.expect("level");
    nodes[0].0.read_barrier(2, 5 * SECOND).await.expect("level");
    drop(nodes);
    let recovered = recovery::recover(&dir).await.expect("rewritten");
    assert_eq!((recovered.node, recovered.groups.len()), (1, GROUPS as usize + 1));
    assert!(recovered.groups.iter().all(|held| held.committed <= held.last.1 && held.last.0 > 0), "{recovered:?}");

    let (cluster, seen) = alone(&fleet).await;
    cluster.read_barrier(1, 5 * SECOND).await.expect("it is its own quorum");
    assert_eq!(rows(&seen, 1).len(), 500);
    assert_eq!(rows(&seen, 2), [b"one".to_vec()]);
    write(&cluster, 2, "two").await.expect("it goes on");
    eventually("it is the whole cluster", || {
        cluster.groups().iter().all(|group| group.voters == [1] && group.learners.is_empty()) && cluster.nodes().borrow().len() == 1
    })
    .await;
    // One of the others was not dead after all: it is told that it has left.
    let second = fleet.start(2).await;
    eventually("it takes no part", || *second.0.standing().borrow() == Standing::Left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_one_nodes_only() {
    let fleet = Fleet::new(2);
    let (first, _) = fleet.start(1).await;
    first.shutdown().await;
    drop(first);
    let mut options = fleet.options(2);
    options.data_dir = fleet.options(1).data_dir;
    let refused = fleet.try_start(options).await.map(drop).expect_err("it is node 1's");
    assert!(refused.to_string().contains("disk of node 1"), "{refused}");
    assert!(recovery::recover(&fleet.path().join("nowhere")).await.is_err());
}
