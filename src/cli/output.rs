//! Tables and JSON for terminals.

use std::fmt::Write as _;

use serde_json::Value;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns, for people
    Table,
    /// The items as the API gives them, for scripts
    Json,
}

/// A column: its heading and the JSON pointer of its value.
pub(super) type Column = (&'static str, &'static str);

/// Prints items as a table of these columns, or whole as JSON.
pub(super) fn items(items: &[Value], columns: &[Column], format: Format) -> String {
    match format {
        Format::Json => serde_json::to_string_pretty(items).expect("JSON prints as JSON") + "\n",
        Format::Table => table(items, columns),
    }
}

fn table(items: &[Value], columns: &[Column]) -> String {
    let head: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let body = items.iter().map(|item| columns.iter().map(|(_, pointer)| cell(item.pointer(pointer))).collect::<Vec<_>>());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let widths: Vec<usize> = (0..columns.len()).map(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0)).collect();
    rows.iter().fold(String::new(), |mut out, row| {
        let line = row.iter().zip(&widths).fold(String::new(), |mut line, (cell, width)| {
            write!(line, "{cell:width$}  ").expect("a String takes every write");
            line
        });
        writeln!(out, "{}", line.trim_end()).expect("a String takes every write");
        out
    })
}

/// A value as a cell: no quotes, lists joined, what is missing as a dash.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => short(text),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(","),
        Some(Value::Object(map)) => map.iter().map(|(key, value)| format!("{key}={}", cell(Some(value)))).collect::<Vec<_>>().join(" "),
        Some(Value::Number(number)) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or_default()),
        Some(other) => other.to_string(),
    }
}

/// Control characters of a caller's name must not reach the terminal; a long hash need not.
fn short(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if clean.len() == 64 && clean.bytes().all(|byte| byte.is_ascii_hexdigit()) { clean[..12].to_owned() } else { clean }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_shows_what_is_missing_as_a_dash() {
        let rows = [json!({ "id": "support", "waiting": 3, "level": null }), json!({ "id": "s", "waiting": 12, "level": 0.5 })];
        let shown = items(&rows, &[("QUEUE", "/id"), ("WAITING", "/waiting"), ("SL", "/level")], Format::Table);
        assert_eq!(shown, "QUEUE    WAITING  SL\nsupport  3        -\ns        12       0.50\n");
    }

    #[test]
    fn a_caller_cannot_send_control_characters_to_the_terminal() {
        let rows = [json!({ "from": "\u{1b}[2Jevil" })];
        assert_eq!(items(&rows, &[("FROM", "/from")], Format::Table), "FROM\n?[2Jevil\n");
    }

    #[test]
    fn json_is_the_items_as_they_came() {
        let rows = [json!({ "id": 1 })];
        let back: Vec<Value> = serde_json::from_str(&items(&rows, &[], Format::Json)).unwrap();
        assert_eq!(back, rows);
    }
}
