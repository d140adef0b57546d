use super::*;

fn peer(id: NodeId) -> PeerSpec {
    PeerSpec { id, addr: SocketAddr::from(([127, 0, 0, 1], 7000)), witness: id == 9 }
}

fn three() -> MetaState {
    let mut meta = MetaState::default();
    meta.apply(MetaCommand::Found { peers: vec![peer(1), peer(2), peer(3)] }).expect("founded");
    meta
}

fn register(meta: &mut MetaState, node: NodeId, incarnation: Incarnation) -> Answer {
    let row = NodeRow {
        incarnation,
        addr: SocketAddr::from(([127, 0, 0, 1], 7001)),
        witness: false,
        draining: false,
        feature_level: 1,
        attributes: BTreeMap::new(),
    };
    meta.apply(MetaCommand::Register { node, row })
}

#[test]
fn domains_spread_over_the_partitions_and_stay() {
    let mut meta = three();
    let mut assign = |domain: &str| meta.apply(MetaCommand::Assign { domain: domain.to_owned(), groups: 2 });
    assert_eq!([assign("a"), assign("b"), assign("c"), assign("b")], [Ok(1), Ok(2), Ok(1), Ok(2)]);
}

#[test]
fn founders_are_written_down_once() {
    let mut meta = three();
    meta.apply(MetaCommand::Found { peers: vec![peer(7)] }).expect("ignored");
    assert_eq!(meta.members.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn an_older_life_cannot_register() {
    let mut meta = three();
    assert_eq!(register(&mut meta, 2, 5), Ok(0));
    assert!(register(&mut meta, 2, 1).is_err());
    assert_eq!(meta.members[&2].addr.port(), 7001, "a node that moved is found at its new address");
}

#[test]
fn a_node_leaves_before_it_is_forgotten_and_its_id_is_not_used_again() {
    let mut meta = three();
    meta.apply(MetaCommand::Remove { node: 3 }).expect("ignored");
    assert!(meta.members.contains_key(&3), "it is not leaving");
    meta.apply(MetaCommand::Leave { node: 3 }).expect("two stay");
    meta.apply(MetaCommand::Remove { node: 3 }).expect("it is leaving");
    assert!(meta.apply(MetaCommand::Join { peer: peer(3) }).is_err());
    assert!(register(&mut meta, 3, 9).is_err());
    assert_eq!(meta.apply(MetaCommand::Join { peer: peer(4) }), Ok(0));
}

#[test]
fn the_last_data_node_cannot_leave() {
    let mut meta = MetaState::default();
    meta.apply(MetaCommand::Found { peers: vec![peer(1), peer(9)] }).expect("founded");
    assert!(meta.apply(MetaCommand::Leave { node: 1 }).is_err());
    assert!(meta.apply(MetaCommand::Leave { node: 9 }).is_ok());
}

#[test]
fn the_feature_level_rises_only_when_every_member_supports_it() {
    let mut meta = three();
    register(&mut meta, 1, 1).expect("registered");
    assert!(meta.apply(MetaCommand::Raise { level: 1 }).is_err());
    register(&mut meta, 2, 1).expect("registered");
    register(&mut meta, 3, 1).expect("registered");
    assert_eq!(meta.apply(MetaCommand::Raise { level: 1 }), Ok(0));
    assert_eq!(meta.feature_level, 1);
}
