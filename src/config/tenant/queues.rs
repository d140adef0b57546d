//! Queues of a tenant file: defaults, routing steps that only widen, and fallbacks that lead somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use toml::Spanned;

use super::{
    Error, Source,
    assistants::language,
    file::{
        AnswerName, AssistRow, CallbackRow, FallbackRow, MissesRow, QueueRow, RecordName, SharingRow, StepRow, StrategyName, Text,
        UnansweredName,
    },
};
use crate::core::{
    aid::Aid,
    id::QueueId,
    limits::{CALLBACK_DIALS_MAX, ROUTING_STEPS_MAX},
    policy::{
        Callbacks, Fallback, Media, Misses, OnClose, Policy, Queue, Recording, Requirement, ServiceLevel, Sharing, Step, Strategy,
        Treatment, Unanswered,
    },
};

const OFFER_TIMEOUT_S: u64 = 15;
const MAX_WAIT_S: u64 = 600;
/// Proxies give up an unanswered INVITE at about 180 s.
const MAX_UNANSWERED_S: u64 = 150;
const PRIORITY: u8 = 5;
const MISSES_MAX: u8 = 3;
const MISS_DELAY_S: u64 = 5;

/// Reads every queue. `policy` has the hours and agents already.
pub(super) fn read(source: &Source<'_>, rows: &[QueueRow], policy: &Policy) -> Result<BTreeMap<QueueId, Queue>, Error> {
    let mut seen = BTreeMap::new();
    for row in rows {
        source.name("queue.id", &row.id)?;
        source.fresh("queue.id", &mut seen, &row.id)?;
    }
    let names: BTreeSet<&str> = seen.keys().map(String::as_str).collect();
    let mut queues = BTreeMap::new();
    for row in rows {
        queues.insert(QueueId::new(row.id.get_ref()), queue(source, row, &names, policy)?);
    }
    for row in rows {
        refuse_cycle(source, row, &queues)?;
    }
    Ok(queues)
}

fn queue(source: &Source<'_>, row: &QueueRow, names: &BTreeSet<&str>, policy: &Policy) -> Result<Queue, Error> {
    let overflow = row.overflow.as_ref().map(|to| target(source, "queue.overflow", to, names)).transpose()?;
    let fallback = |key, rule: Option<&Spanned<FallbackRow>>, status| match rule {
        Some(rule) => fallback(source, key, rule, names),
        None => Ok(overflow.clone().map_or(Fallback::Reject { status }, Fallback::Queue)),
    };
    if let Some(hours) = row.hours.as_ref().filter(|hours| !policy.hours.contains_key(hours.get_ref())) {
        return Err(source.at(hours.span(), "queue.hours", format_args!("there are no hours {:?}", hours.get_ref())));
    }
    Ok(Queue {
        strategy: row.strategy.map_or(Strategy::LongestIdle, StrategyName::into),
        service_level: service_level(source, row)?,
        offer_timeout_ms: positive(source, "queue.offer_timeout_s", row.offer_timeout_s.as_ref(), OFFER_TIMEOUT_S)?,
        max_wait_ms: positive(source, "queue.max_wait_s", row.max_wait_s.as_ref(), MAX_WAIT_S)?,
        on_max_wait: fallback("queue.on_max_wait", row.on_max_wait.as_ref(), 480)?,
        wrap_up_ms: source.millis_or("queue.wrap_up_s", row.wrap_up_s.as_ref(), 0)?,
        waiting_max: row.waiting_max,
        on_full: fallback("queue.on_full", row.on_full.as_ref(), 486)?,
        require_agents: row.require_agents,
        on_no_agents: fallback("queue.on_no_agents", row.on_no_agents.as_ref(), 480)?,
        hours: row.hours.as_ref().map(|hours| hours.get_ref().clone()),
        on_closed: fallback("queue.on_closed", row.on_closed.as_ref(), 480)?,
        waiting_on_close: row.waiting_on_close.map_or(OnClose::Finish, Into::into),
        priority: row.priority.unwrap_or(PRIORITY),
        promote_after_ms: source.millis_or("queue.promote_after_s", row.promote_after_s.as_ref(), 0)?,
        steps: steps(source, &row.steps, policy)?,
        affinity_ms: source.millis_or("queue.affinity_s", row.affinity_s.as_ref(), 0)?,
        misses: misses(source, &row.misses)?,
        max_unanswered_ms: source.millis_or("queue.max_unanswered_s", row.max_unanswered_s.as_ref(), MAX_UNANSWERED_S)?,
        treatment: treatment(source, row, policy.media)?,
        callback: callback(source, &row.callback)?,
        sharing: sharing(source, &row.ai, names)?,
        aid: aid(source, row.assist.as_ref(), policy.media)?.map(Arc::new),
        record: recording(source, row, policy.media)?,
    })
}

/// Audio that rtpengine carries does not pass the node.
const NOT_BY_RTPENGINE: &str = "not with media = \"rtpengine\", whose audio passes no node: nothing can be played or recorded";

