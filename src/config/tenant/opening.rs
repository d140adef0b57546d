//! Opening hours of a tenant file: spans of the local day, and the zone's offsets expanded for years ahead, since the
//! core may not read a time zone database that differs between nodes.

use std::collections::BTreeMap;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, date},
    tz::TimeZone,
};

use super::{
    Error, Source,
    file::{HoursRow, Text},
};
use crate::core::{policy::Hours, time::WallTime};

/// How far the offsets of a zone reach: publish the policy again before they end, or the last one stays.
const EXPANDED_DAYS: i64 = 10 * 366;
/// Minutes of a day.
const DAY_MIN: u16 = 1_440;

/// A span of minutes of one local day, end exclusive.
type Span = (u16, u16);

pub(super) fn read(source: &Source<'_>, rows: &[HoursRow]) -> Result<BTreeMap<String, Hours>, Error> {
    read_from(source, rows, Timestamp::now())
}

/// As of a moment, so that tests do not depend on the day they run.
fn read_from(source: &Source<'_>, rows: &[HoursRow], now: Timestamp) -> Result<BTreeMap<String, Hours>, Error> {
    let (mut all, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let name = source.name("hours.name", &row.name)?;
        source.fresh("hours.name", &mut seen, &row.name)?;
        let hours = Hours { utc_offsets: offsets(source, &row.zone, now)?, week: week(source, row)?, exceptions: exceptions(source, row)? };
        all.insert(name.to_owned(), hours);
    }
    Ok(all)
}

/// `(from, minutes east)`: the offset that holds now, and each change to come.
pub(super) fn offsets(source: &Source<'_>, zone: &Text, now: Timestamp) -> Result<Vec<(WallTime, i32)>, Error> {
    let unknown = || source.at(zone.span(), "hours.zone", format_args!("unknown time zone {:?}", zone.get_ref()));
    let tz = TimeZone::get(zone.get_ref()).map_err(|_| unknown())?;
    let until = now.saturating_add(SignedDuration::from_hours(24 * EXPANDED_DAYS)).map_err(|_| unknown())?;
    let mut offsets = vec![(WallTime(0), tz.to_offset(now).seconds() / 60)];
    for change in tz.following(now).take_while(|change| change.timestamp() <= until) {
        let minutes = change.offset().seconds() / 60;
        // A change of name or of summer time alone moves no clock.
        if offsets.last().is_none_or(|(_, last)| *last != minutes) {
            offsets.push((WallTime(change.timestamp().as_millisecond()), minutes));
        }
    }
    Ok(offsets)
}

fn week(source: &Source<'_>, row: &HoursRow) -> Result<[Vec<Span>; 7], Error> {
    let w = &row.week;
    let mut week: [Vec<Span>; 7] = Default::default();
    for (n, (key, day)) in [
        ("hours.week.mon", &w.mon),
        ("hours.week.tue", &w.tue),
        ("hours.week.wed", &w.wed),
        ("hours.week.thu", &w.thu),
        ("hours.week.fri", &w.fri),
        ("hours.week.sat", &w.sat),
        ("hours.week.sun", &w.sun),
    ]
    .into_iter()
    .enumerate()
    {
        for text in day {
            let (from, to) = span(source, key, text)?;
            if from < to {
                week[n].push((from, to));
            } else {
                week[n].push((from, DAY_MIN));
                week[(n + 1) % 7].push((0, to));
            }
        }
    }
    Ok(week.map(merged))
}

fn exceptions(source: &Source<'_>, row: &HoursRow) -> Result<BTreeMap<i32, Vec<Span>>, Error> {
    let (mut exceptions, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for holiday in &row.holidays {
        source.fresh("hours.holidays", &mut seen, holiday)?;
        exceptions.insert(day(source, "hours.holidays", holiday)?, Vec::new());
    }
    for exception in &row.exceptions {
        source.fresh("hours.exceptions.date", &mut seen, &exception.date)?;
        let mut spans = Vec::with_capacity(exception.open.len());
        for text in &exception.open {
            let (from, to) = span(source, "hours.exceptions.open", text)?;
            if from >= to {
                let told = "a span of one date ends by 24:00; give the next date hours of its own";
                return Err(source.at(text.span(), "hours.exceptions.open", told));
            }
            spans.push((from, to));
        }
        exceptions.insert(day(source, "hours.exceptions.date", &exception.date)?, merged(spans));
    }
    Ok(exceptions)
}

/// Days since 1970-01-01 of a date such as `2026-12-25`.
fn day(source: &Source<'_>, key: &str, text: &Text) -> Result<i32, Error> {
    let parsed = text.get_ref().parse::<Date>().ok().and_then(|parsed| parsed.since(date(1970, 1, 1)).ok());
    let days = parsed.map(|since| since.get_days());
    days.ok_or_else(|| source.at(text.span(), key, format_args!("{:?} is no date such as 2026-12-25", text.get_ref())))
}

/// `HH:MM-HH:MM`; the end may be `24:00`, and may lie before the beginning.
fn span(source: &Source<'_>, key: &str, text: &Text) -> Result<Span, Error> {
    let parsed = text.get_ref().split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    parsed
        .filter(|(from, to)| from != to && *from < DAY_MIN && *to > 0)
        .ok_or_else(|| source.at(text.span(), key, format_args!("{:?} is no span such as 09:00-17:30", text.get_ref())))
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two_digits = |part: &str| (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok()).flatten();
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY_MIN).then_some(hour * 60 + minute)
}

