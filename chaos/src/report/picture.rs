//! The picture: fault bars over throughput and latency, the leader of the tenant's partition, outages shaded. Inline SVG in
//! colours that colour-blind readers can tell apart (Okabe and Ito), each with a label besides.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Report, escape};
use crate::{
    history::{Op, Record},
    judge::Second,
};

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 110.0;
const ROW: f64 = 18.0;
const PLOT: f64 = 90.0;
const PALETTE: [&str; 8] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];

/// From milliseconds of the run to a place in the picture.
struct Scale {
    end_ms: f64,
}

impl Scale {
    fn x(&self, ms: f64) -> f64 {
        LEFT + (WIDTH - LEFT) * (ms / self.end_ms).clamp(0.0, 1.0)
    }
}

pub(super) fn render(report: &Report, history: &[Record]) -> String {
    let end_ms = history.last().map_or(1_000.0, |record| record.at_ms).max(1_000.0);
    let scale = Scale { end_ms };
    let mut body = String::new();
    let mut y = 4.0;
    for fault in &report.faults {
        let (from, heal, healed) = (scale.x(fault.injected_ms), scale.x(fault.heal_ms), scale.x(fault.healed_ms));
        let (name, title) = (escape(&fault.kind), escape(&fault.line()));
        let _ = write!(
            body,
            "<g><title>{title}</title><text x=\"0\" y=\"{:.1}\">{}. {name}</text><rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"12\" fill=\"#d55e00\"/><rect x=\"{heal:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"4\" fill=\"#e69f00\"/></g>",
            y + 11.0,
            fault.n,
            (heal - from).max(2.0),
            y + 4.0,
            (healed - heal).max(0.0)
        );
        y += ROW;
    }
    y += 8.0;
    let top = y;
    y = plot(&mut body, &scale, &report.seconds, y, "calls answered /s", |s| s.answered as f64, "#0072b2", false);
    y = plot(&mut body, &scale, &report.seconds, y, "tries failed /s", |s| s.failed as f64, "#d55e00", true);
    y = plot(&mut body, &scale, &report.seconds, y, "first response max, ms", |s| s.response_max_ms, "#009e73", false);
    let mut shade = String::new();
    for (from, to) in &report.judgement.service.outages {
        let (x, width) = (scale.x(*from), scale.x(*to) - scale.x(*from));
        let _ = write!(
            shade,
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"#000\" fill-opacity=\"0.12\"><title>no response to anybody for {:.1} s</title></rect>",
            y - top,
            (to - from) / 1e3
        );
    }
    y = leaders(&mut body, &scale, history, y);
    y = axis(&mut body, &scale, y);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {y:.0}\" role=\"img\" aria-label=\"faults, throughput, latency and leaders over time\">{shade}{body}</svg><p>Bars: faults (thin: until everything was well again). Grey: outages. Ticks: seconds of the run."
    )
}

/// One curve, as a line or as bars, with its greatest value.
#[expect(clippy::too_many_arguments, reason = "one call says all of a curve; a struct would only name the same again")]
fn plot(
    body: &mut String,
    scale: &Scale,
    seconds: &[Second],
    y: f64,
    name: &str,
    value: impl Fn(&Second) -> f64,
    colour: &str,
    bars: bool,
) -> f64 {
    let most = seconds.iter().map(&value).fold(1.0, f64::max);
    let bottom = y + PLOT - 14.0;
    let point = |(n, second): (usize, &Second)| (scale.x((n as f64 + 0.5) * 1e3), bottom - (PLOT - 30.0) * value(second) / most);
    let _ = write!(
        body,
        "<text x=\"0\" y=\"{:.1}\">{name}</text><text x=\"0\" y=\"{:.1}\">max {most:.0}</text><line x1=\"{LEFT}\" y1=\"{bottom:.1}\" x2=\"{WIDTH}\" y2=\"{bottom:.1}\" stroke=\"#bbb\"/>",
        y + 20.0,
        y + 34.0
    );
    if bars {
        for (x, top) in seconds.iter().enumerate().map(point).filter(|(_, top)| *top < bottom) {
            let _ =
                write!(body, "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"4\" height=\"{:.1}\" fill=\"{colour}\"/>", x - 2.0, bottom - top);
        }
    } else {
        let points: Vec<String> = seconds.iter().enumerate().map(point).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(body, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>", points.join(" "));
    }
    y + PLOT
}

/// Who led what each node's belief changed most: the group with calls, told by the newest term anybody knows.
fn leaders(body: &mut String, scale: &Scale, history: &[Record], y: f64) -> f64 {
    let mut by_group: BTreeMap<u32, Vec<(f64, u64, u64)>> = BTreeMap::new();
    for record in history {
        if let Op::Leader { group, leader: Some(leader), term, .. } = &record.op {
            let changes = by_group.entry(*group).or_default();
            if changes.last().is_none_or(|(_, _, last)| last < term) {
                changes.push((record.at_ms, *leader, *term));
            }
        }
    }
    let group = history.iter().find_map(|record| if let Op::Event { place, .. } = &record.op { Some(place.0) } else { None });
    let Some((group, changes)) = group.and_then(|group| by_group.get_key_value(&group)).or_else(|| by_group.iter().next()) else {
        return y;
    };
    let _ = write!(body, "<text x=\"0\" y=\"{:.1}\">leader of group {group}</text>", y + 12.0);
    for (n, (from, leader, term)) in changes.iter().enumerate() {
        let to = changes.get(n + 1).map_or(scale.end_ms, |next| next.0);
        let (x, width) = (scale.x(*from), scale.x(to) - scale.x(*from));
        let colour = PALETTE[*leader as usize % PALETTE.len()];
        let _ = write!(
            body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\" fill-opacity=\"0.45\" stroke=\"#555\" stroke-width=\"0.5\"><title>node {leader}, term {term}</title></rect><text x=\"{:.1}\" y=\"{:.1}\">{leader} (t{term})</text>",
            x + 2.0,
            y + 11.0
        );
    }
    y + ROW + 6.0
}

fn axis(body: &mut String, scale: &Scale, y: f64) -> f64 {
    let every = [1.0, 5.0, 10.0, 30.0, 60.0].into_iter().find(|s| scale.end_ms / 1e3 / s <= 16.0).unwrap_or(300.0);
    let count = (scale.end_ms / 1e3 / every) as usize;
    for n in 0..=count {
        let s = n as f64 * every;
        let x = scale.x(s * 1e3);
        let _ = write!(
            body,
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#555\"/><text x=\"{x:.1}\" y=\"{:.1}\">{s:.0}</text>",
            y + 4.0,
            y + 16.0
        );
    }
    y + 22.0
}