fn recording(source: &Source<'_>, row: &QueueRow, media: Media) -> Result<Recording, Error> {
    match &row.record {
        Some(record) if *record.get_ref() == RecordName::All => {
            if media == Media::Rtpengine {
                return Err(source.at(record.span(), "queue.record", NOT_BY_RTPENGINE));
            }
            Ok(Recording::All)
        }
        Some(_) | None => Ok(Recording::Off),
    }
}

fn treatment(source: &Source<'_>, row: &QueueRow, media: Media) -> Result<Treatment, Error> {
    let on_queue = row.answer.as_ref().filter(|answer| *answer.get_ref() == AnswerName::OnQueue);
    if let Some(answer) = on_queue.filter(|_| media == Media::Rtpengine) {
        return Err(source.at(answer.span(), "queue.answer", NOT_BY_RTPENGINE));
    }
    let prompt = |key: &str, name: &Option<Text>| name.as_ref().map(|name| source.name(key, name).map(str::to_owned)).transpose();
    Ok(Treatment {
        answer_waiting: on_queue.is_some(),
        greeting: prompt("queue.greeting", &row.greeting)?,
        music: prompt("queue.music", &row.music)?,
        announce_every_ms: source.millis_or("queue.announce_every_s", row.announce_every_s.as_ref(), 0)?,
    })
}

fn callback(source: &Source<'_>, row: &CallbackRow) -> Result<Callbacks, Error> {
    let by_default = Callbacks::default();
    let dials_max = match &row.dials {
        Some(dials) if !(1..=CALLBACK_DIALS_MAX).contains(dials.get_ref()) => {
            return Err(source.at(dials.span(), "queue.callback.dials", format_args!("must be between 1 and {CALLBACK_DIALS_MAX}")));
        }
        dials => dials.as_ref().map_or(by_default.dials_max, |dials| *dials.get_ref()),
    };
    let ms = |key: &str, seconds: Option<&Spanned<u64>>, default_ms: u64| positive(source, key, seconds, default_ms / 1_000);
    Ok(Callbacks {
        dials_max,
        pause_ms: ms("queue.callback.pause_s", row.pause_s.as_ref(), by_default.pause_ms)?,
        ring_ms: ms("queue.callback.ring_s", row.ring_s.as_ref(), by_default.ring_ms)?,
        max_age_ms: ms("queue.callback.max_age_s", row.max_age_s.as_ref(), by_default.max_age_ms)?,
    })
}

fn sharing(source: &Source<'_>, row: &SharingRow, names: &BTreeSet<&str>) -> Result<Sharing, Error> {
    let by_default = Sharing::default();
    Ok(Sharing {
        ai_first: row.first.unwrap_or(by_default.ai_first),
        people: row.people.as_ref().map(|to| target(source, "queue.ai.people", to, names)).transpose()?,
        priority: row.priority,
        within_ms: positive(source, "queue.ai.within_s", row.within_s.as_ref(), by_default.within_ms / 1_000)?,
        unanswered: row.unanswered.map_or(by_default.unanswered, |name| match name {
            UnansweredName::Head => Unanswered::Head,
            UnansweredName::Rollback => Unanswered::Rollback,
        }),
        failures_max: row.failures_max.unwrap_or(by_default.failures_max),
    })
}

/// What people are given while they have a contact. All else needs what is said to be written down.
fn aid(source: &Source<'_>, row: Option<&Spanned<AssistRow>>, media: Media) -> Result<Option<Aid>, Error> {
    let Some(place) = row else { return Ok(None) };
    let row = place.get_ref();
    if !row.transcript {
        let wanted = row.agents || row.suggest;
        return if wanted {
            Err(source.at(place.span(), "queue.assist.transcript", "must be true for what else is wanted"))
        } else {
            Ok(None)
        };
    }
    if media != Media::Anchored {
        return Err(source.at(place.span(), "queue.assist", "only with media = \"anchored\": no other audio passes a node"));
    }
    if row.suggest && row.knowledge.is_none() {
        return Err(source.at(place.span(), "queue.assist.suggest", "needs `knowledge`, the articles to suggest from"));
    }
    Ok(Some(Aid {
        suggest: row.suggest,
        agents: row.agents,
        language: language(source, "queue.assist.language", row.language.as_ref())?,
        knowledge: row.knowledge.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default(),
    }))
}

pub(super) fn positive(source: &Source<'_>, key: &str, seconds: Option<&Spanned<u64>>, default_s: u64) -> Result<u64, Error> {
    match seconds {
        Some(seconds) if *seconds.get_ref() == 0 => Err(source.at(seconds.span(), key, "must be at least 1")),
        seconds => source.millis_or(key, seconds, default_s),
    }
}

