//! The archive through restarts, cuts, holes and damage.
