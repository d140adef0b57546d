//! Which lives of nodes are over, and who speaks for them.