/// Sorted spans, with those joined that touch.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for (from, to) in spans {
        match out.last_mut().filter(|last| last.1 >= from) {
            Some(last) => last.1 = last.1.max(to),
            None => out.push((from, to)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::tenant::file::File, core::hours};

    fn berlin(extra: &str) -> Hours {
        let text = format!(
            "[tenant]\nid = \"demo\"\n[[hours]]\nname = \"desk\"\nzone = \"Europe/Berlin\"\n\
             week = {{ mon = [\"09:00-12:00\", \"12:00-17:00\"], fri = [\"22:00-02:00\"], sun = [\"20:00-24:00\"] }}\n{extra}"
        );
        let rows: File = toml::from_str(&text).expect("the file is sound");
        let source = Source { file: "t.toml", text: &text };
        let mut all = read_from(&source, &rows.hours, "2026-01-01T00:00:00Z".parse().expect("a time")).expect("the hours are sound");
        all.remove("desk").expect("named above")
    }

    fn at(text: &str) -> WallTime {
        WallTime(text.parse::<Timestamp>().expect("a time").as_millisecond())
    }

    #[test]
    fn opening_follows_the_local_clock_over_summer_time_midnight_and_holidays() {
        let hours = berlin("holidays = [\"2026-12-28\"]\nexceptions = [{ date = \"2026-12-21\", open = [\"10:00-11:00\"] }]\n");
        for (moment, open) in [
            ("2026-03-23T07:59:00Z", false), // Monday 08:59 in winter
            ("2026-03-23T08:00:00Z", true),
            ("2026-03-23T11:00:00Z", true), // the two spans touch
            ("2026-03-23T15:59:59Z", true),
            ("2026-03-23T16:00:00Z", false),
            ("2026-03-30T06:59:00Z", false), // Monday 08:59 in summer
            ("2026-03-30T07:00:00Z", true),
            ("2026-03-27T21:00:00Z", true), // Friday 22:00
            ("2026-03-28T00:59:00Z", true), // Saturday 01:59
            ("2026-03-28T01:00:00Z", false),
            ("2026-03-29T18:00:00Z", true), // Sunday 20:00, after the change
            ("2026-03-29T22:00:00Z", false),
            ("2026-12-28T09:00:00Z", false), // a holiday on a Monday
            ("2026-12-21T08:30:00Z", false), // an exception on a Monday
            ("2026-12-21T09:30:00Z", true),
            ("2035-07-02T07:00:00Z", true), // a Monday, years ahead
        ] {
            assert_eq!(hours::open_at(&hours, at(moment)), open, "{moment}");
        }
    }

    #[test]
    fn the_next_change_is_found_over_summer_time_and_midnight() {
        let hours = berlin("holidays = [\"2026-12-28\"]\n");
        for (moment, next) in [
            ("2026-03-23T08:30:00Z", "2026-03-23T16:00:00Z"),
            ("2026-03-28T01:00:00Z", "2026-03-29T18:00:00Z"), // in winter time for an edge in summer time
            ("2026-03-27T21:30:00Z", "2026-03-28T01:00:00Z"), // midnight is no change
            ("2026-10-25T00:30:00Z", "2026-10-25T19:00:00Z"), // in summer time for an edge in winter time
            ("2026-12-27T23:30:00Z", "2027-01-01T21:00:00Z"), // the holiday is passed over
        ] {
            assert_eq!(hours::next_change(&hours, at(moment)), Some(at(next)), "{moment}");
        }
        assert_eq!(hours::next_change(&Hours::default(), at("2026-01-01T00:00:00Z")), None);
    }
}
