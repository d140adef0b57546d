//! What an INVITE may ask of the routing, if its trunk is believed: priority, skills, an agent.
//!
//! It reads header fields; whether the trunk is believed is its caller's question, and what is granted is the core's.

use crate::{
    core::id::{AgentId, SkillId},
    sip::{
        limits::{ASKED_ID_BYTES_MAX, ASKED_SKILLS_MAX},
        message::{Message, Name},
    },
};

/// What was asked for. What cannot be read was not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) priority: Option<u8>,
    pub(super) skills: Vec<(SkillId, u8)>,
    pub(super) prefer: Option<AgentId>,
}

impl Asked {
    pub(super) fn read(message: &Message) -> Self {
        Self { priority: priority(message), skills: skills(message), prefer: prefer(message) }
    }
}

/// The value of a field that `sip::message` has no name for.
fn text(message: &Message, name: &str) -> Option<String> {
    let field = message.fields.iter().find(|field| field.name == Name::Other && field.spelt.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(String::from_utf8_lossy(&field.value).trim().to_owned())
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ASKED_ID_BYTES_MAX
}

/// Priority (RFC 3261 §20.26) or Resource-Priority (RFC 4412).
fn priority(message: &Message) -> Option<u8> {
    if text(message, "Resource-Priority").is_some() {
        return Some(0);
    }
    match text(message, "Priority")?.to_ascii_lowercase().as_str() {
        "emergency" => Some(0),
        "urgent" => Some(1),
        "non-urgent" => Some(9),
        _ => None,
    }
}

/// `X-Tandem-Skills: spanish, billing=3`: skills that the agent must have, each at this level or above; 1 if none is named.
fn skills(message: &Message) -> Vec<(SkillId, u8)> {
    let list = text(message, "X-Tandem-Skills").unwrap_or_default();
    let read = |item: &str| {
        let (skill, level) = item.split_once('=').map_or((item, Some(1)), |(skill, level)| (skill, level.trim().parse().ok()));
        Some((SkillId::new(skill.trim()), level.filter(|_| is_id(skill.trim()))?))
    };
    list.split(',').take(ASKED_SKILLS_MAX).filter_map(read).collect()
}

/// `X-Tandem-Agent: alice`: the agent who should get the call while at work.
fn prefer(message: &Message) -> Option<AgentId> {
    text(message, "X-Tandem-Agent").filter(|agent| is_id(agent)).map(AgentId::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::parse;

    fn asked(fields: &str) -> Asked {
        let head = "INVITE sip:support@demo SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n";
        Asked::read(&parse(format!("{head}{fields}\r\n").as_bytes()).unwrap())
    }

    #[test]
    fn skills_with_levels_an_agent_and_a_priority_are_read() {
        let asked = asked("x-tandem-skills: spanish, billing = 3\r\nX-Tandem-Agent: alice\r\nPriority: Urgent\r\n");
        assert_eq!(asked.skills, [(SkillId::new("spanish"), 1), (SkillId::new("billing"), 3)]);
        assert_eq!((asked.prefer, asked.priority), (Some(AgentId::new("alice")), Some(1)));
    }

    #[test]
    fn what_cannot_be_read_was_not_asked_for() {
        assert_eq!(asked(""), Asked::default());
        let long = "x".repeat(ASKED_ID_BYTES_MAX + 1);
        let odd = asked(&format!("X-Tandem-Skills: , =2, a=b, c=999, {long}\r\nX-Tandem-Agent: {long}\r\nPriority: whatever\r\n"));
        assert_eq!(odd, Asked::default());
        assert_eq!(asked(&format!("X-Tandem-Skills: {}\r\n", ["a"; 99].join(","))).skills.len(), ASKED_SKILLS_MAX);
        assert_eq!(asked("Resource-Priority: ets.0\r\n").priority, Some(0));
    }
}
