//! Registered phones of agents (RFC 3261 §10): bound, unbound, expired, or gone with the node that held their connection.

use crate::core::{
    Outcome, Reason,
    command::Binding,
    id::{AgentId, Edge},
    limits::BINDINGS_PER_AGENT_MAX,
    state::Ctx,
};

use super::Domain;

impl Domain {
    pub(in crate::core) fn bind(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, binding: &Binding) -> Outcome {
        let Some(agent) = self.agents.get(id) else { return Outcome::Rejected(Reason::NoAgent(id.to_string())) };
        if !agent.bindings.contains_key(&binding.instance) && agent.bindings.len() >= BINDINGS_PER_AGENT_MAX {
            return Outcome::Rejected(Reason::Invalid("too many phones registered".to_owned()));
        }
        let until = ctx.at.time.plus_ms(u64::from(binding.expires_s) * 1_000);
        self.change_agent_deadlines(ctx, id, |agent| {
            agent.bindings.insert(binding.instance.clone(), binding.clone());
            agent.expires.insert(binding.instance.clone(), until);
        });
        self.index_agent(ctx, id);
        Outcome::Accepted
    }

    pub(in crate::core) fn unbind(&mut self, ctx: &mut Ctx<'_>, id: &AgentId, instance: &str) -> Outcome {
        if !self.agents.get(id).is_some_and(|agent| agent.bindings.contains_key(instance)) {
            return Outcome::Rejected(Reason::NoAgent(id.to_string()));
        }
        self.change_agent_deadlines(ctx, id, |agent| {
            agent.bindings.remove(instance);
            agent.expires.remove(instance);
        });
        self.index_agent(ctx, id);
        Outcome::Accepted
    }

    /// Phones that could be reached only through a connection of a dead node cannot be reached until they register again.
    pub(super) fn unbind_flows(&mut self, ctx: &mut Ctx<'_>, edge: Edge) {
        let through = |binding: &Binding| binding.flow.is_some_and(|flow| flow.node == edge.node && flow.incarnation <= edge.incarnation);
        let ids: Vec<_> = self.agents.iter().filter(|(_, agent)| agent.bindings.values().any(through)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.change_agent_deadlines(ctx, &id, |agent| {
                agent.bindings.retain(|_, binding| !through(binding));
                agent.expires.retain(|instance, _| agent.bindings.contains_key(instance));
            });
            self.index_agent(ctx, &id);
        }
    }
}
