//! Opening hours: is a queue open at a wall time, and when does that change next.
//!
//! It reads only the policy's own offset table; time zone databases differ between nodes and stay outside the core.

use super::{policy::Hours, time::WallTime};

const MINUTE_MS: i64 = 60_000;
const DAY_MIN: i64 = 1_440;
/// How far ahead a change is looked for, in days: a year and the longest run of holidays.
const LOOK_AHEAD_DAYS: i64 = 400;

/// Minutes since the local epoch at `at`.
fn local_minute(hours: &Hours, at: WallTime) -> i64 {
    let offset =
        hours.utc_offsets.iter().rev().find(|(from, _)| *from <= at).or(hours.utc_offsets.first()).map_or(0, |(_, minutes)| *minutes);
    at.0.div_euclid(MINUTE_MS) + i64::from(offset)
}

fn spans(hours: &Hours, day: i64) -> &[(u16, u16)] {
    let exception = i32::try_from(day).ok().and_then(|day| hours.exceptions.get(&day));
    // 1970-01-01 was a Thursday, day 3 of a week that starts on Monday.
    exception.unwrap_or(&hours.week[(day + 3).rem_euclid(7) as usize])
}

fn open_in(hours: &Hours, minute: i64) -> bool {
    let (day, of_day) = (minute.div_euclid(DAY_MIN), minute.rem_euclid(DAY_MIN));
    spans(hours, day).iter().any(|(from, to)| (i64::from(*from)..i64::from(*to)).contains(&of_day))
}

/// True if the hours are open at this moment.
pub fn open_at(hours: &Hours, at: WallTime) -> bool {
    open_in(hours, local_minute(hours, at))
}

/// The next moment at which `open_at` changes; `None` if it does not within 400 days.
pub fn next_change(hours: &Hours, at: WallTime) -> Option<WallTime> {
    let now = open_at(hours, at);
    let today = local_minute(hours, at).div_euclid(DAY_MIN);
    // Day by day, since the change is nearly always today or tomorrow.
    (today..today + LOOK_AHEAD_DAYS).find_map(|day| {
        let mut moments = moments(hours, day);
        moments.sort_unstable();
        moments.into_iter().find(|moment| *moment > at && open_at(hours, *moment) != now)
    })
}

/// Moments of a local day at which something may change: its begin, the ends of its spans and steps of the local clock.
/// An edge that the clock skips is none, and one that it passes twice is two.
fn moments(hours: &Hours, day: i64) -> Vec<WallTime> {
    let edges = spans(hours, day).iter().flat_map(|(from, to)| [i64::from(*from), i64::from(*to)]);
    let edges: Vec<i64> = std::iter::once(0).chain(edges).map(|edge| day * DAY_MIN + edge).collect();
    // No zone is further than a day from UTC.
    let (begin, end) = (WallTime((day - 1) * DAY_MIN * MINUTE_MS), WallTime((day + 2) * DAY_MIN * MINUTE_MS));
    let steps = || hours.utc_offsets.iter().filter(|(from, _)| (begin..end).contains(from));
    let before = hours.utc_offsets.iter().rev().find(|(from, _)| *from < begin).or(hours.utc_offsets.first()).map(|(_, minutes)| *minutes);
    let offsets = steps().map(|(_, minutes)| *minutes).chain([before.unwrap_or(0)]);
    let at_edges = offsets.flat_map(|offset| {
        let moment = move |edge: &i64| (WallTime((edge - i64::from(offset)) * MINUTE_MS), *edge);
        edges.iter().map(moment).filter(|(moment, edge)| local_minute(hours, *moment) == *edge)
    });
    at_edges.map(|(moment, _)| moment).chain(steps().map(|(from, _)| *from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-29 is the day Berlin goes from UTC+1 to UTC+2, at 01:00 UTC.
    const DST: i64 = 1_774_746_000_000;

    fn nine_to_five() -> Hours {
        let day = vec![(9 * 60, 17 * 60)];
        let week = [day.clone(), day.clone(), day.clone(), day.clone(), day, vec![], vec![]];
        Hours { utc_offsets: vec![(WallTime(0), 60), (WallTime(DST), 120)], week, exceptions: Default::default() }
    }

    #[test]
    fn a_queue_opens_at_nine_by_its_own_clock_on_both_sides_of_the_change() {
        let hours = nine_to_five();
        let friday_8_59 = WallTime(1_774_598_340_000); // 2026-03-27 07:59 UTC
        assert!(!open_at(&hours, friday_8_59));
        assert!(open_at(&hours, WallTime(friday_8_59.0 + MINUTE_MS)));
        let monday_9 = WallTime(1_774_854_000_000); // 2026-03-30 07:00 UTC
        assert!(open_at(&hours, monday_9));
        assert!(!open_at(&hours, WallTime(monday_9.0 - MINUTE_MS)));
        let friday_17 = WallTime(1_774_627_200_000);
        assert_eq!(next_change(&hours, friday_17), Some(monday_9));
    }

    #[test]
    fn an_hour_that_is_skipped_or_passed_twice_is_open_as_the_clock_shows() {
        // A night shift on Sundays from 02:30 to 04:00; on 2026-10-25, at 01:00 UTC, Berlin goes back from 03:00 to 02:00.
        let back = 1_792_890_000_000;
        let mut hours = nine_to_five();
        hours.week = Default::default();
        hours.week[6] = vec![(150, 240)];
        hours.utc_offsets.push((WallTime(back), 60));
        let hour = 60 * MINUTE_MS;
        // Forth: 01:59 is followed by 03:00, and it is open at once.
        assert_eq!(next_change(&hours, WallTime(DST - hour)), Some(WallTime(DST)));
        assert_eq!(next_change(&hours, WallTime(DST)), Some(WallTime(DST + hour)));
        // Back: open at the first 02:30, closed again at the second 02:00, open at the second 02:30.
        let mut at = WallTime(back - hour);
        for expected in [back - hour / 2, back, back + hour / 2, back + 2 * hour] {
            at = next_change(&hours, at).expect("it changes that night");
            assert_eq!(at, WallTime(expected));
        }
    }

    #[test]
    fn a_holiday_replaces_the_weekday() {
        let mut hours = nine_to_five();
        let monday = 1_774_854_000_000_i64 / 86_400_000;
        hours.exceptions.insert(monday as i32, vec![]);
        assert!(!open_at(&hours, WallTime(1_774_854_000_000)));
    }
}
