//! Clients that set and read one small thing each, through any node: the reason an idle agent gives for a break. What they
//! saw is judged for linearizability.

use std::{thread, time::Duration};

use serde_json::json;
use tandem_bench::{error::Error, phone::Random, tenant::TENANT};

use super::Context;
use crate::history::{Op, Phase};

/// Agents that take no calls and serve as registers.
const REGISTERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(150);

/// The agents as rows of the tenant's file.
pub(super) fn rows() -> String {
    (0..REGISTERS)
        .map(|n| format!("[[agent]]\nid = \"reg{n}\"\ncontact = \"sip:reg{n}@127.0.0.1:9\"\nskills = {{}}\nstate = \"offline\"\n"))
        .collect()
}

/// One client, until the run is done.
pub(super) fn client(context: &Context, n: usize) {
    let mut random = Random(context.seed.wrapping_mul(97).wrapping_add(n as u64));
    // A client that does not know what became of its operation is gone; another takes its place.
    let mut life = 0_u32;
    for count in 0_u64.. {
        if context.is_done() {
            return;
        }
        let register = format!("reg{}", random.draw() as usize % REGISTERS);
        let members = context.members();
        let node = members[random.draw() as usize % members.len()];
        let client = format!("register-client-{n}.{life}");
        let note = |phase: Phase, op: Op| context.recorder.add(&client, &register, phase, op);
        let op = if random.draw().is_multiple_of(2) { Op::Write { value: format!("{n}-{count}") } } else { Op::Read { value: None } };
        note(Phase::Invoke, op.clone());
        let (phase, op) = match op {
            Op::Write { value } => (write(context, node, &register, &value), Op::Write { value }),
            _ => match read(context, node, &register) {
                Ok(value) => (Phase::Ok, Op::Read { value }),
                Err(_) => (Phase::Fail, Op::Read { value: None }),
            },
        };
        note(phase, op);
        life += u32::from(phase == Phase::Info);
        thread::sleep(PAUSE);
    }
}

fn write(context: &Context, node: u16, register: &str, value: &str) -> Phase {
    let body = json!({ "state": "break", "reason": value });
    match context.stage.lab.post(node, &format!("/api/v1/agents/{register}/state?tenant={TENANT}"), &body) {
        Ok(_) => Phase::Ok,
        // An answer of 4xx says that nothing was done; all else says nothing.
        Err(Error::Http(text)) if text.contains(": 4") => Phase::Fail,
        Err(_) => Phase::Info,
    }
}

fn read(context: &Context, node: u16, register: &str) -> Result<Option<String>, Error> {
    let rows = context.stage.lab.all_from(node, &format!("/api/v1/agents?tenant={TENANT}"))?;
    let row = rows.iter().find(|row| row["id"] == register).ok_or_else(|| Error::Missed(format!("{register} is gone")))?;
    Ok(row["reason"].as_str().map(str::to_owned))
}
