//! Figures of a run: printed as a table, written as JSON. It judges nothing but the bounds it is given.

use std::{fs, path::Path};

use serde::Serialize;

use crate::error::Error;

#[derive(Debug, Serialize)]
struct Row {
    figure: String,
    value: f64,
    unit: &'static str,
    /// The bound the figure must keep, in words, and whether it did. None is a figure without a bound.
    bound: Option<(String, bool)>,
}

/// All figures of one run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    title: String,
    rows: Vec<Row>,
    /// Examples and remarks, printed below the figures.
    notes: Vec<String>,
}

impl Report {
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new(), notes: Vec::new() }
    }

    pub fn figure(&mut self, figure: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { figure: figure.into(), value, unit, bound: None });
    }

    /// A figure that must keep a bound.
    pub fn bounded(&mut self, figure: impl Into<String>, value: f64, unit: &'static str, bound: impl Into<String>, kept: bool) {
        self.rows.push(Row { figure: figure.into(), value, unit, bound: Some((bound.into(), kept)) });
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// p50, p99 and maximum of a sample; nothing of an empty one.
    pub fn quantiles(&mut self, figure: &str, sample: &mut [f64], unit: &'static str) {
        sample.sort_by(f64::total_cmp);
        if let Some(last) = sample.last().copied() {
            let at = |percent: usize| sample[(sample.len() - 1) * percent / 100];
            for (name, value) in [("p50", at(50)), ("p99", at(99)), ("max", last)] {
                self.figure(format!("{figure} {name}"), value, unit);
            }
        }
    }

    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.bound.as_ref().is_none_or(|(_, kept)| *kept))
    }

    pub fn print(&self) {
        println!("# {}", self.title);
        for row in &self.rows {
            let verdict =
                row.bound.as_ref().map_or(String::new(), |(bound, kept)| format!("  {bound}: {}", if *kept { "ok" } else { "MISSED" }));
            println!("{:<52} {:>12.3} {}{verdict}", row.figure, row.value, row.unit);
        }
        for note in &self.notes {
            println!("  {note}");
        }
    }

    pub fn write(&self, path: &Path) -> Result<(), Error> {
        Ok(fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}
