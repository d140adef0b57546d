//! The architecture and the style as a test: who may depend on whom, what is banned where, how long things may get.
//!
//! It reads source text only. The rules it holds are stated in `docs/ARCHITECTURE.md`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest source file, tests and blank lines aside.
const FILE_LINES_MAX: usize = 700;
/// Longest function, signature to closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Modules of the product and the sibling modules each may name. `main`, `node` and `cli` assemble and may name all.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("actor", &["core"]),
    ("media", &["core"]),
    ("sip", &["core", "actor", "media"]),
    ("api", &["core", "actor", "config", "telemetry"]),
    ("ai", &["core"]),
    ("config", &["core"]),
    ("telemetry", &[]),
];

/// Text that must not appear in a part of the tree, and why.
const BANS: &[(&str, &[&str], &str)] = &[
    (
        "src/core",
        &[
            "std::time",
            "Instant",
            "SystemTime",
            "tokio",
            "HashMap",
            "HashSet",
            "f32",
            "f64",
            ".await",
            "async fn",
            "rand::",
            "std::net",
            "std::fs",
            "std::thread",
        ],
        "the core is pure: no clock, no chance, no floats, no I/O, no unordered iteration",
    ),
    ("cluster/src/transport", &["openraft"], "the transport carries bytes"),
    ("src", &["openraft", "quinn::", "ractor_cluster"], "consensus and QUIC belong to the cluster package"),
    ("cluster/src", &["tandem::", "CallId", "QueueId", "AgentId"], "the cluster knows nothing of calls"),
];

/// The only files that may name bincode: one codec per package.
const CODECS: &[&str] = &["src/core/codec.rs", "cluster/src/codec.rs"];

struct Source {
    path: String,
    /// The text up to the first `#[cfg(test)]` module.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn is_test_path(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for top in ["src", "cluster/src", "bench/src", "chaos/src", "chaos/sim/src"] {
        walk(&root().join(top), &mut paths);
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("source files are UTF-8");
            let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            let code = if is_test_path(&path) { String::new() } else { before_tests(&text) };
            Source { path, code }
        })
        .collect()
}

/// Everything before the first inline test module.
fn before_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if opens_tests {
            break;
        }
        code.push_str(line);
        code.push('\n');
    }
    code
}

fn without_comment(line: &str) -> &str {
    line.find("//").map_or(line, |start| &line[..start])
}

fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

/// True if `text` holds `word` as a whole word (or path) and not as a part of a longer one.
fn names(text: &str, word: &str) -> bool {
    let bound = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    text.match_indices(word).any(|(start, found)| {
        let first_is_word = found.starts_with(|c: char| c.is_alphanumeric());
        let last_is_word = found.ends_with(|c: char| c.is_alphanumeric());
        (!first_is_word || bound(text[..start].chars().next_back())) && (!last_is_word || bound(text[start + found.len()..].chars().next()))
    })
}

#[test]
fn every_file_says_what_it_owns() {
    let mut found = Vec::new();
    for top in ["src", "cluster/src", "bench/src", "chaos/src", "chaos/sim/src", "tests", "cluster/tests"] {
        let mut paths = Vec::new();
        walk(&root().join(top), &mut paths);
        for path in paths {
            if !fs::read_to_string(&path).expect("UTF-8").starts_with("//!") {
                found.push(path.display().to_string());
            }
        }
    }
    report("a file opens with `//!`: what it owns and what it does not", &found);
}

#[test]
fn no_file_is_too_long_to_proofread() {
    let found: Vec<_> = sources()
        .iter()
        .map(|source| (source, source.code.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect();
    report("split the file by its jobs", &found);
}

#[test]
fn no_function_is_too_long_to_proofread() {
    let mut found = Vec::new();
    for source in sources() {
        let lines: Vec<_> = source.code.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let text = line.trim_start();
            let opens = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
                "pub(crate) async fn ",
                "pub(super) async fn ",
                "const fn ",
                "pub const fn ",
            ];
            if !opens.iter().any(|open| text.starts_with(open)) {
                continue;
            }
            // Formatted code closes a function at the indentation it opened at.
            let close = format!("{}}}", &line[..line.len() - text.len()]);
            let length = lines[start..].iter().position(|line| *line == close).map_or(1, |end| end + 1);
            if length > FUNCTION_LINES_MAX && !line.ends_with(';') {
                found.push(format!("{}:{}: {length} lines", source.path, start + 1));
            }
        }
    }
    report("split the function", &found);
}

#[test]
fn modules_depend_only_where_the_arrows_point() {
    let mut found = Vec::new();
    for source in sources() {
        let Some(rest) = source.path.strip_prefix("src/") else { continue };
        let module = rest.split(['/', '.']).next().expect("split yields one part");
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else { continue };
        for (number, line) in source.code.lines().enumerate() {
            let code = without_comment(line);
            for (other, _) in ARROWS.iter().filter(|(other, _)| *other != module && !allowed.contains(other)) {
                if names(code, &format!("crate::{other}")) {
                    found.push(format!("{}:{}: {module} must not know {other}", source.path, number + 1));
                }
            }
        }
    }
    report("the direction of dependencies (docs/ARCHITECTURE.md)", &found);
}

#[test]
fn what_is_banned_stays_out() {
    let mut found = Vec::new();
    for source in sources() {
        for (part, banned, why) in
            BANS.iter().filter(|(part, ..)| source.path == format!("{part}.rs") || source.path.starts_with(&format!("{part}/")))
        {
            let _ = part;
            for (number, line) in source.code.lines().enumerate() {
                for word in banned.iter().filter(|word| names(without_comment(line), word)) {
                    found.push(format!("{}:{}: `{word}`: {why}", source.path, number + 1));
                }
            }
        }
        let may_encode = CODECS.contains(&source.path.as_str());
        if !may_encode && source.code.lines().any(|line| names(without_comment(line), "bincode::")) {
            found.push(format!("{}: bincode is named in one codec per package", source.path));
        }
    }
    report("bans", &found);
}

#[test]
fn nothing_unfinished_lands() {
    let unfinished = ["todo!(", "unimplemented!(", "FIXME", "XXX", "dbg!("];
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.code.lines().enumerate() {
            if unfinished.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    report("finish it or take it out", &found);
}

#[test]
fn no_test_hides_where_none_is_looked_for() {
    let mut found = Vec::new();
    for top in ["src", "cluster/src", "bench/src", "chaos/src", "chaos/sim/src"] {
        let mut paths = Vec::new();
        walk(&root().join(top), &mut paths);
        for path in paths {
            let text = fs::read_to_string(&path).expect("UTF-8");
            if path.ends_with("src/main.rs") && text.contains("#[test]") {
                found.push(format!("{}: programs are built with `test = false`", path.display()));
            }
            // Fences open and close in turn.
            let fences = text
                .lines()
                .map(str::trim_start)
                .filter_map(|line| Some(line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?.trim_start()));
            let opened = fences.filter(|line| line.starts_with("```")).step_by(2);
            found.extend(opened.filter(|line| *line != "```text").map(|line| format!("{}: {line}: examples are not run", path.display())));
        }
    }
    report("tests are functions of a library or of `tests/`", &found);
}
