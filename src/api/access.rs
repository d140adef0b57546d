//! Who may do what: one table of role × operation.
//!
//! It owns the decision and nothing else: tokens live in `tokens`, and a handler asks before it acts.

use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// What a token was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything but what is an agent's alone.
    Admin,
    /// Runs the floor: sees and moves calls, sets agents' states.
    Supervisor,
    /// One agent's own state and calls.
    Agent,
    /// Reads everything that explains a decision; changes nothing.
    Auditor,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Admin, Self::Supervisor, Self::Agent, Self::Auditor];
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "admin" => Ok(Self::Admin),
            "supervisor" => Ok(Self::Supervisor),
            "agent" => Ok(Self::Agent),
            "auditor" => Ok(Self::Auditor),
            other => Err(format!("no such role: {other} (admin, supervisor, agent, auditor)")),
        }
    }
}

/// Every kind of thing a request can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Nodes and partitions.
    ReadCluster,
    ReadQueues,
    ReadAgents,
    ReadCalls,
    ReadCdrs,
    Explain,
    ReadTenant,
    /// An agent's token gets its own alone.
    Events,
    /// Callers' numbers and names on live calls; masked without it.
    PersonalLive,
    /// The same on closed calls.
    PersonalArchive,
    PublishTenant,
    RemoveTenant,
    SetAgentState,
    SetOwnState,
    /// What is said in an agent's own calls: for that agent and nobody else.
    OwnAssist,
    HangUp,
    Requeue,
    /// Hold, mute, transfer and what else is done to a call that talks. An agent's token reaches its own calls only, which the
    /// core looks at.
    ControlCall,
    /// Listening to a call, and speaking in it.
    Supervise,
    /// A person has a contact in place of an AI agent; AI off for a queue or a tenant.
    TakeOver,
    /// The same for the cluster.
    TakeOverAll,
    DrainNode,
    Membership,
    Tokens,
    Backup,
    Drill,
    Erase,
    /// Voiding an entry of a log that no node can apply.
    Skip,
    /// Which version of the models judges contacts.
    Models,
}

impl Operation {
    pub const ALL: [Self; 29] = [
        Self::ReadCluster,
        Self::ReadQueues,
        Self::ReadAgents,
        Self::ReadCalls,
        Self::ReadCdrs,
        Self::Explain,
        Self::ReadTenant,
        Self::Events,
        Self::PersonalLive,
        Self::PersonalArchive,
        Self::PublishTenant,
        Self::RemoveTenant,
        Self::SetAgentState,
        Self::SetOwnState,
        Self::OwnAssist,
        Self::HangUp,
        Self::Requeue,
        Self::ControlCall,
        Self::Supervise,
        Self::TakeOver,
        Self::TakeOverAll,
        Self::DrainNode,
        Self::Membership,
        Self::Tokens,
        Self::Backup,
        Self::Drill,
        Self::Erase,
        Self::Skip,
        Self::Models,
    ];

    /// True for what concerns the cluster and not one tenant: a token bound to a tenant never reaches it.
    pub const fn is_cluster_wide(self) -> bool {
        matches!(
            self,
            Self::ReadCluster
                | Self::DrainNode
                | Self::Membership
                | Self::Tokens
                | Self::Backup
                | Self::Drill
                | Self::Skip
                | Self::Models
                | Self::TakeOverAll
        )
    }
}

/// The table.
pub const fn allows(role: Role, operation: Operation) -> bool {
    use Operation as O;
    match role {
        Role::Admin => !matches!(operation, O::OwnAssist),
        Role::Supervisor => matches!(
            operation,
            O::ReadCluster
                | O::ReadQueues
                | O::ReadAgents
                | O::ReadCalls
                | O::ReadCdrs
                | O::Explain
                | O::ReadTenant
                | O::Events
                | O::PersonalLive
                | O::SetAgentState
                | O::SetOwnState
                | O::HangUp
                | O::Requeue
                | O::ControlCall
                | O::Supervise
                | O::TakeOver
                | O::TakeOverAll
        ),
        Role::Agent => matches!(operation, O::Events | O::SetOwnState | O::OwnAssist | O::ControlCall),
        Role::Auditor => matches!(
            operation,
            O::ReadCluster
                | O::ReadQueues
                | O::ReadAgents
                | O::ReadCalls
                | O::ReadCdrs
                | O::Explain
                | O::ReadTenant
                | O::Events
                | O::PersonalArchive
        ),
    }
}

/// Who sent a request, once its token was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub token: String,
    pub role: Role,
    /// The only tenant it may touch; none means all.
    pub tenant: Option<String>,
    /// The agent it speaks for.
    pub agent: Option<String>,
}