fn service_level(source: &Source<'_>, row: &QueueRow) -> Result<Option<ServiceLevel>, Error> {
    let Some(level) = &row.service_level else { return Ok(None) };
    let target_percent = *level.target_percent.get_ref();
    if !(1..=100).contains(&target_percent) {
        return Err(source.at(level.target_percent.span(), "queue.service_level.target_percent", "must be between 1 and 100"));
    }
    let answer_within_ms = positive(source, "queue.service_level.answer_within_s", Some(&level.answer_within_s), 0)?;
    Ok(Some(ServiceLevel { answer_within_ms, target_percent }))
}

fn target(source: &Source<'_>, key: &str, to: &Text, names: &BTreeSet<&str>) -> Result<QueueId, Error> {
    if names.contains(to.get_ref().as_str()) {
        Ok(QueueId::new(to.get_ref()))
    } else {
        Err(source.at(to.span(), key, format_args!("there is no queue {:?}", to.get_ref())))
    }
}

fn fallback(source: &Source<'_>, key: &str, rule: &Spanned<FallbackRow>, names: &BTreeSet<&str>) -> Result<Fallback, Error> {
    match (rule.get_ref().reject, &rule.get_ref().queue) {
        (Some(status @ 400..=699), None) => Ok(Fallback::Reject { status }),
        (Some(status), None) => {
            Err(source.at(rule.span(), key, format_args!("{status} is no SIP status that refuses a call (400 to 699)")))
        }
        (None, Some(queue)) => target(source, key, queue, names).map(Fallback::Queue),
        _ => Err(source.at(rule.span(), key, "needs either `reject` or `queue`")),
    }
}

/// A later step may drop skills and lower levels, never the opposite: relaxing must not take an agent away.
fn steps(source: &Source<'_>, rows: &[Spanned<StepRow>], policy: &Policy) -> Result<Vec<Step>, Error> {
    let mut steps: Vec<Step> = Vec::new();
    for (n, row) in rows.iter().enumerate() {
        let fail = |key: &str, message: &dyn std::fmt::Display| Err(source.at(row.span(), key, message));
        if n == ROUTING_STEPS_MAX {
            return fail("queue.steps", &format_args!("more than {ROUTING_STEPS_MAX} steps"));
        }
        let is_last = n + 1 == rows.len();
        let for_ms = source.millis_or("queue.steps.for_s", row.get_ref().for_s.as_ref(), 0)?;
        if is_last != (for_ms == 0) {
            return fail("queue.steps.for_s", &"every step but the last needs a duration, and the last lasts for the rest of the wait");
        }
        let require: Requirement = row.get_ref().require.iter().map(|(skill, level)| (skill.as_str().into(), *level)).collect();
        if let Some(skill) = require.keys().find(|skill| !policy.agents.values().any(|agent| agent.skills.contains_key(*skill))) {
            return fail("queue.steps.require", &format_args!("unknown skill {:?}: no agent has it", skill.as_str()));
        }
        let narrows = steps.last().and_then(|before| {
            require.iter().find(|(skill, level)| before.require.get(*skill).is_none_or(|earlier| earlier < level)).map(|(skill, _)| skill)
        });
        if let Some(skill) = narrows {
            return fail(
                "queue.steps.require",
                &format_args!("asks for more {:?} than the step before; a step may only widen", skill.as_str()),
            );
        }
        steps.push(Step { for_ms, require });
    }
    Ok(steps)
}

fn misses(source: &Source<'_>, row: &MissesRow) -> Result<Misses, Error> {
    let delay = |key: &str, seconds: &Option<Spanned<u64>>| source.millis_or(key, seconds.as_ref(), MISS_DELAY_S);
    Ok(Misses {
        max: row.max.unwrap_or(MISSES_MAX),
        break_reason: row.break_reason.clone().unwrap_or_else(|| "missed".to_owned()),
        timeout_delay_ms: delay("queue.misses.timeout_delay_s", &row.timeout_delay_s)?,
        reject_delay_ms: delay("queue.misses.reject_delay_s", &row.reject_delay_s)?,
        busy_delay_ms: delay("queue.misses.busy_delay_s", &row.busy_delay_s)?,
        unreachable_delay_ms: delay("queue.misses.unreachable_delay_s", &row.unreachable_delay_s)?,
    })
}

/// A caller must not be sent in circles: following any fallbacks from a queue never leads back to it.
fn refuse_cycle(source: &Source<'_>, row: &QueueRow, queues: &BTreeMap<QueueId, Queue>) -> Result<(), Error> {
    let start = QueueId::new(row.id.get_ref());
    let mut reached = BTreeSet::new();
    let mut next = vec![&start];
    while let Some(queue) = next.pop() {
        let rules = &queues[queue];
        for rule in [&rules.on_max_wait, &rules.on_full, &rules.on_no_agents, &rules.on_closed] {
            let Fallback::Queue(to) = rule else { continue };
            if *to == start {
                let via = if *queue == start { String::new() } else { format!(" by way of {queue}") };
                return Err(source.at(row.id.span(), "queue.overflow", format_args!("{start} leads back to itself{via}")));
            }
            if reached.insert(to) {
                next.push(to);
            }
        }
    }
    Ok(())
}
