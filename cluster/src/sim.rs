//! The ground a simulated node stands on: a network, a disk, a clock and a chance that somebody else makes up.
//!
//! A simulation is a thread: what a node on it asks of the world is answered by the [`Physics`] entered there, under tokio's
//! paused clock, so that a run depends on nothing but its seed. Everything above is the product's own: groups, leases,
//! failover, placement, the log with its records and its recovery. What is made up is the way a frame takes, the time a sync
//! takes, what of an unsynced write survives, and the wall clock. Compiled only for the simulator of `chaos`.

mod disk;
mod net;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{Incarnation, NodeId};

pub use disk::Platter;
pub(crate) use net::Port;

/// The laws of a simulated world. Asked on its thread only, always in the same order for the same seed.
pub trait Physics: Send + Sync + 'static {
    /// Whether a frame that leaves `from` now can reach `to`.
    fn open(&self, from: NodeId, to: NodeId) -> bool;
    /// How long a frame takes, what is lost and sent again included. Frames may overtake each other.
    fn delay(&self, from: NodeId, to: NodeId) -> Duration;
    /// When a frame between replicas arrives a second time, if it does. Nothing else ever does: QUIC sees to that.
    fn again(&self, from: NodeId, to: NodeId) -> Option<Duration>;
    /// How long the disk of a node takes to make a batch durable.
    fn sync(&self, node: NodeId) -> Duration;
    /// The wall clock of a node, milliseconds since the Unix epoch.
    fn wall_ms(&self, node: NodeId) -> i64;
    /// A number for whoever needs chance.
    fn chance(&self) -> u64;
    /// A frame of so many bytes arrived, for the trace.
    fn arrived(&self, from: NodeId, to: NodeId, kind: u8, group: u32, body: &[u8]);
}

struct World {
    physics: Arc<dyn Physics>,
    epoch: Instant,
    ports: Mutex<BTreeMap<NodeId, Weak<net::Inner>>>,
    platters: Mutex<Vec<Platter>>,
}

thread_local! {
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

fn world() -> Option<Arc<World>> {
    WORLD.with_borrow(Clone::clone)
}

/// True on a thread that simulates.
pub fn on() -> bool {
    WORLD.with_borrow(Option::is_some)
}

/// Leaves the world when dropped.
#[must_use]
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

/// Makes this thread a simulation. To be called on a runtime of one thread whose clock is paused.
pub fn enter(physics: Arc<dyn Physics>) -> Entered {
    let world = World { physics, epoch: Instant::now(), ports: Mutex::default(), platters: Mutex::default() };
    WORLD.set(Some(Arc::new(world)));
    Entered(())
}

/// Gives a node the disk below `dir`, for its log to be opened on.
pub fn mount(node: NodeId, dir: &Path) -> Platter {
    let platter = Platter::new(node, dir);
    if let Some(world) = world() {
        world.platters.lock().push(platter.clone());
    }
    platter
}

/// What a node's watcher does when its process ends: tells the peers, with the node's own authority.
pub fn announce_death(node: NodeId, incarnation: Incarnation) {
    let Some(world) = world() else { return };
    net::announce(&world, node, incarnation);
}

/// The disk that a directory is on.
pub(crate) fn platter(dir: &Path) -> Option<Platter> {
    world()?.platters.lock().iter().rev().find(|platter| platter.holds(dir)).cloned()
}

/// How long a node's disk takes for a batch.
pub(crate) fn sync_takes(node: NodeId) -> Duration {
    world().map_or(Duration::ZERO, |world| world.physics.sync(node))
}

/// Time since the simulation began, on a thread that simulates.
pub(crate) fn boot() -> Option<Duration> {
    world().map(|world| world.epoch.elapsed())
}

/// A random number of the world's, on a thread that simulates.
pub(crate) fn chance() -> Option<u64> {
    world().map(|world| world.physics.chance())
}

/// A node's wall clock, on a thread that simulates.
pub(crate) fn wall_ms(node: NodeId) -> Option<i64> {
    world().map(|world| world.physics.wall_ms(node))
}