impl Principal {
    pub fn may(&self, operation: Operation) -> bool {
        allows(self.role, operation) && !(self.tenant.is_some() && operation.is_cluster_wide())
    }

    pub fn may_in(&self, operation: Operation, tenant: &str) -> bool {
        allows(self.role, operation) && self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// # Errors
    /// 403 with what was asked.
    pub fn check(&self, operation: Operation) -> Result<(), Problem> {
        if self.may(operation) { Ok(()) } else { Err(self.refusal(operation)) }
    }

    /// # Errors
    /// 403 with what was asked. A tenant of somebody else is refused whether or not it exists.
    pub fn check_in(&self, operation: Operation, tenant: &str) -> Result<(), Problem> {
        if self.may_in(operation, tenant) { Ok(()) } else { Err(self.refusal(operation)) }
    }

    fn refusal(&self, operation: Operation) -> Problem {
        Problem::forbidden(format!("{:?} is not allowed for this {:?} token", operation, self.role))
    }

    /// How commands of this principal are signed in events and records.
    pub fn actor(&self) -> crate::core::command::Actor {
        match &self.agent {
            Some(agent) if self.role == Role::Agent => crate::core::command::Actor::Agent(agent.as_str().into()),
            _ => crate::core::command::Actor::User(self.token.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, written as a person would check it: a, s, g, u = admin, supervisor, agent, auditor.
    const EXPECTED: [(Operation, &str); 29] = [
        (Operation::ReadCluster, "asu"),
        (Operation::ReadQueues, "asu"),
        (Operation::ReadAgents, "asu"),
        (Operation::ReadCalls, "asu"),
        (Operation::ReadCdrs, "asu"),
        (Operation::Explain, "asu"),
        (Operation::ReadTenant, "asu"),
        (Operation::Events, "asgu"),
        (Operation::PersonalLive, "as"),
        (Operation::PersonalArchive, "au"),
        (Operation::PublishTenant, "a"),
        (Operation::RemoveTenant, "a"),
        (Operation::SetAgentState, "as"),
        (Operation::SetOwnState, "asg"),
        (Operation::OwnAssist, "g"),
        (Operation::HangUp, "as"),
        (Operation::Requeue, "as"),
        (Operation::ControlCall, "asg"),
        (Operation::Supervise, "as"),
        (Operation::TakeOver, "as"),
        (Operation::TakeOverAll, "as"),
        (Operation::DrainNode, "a"),
        (Operation::Membership, "a"),
        (Operation::Tokens, "a"),
        (Operation::Backup, "a"),
        (Operation::Drill, "a"),
        (Operation::Erase, "a"),
        (Operation::Skip, "a"),
        (Operation::Models, "a"),
    ];

    #[test]
    fn every_role_may_do_exactly_what_the_table_says() {
        assert_eq!(EXPECTED.map(|(operation, _)| operation), Operation::ALL);
        for (operation, who) in EXPECTED {
            for (role, letter) in Role::ALL.into_iter().zip("asgu".chars()) {
                assert_eq!(allows(role, operation), who.contains(letter), "{role:?} {operation:?}");
            }
        }
    }

    #[test]
    fn an_agent_may_only_set_its_own_state_control_its_own_calls_and_hear_of_them() {
        let allowed: Vec<Operation> = Operation::ALL.into_iter().filter(|o| allows(Role::Agent, *o)).collect();
        assert_eq!(allowed, [Operation::Events, Operation::SetOwnState, Operation::OwnAssist, Operation::ControlCall]);
    }

    #[test]
    fn an_auditor_changes_nothing() {
        for operation in [Operation::PublishTenant, Operation::SetAgentState, Operation::HangUp, Operation::DrainNode, Operation::Tokens] {
            assert!(!allows(Role::Auditor, operation));
        }
    }

    #[test]
    fn a_supervisor_sees_live_callers_but_not_archived_ones() {
        assert!(allows(Role::Supervisor, Operation::PersonalLive) && !allows(Role::Supervisor, Operation::PersonalArchive));
    }

    #[test]
    fn an_admin_of_one_tenant_reaches_neither_another_tenant_nor_the_cluster() {
        let own = Principal { token: "t".into(), role: Role::Admin, tenant: Some("a".into()), agent: None };
        assert!(own.may_in(Operation::PublishTenant, "a") && !own.may_in(Operation::PublishTenant, "b"));
        assert!(own.check(Operation::DrainNode).is_err() && own.check(Operation::Tokens).is_err());
    }
}
