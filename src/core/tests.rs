//! Behaviours of the routing core, each a scenario over `World`.

mod agents;
mod property;
mod queues;
mod strategies;
mod world;
