//! Behaviours of the meta group's state, without a log.

use super::*;
use crate::limits::META_REQUESTS_MAX;

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
fn nobody_is_judged_before_the_founders_are_written_down() {
    let mut meta = MetaState::default();
    register(&mut meta, 1, 1).expect("a founder may be faster than the writing down");
    for early in [MetaCommand::Join { peer: peer(4) }, MetaCommand::Leave { node: 1 }, MetaCommand::Raise { level: 9 }] {
        assert_eq!(meta.apply(early), Err(NOT_FOUNDED.to_owned()));
    }
    meta.apply(MetaCommand::Found { peers: vec![peer(1), peer(2)] }).expect("founded");
    assert_eq!(meta.members.len(), 2);
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

#[test]
fn a_leaving_node_is_waited_for_until_it_is_done_or_dead() {
    let mut meta = three();
    register(&mut meta, 2, 1).expect("registered");
    register(&mut meta, 3, 1).expect("registered");
    assert!(meta.apply(MetaCommand::Release { node: 2 }).is_err(), "nobody decided that it leaves");
    assert!(!meta.may_go(2));
    meta.apply(MetaCommand::Leave { node: 2 }).expect("two stay");
    assert!(!meta.may_go(2), "it may have calls");
    meta.apply(MetaCommand::Release { node: 2 }).expect("it is leaving");
    assert!(meta.may_go(2));
    meta.apply(MetaCommand::Leave { node: 3 }).expect("one stays");
    meta.apply(MetaCommand::Fence { node: 3, incarnation: 1 }).expect("it died");
    assert!(meta.may_go(3));
    meta.apply(MetaCommand::Join { peer: peer(4) }).expect("admitted");
    meta.apply(MetaCommand::Leave { node: 4 }).expect("one stays");
    assert!(meta.may_go(4), "it never started");
}

#[test]
fn a_node_is_what_it_was_admitted_as() {
    let mut meta = three();
    meta.apply(MetaCommand::Join { peer: peer(9) }).expect("a witness is admitted");
    let refused = register(&mut meta, 9, 1).expect_err("it says it is a data node");
    assert!(refused.contains("admitted as a witness"), "{refused}");
}

#[test]
fn the_survivor_of_a_forced_recovery_is_the_whole_cluster() {
    let mut meta = three();
    register(&mut meta, 2, 3).expect("registered");
    meta.apply(MetaCommand::Refound { node: 2 }).expect("as it says");
    assert_eq!(meta.members.keys().copied().collect::<Vec<_>>(), [2]);
    assert!(register(&mut meta, 2, 4).is_ok());
    assert_eq!(register(&mut meta, 1, 9), Err(LEFT.to_owned()));
    assert!(meta.apply(MetaCommand::Join { peer: peer(3) }).is_err(), "its lives own things in the product's state");
}

#[test]
fn a_repeat_under_one_key_has_the_first_outcome_whatever_happened_since() {
    let mut meta = three();
    let once = |request, command| MetaCommand::Once { request, command: Box::new(command) };
    let leave = || once(7, MetaCommand::Leave { node: 3 });
    assert_eq!(meta.apply(leave()), Ok(0));
    meta.apply(MetaCommand::Remove { node: 3 }).expect("it is leaving");
    assert_eq!(meta.apply(leave()), Ok(0), "though there is no node 3 any more");
    let refused = meta.apply(once(8, MetaCommand::Leave { node: 3 }));
    assert!(refused.is_err(), "another key asks anew");
    assert_eq!(meta.apply(once(8, MetaCommand::Leave { node: 2 })), refused, "a refusal is an outcome, too");
}

#[test]
fn an_answer_that_asks_for_another_try_is_no_outcome() {
    let mut meta = MetaState::default();
    let join = || MetaCommand::Once { request: 1, command: Box::new(MetaCommand::Join { peer: peer(4) }) };
    assert_eq!(meta.apply(join()), Err(NOT_FOUNDED.to_owned()));
    meta.apply(MetaCommand::Found { peers: vec![peer(1), peer(2)] }).expect("founded");
    assert_eq!(meta.apply(join()), Ok(0));
}

#[test]
fn only_the_latest_keys_are_remembered() {
    let mut meta = three();
    for request in 0..=META_REQUESTS_MAX as u128 {
        let put = MetaCommand::Put { key: "row".into(), value: None };
        meta.apply(MetaCommand::Once { request, command: Box::new(put) }).expect("put");
    }
    assert!(meta.requests.answer(0).is_none() && meta.requests.answer(1).is_some());
}

#[test]
fn a_row_that_somebody_changed_in_between_is_not_replaced() {
    let mut meta = three();
    let replace = |expect: Option<&[u8]>, value: &[u8]| MetaCommand::Replace {
        key: "row".into(),
        expect: expect.map(<[u8]>::to_vec),
        value: value.to_vec(),
    };
    meta.apply(replace(None, b"a")).expect("there was none");
    assert!(meta.apply(replace(None, b"b")).is_err(), "there is one");
    assert!(meta.apply(replace(Some(b"x"), b"b")).is_err(), "it is another");
    assert_eq!(meta.directory["row"], b"a", "a refusal changes nothing");
    meta.apply(replace(Some(b"a"), b"b")).expect("it was as expected");
    assert_eq!(meta.directory["row"], b"b");
}
