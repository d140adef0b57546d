//! Behaviours of the routing core, each a scenario over `World`.

mod adoption;

mod agents;
mod aid;
mod assist;
mod callback;
mod chat;
mod consult;
mod control;
mod forward;
mod models;
mod property;
mod queues;
mod recovery;
mod reopen;
mod retention;
mod rules;
mod strategies;
mod supervise;
mod takeover_model;
mod transfer;
mod treatment;
pub(crate) mod world;

pub(crate) use world::{World, queue};
