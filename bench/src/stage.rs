//! What every proof under load stands on: a cluster, its phones, and the history being recorded.

use crate::{
    error::Error,
    history::Recorder,
    lab::{self, Lab},
    sipp::{self, Sipp},
    tenant,
};

/// A running cluster with phones for its agents.
pub struct Stage {
    pub lab: Lab,
    pub phones: Sipp,
    pub recorder: Recorder,
}

impl Stage {
    /// Three nodes as `options` say, `agents` agents.
    pub fn start(agents: u32, options: impl FnOnce(&mut lab::Options)) -> Result<Self, Error> {
        let mut of_lab = lab::Options::new(tenant::with_agents(agents, sipp::PHONE_PORT));
        options(&mut of_lab);
        Self::around(Lab::start(&of_lab)?)
    }

    /// Phones and a recorder for a cluster that runs already.
    pub fn around(lab: Lab) -> Result<Self, Error> {
        let phones = sipp::phones(sipp::PHONE_PORT)?;
        let recorder = Recorder::start(&lab);
        Ok(Self { lab, phones, recorder })
    }
}
