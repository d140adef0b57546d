//! Waiting for a cluster to come to rest after a run, and reading what it kept.

use std::{thread, time::Duration};

use serde_json::Value;

use crate::{error::Error, lab::Lab, tenant};

/// How long records, archives and streams may take to agree after the last call.
pub const WITHIN: Duration = Duration::from_secs(30);
/// A comparison takes at least so many.
const MEMBERS_MIN: usize = 3;
const ROUND: Duration = Duration::from_millis(250);

/// All records once no call is left and at least `at_least` are there; what is there when the time is over.
pub fn records(lab: &Lab, at_least: usize) -> Result<Vec<Value>, Error> {
    let rounds = WITHIN.as_millis() / ROUND.as_millis();
    let mut cdrs = Vec::new();
    for _ in 0..rounds {
        let live = lab.all(&format!("/api/v1/calls?tenant={}", tenant::TENANT)).map_or(usize::MAX, |calls| calls.len());
        if live == 0 {
            cdrs = self::cdrs(lab)?;
            if cdrs.len() >= at_least {
                break;
            }
        }
        thread::sleep(ROUND);
    }
    Ok(cdrs)
}

/// As [`records`], and if calls are left in the end, what there is all the same.
pub fn records_or_so(lab: &Lab, at_least: usize) -> Result<Vec<Value>, Error> {
    let whole = records(lab, at_least)?;
    if whole.is_empty() { cdrs(lab) } else { Ok(whole) }
}

/// All records there are.
pub fn cdrs(lab: &Lab) -> Result<Vec<Value>, Error> {
    lab.all(&format!("/api/v1/cdrs?tenant={}", tenant::TENANT))
}

/// True once the archive of every partition has the same length and hash on every member's own disk, a witness's included.
pub fn archives_agree(lab: &Lab) -> Result<bool, Error> {
    let nodes = lab.all("/api/v1/nodes")?;
    let members: Vec<u16> =
        nodes.iter().filter(|row| row["state"] != "left").filter_map(|row| u16::try_from(row["id"].as_u64()?).ok()).collect();
    if members.len() < MEMBERS_MIN {
        return Err(Error::Missed(format!("only nodes {members:?} are members: nothing to compare")));
    }
    let heads = |k: u16| -> Result<Vec<String>, Error> {
        let partitions = lab.all_from(k, "/api/v1/partitions?stale=true")?;
        Ok(partitions.iter().map(|partition| format!("{} {}", partition["group"], partition["archive"])).collect())
    };
    let agreed = lab.eventually("equal archives", WITHIN, |_| {
        let first = members.first().and_then(|k| heads(*k).ok());
        first.is_some() && members.iter().all(|k| heads(*k).ok() == first)
    });
    Ok(agreed.is_ok())
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub fn unix_ms(text: &str) -> Option<f64> {
    text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond() as f64)
}
