//! One Markdown file to passages: a title, headings, and the text under each, cut to what can be said in one go.
//!
//! It owns the front matter and what of Markdown is read out. HTML and pictures are not.

use std::path::Path;

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

use crate::ai::{
    limits::{ASKS_MAX, PASSAGE_CHARS_MAX},
    rules,
    text::{Text, is_han},
    verdict::Language,
};

/// What can be given as an answer: some sentences, and where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The article's path below the folder of articles.
    pub path: String,
    pub title: String,
    /// The nearest heading above; empty above the first.
    pub heading: String,
    pub language: Language,
    pub text: String,
    /// Questions the author says it answers; for finding it only.
    pub(super) asks: String,
}

impl Passage {
    /// Where it stands, in words: article and heading.
    #[must_use]
    pub fn source(&self) -> String {
        if self.heading.is_empty() { self.title.clone() } else { format!("{} › {}", self.title, self.heading) }
    }
}

/// What is wrong, and in which line from 1.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) line: usize,
    pub(super) message: String,
}

/// What stands between two `---` lines at the top: `title`, `language` (en, zh, es), and any number of `ask`.
#[derive(Default)]
struct Front {
    title: Option<String>,
    language: Option<Language>,
    asks: Vec<String>,
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Passage>, Flaw> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Flaw { line: line_of(bytes, error.valid_up_to()), message: "is not UTF-8".to_owned() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (front, body) = front(text)?;
    let sections = sections(body);
    let first = sections.iter().find(|section| section.level == Some(HeadingLevel::H1)).map(|section| section.heading.clone());
    let title = front.title.or(first).filter(|title| !title.is_empty());
    let title =
        title.ok_or_else(|| Flaw { line: 1, message: "has no title: write `# Title`, or `title:` between `---` lines".to_owned() })?;
    let all: String = sections.iter().flat_map(|section| &section.blocks).flat_map(|block| [block.as_str(), " "]).collect();
    if all.trim().is_empty() {
        return Err(Flaw { line: 1, message: "says nothing below its title".to_owned() });
    }
    let language = front.language.unwrap_or_else(|| rules::judge(&Text::read(format!("{title} {all}").as_bytes())).language.value);
    let path = path.to_string_lossy();
    let mut passages = Vec::new();
    // What the article is said to answer is answered where it begins.
    let mut asked = front.asks;
    for section in sections {
        let heading = if section.heading == title { String::new() } else { section.heading };
        asked.extend(section.asks);
        if asked.len() > ASKS_MAX {
            return Err(Flaw { line: 1, message: format!("more than {ASKS_MAX} `ask` for one passage") });
        }
        for text in cut(&section.blocks) {
            let asks = std::mem::take(&mut asked).join("\n");
            passages.push(Passage {
                path: path.clone().into_owned(),
                title: title.clone(),
                heading: heading.clone(),
                language,
                text,
                asks,
            });
        }
    }
    Ok(passages)
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Splits the front matter off. It is lines of `key: value` and nothing more of YAML.
fn front(text: &str) -> Result<(Front, &str), Flaw> {
    let mut front = Front::default();
    let Some(after) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else { return Ok((front, text)) };
    let mut rest = after;
    for line in 2.. {
        let flaw = |message: String| Flaw { line, message };
        let Some((head, tail)) = rest.split_once('\n') else {
            return Err(Flaw { line: 1, message: "the `---` here is never closed".to_owned() });
        };
        rest = tail;
        let head = head.trim();
        if head == "---" {
            break;
        }
        if head.is_empty() || head.starts_with('#') {
            continue;
        }
        let (key, value) = head.split_once(':').ok_or_else(|| flaw(format!("`{head}` is not `key: value`")))?;
        let value = value.trim().trim_matches('"').to_owned();
        match (key.trim(), value.as_str()) {
            ("title", _) => front.title = Some(value),
            ("language", "en" | "zh" | "es") => front.language = Some(Language::named(&value)),
            ("language", _) => return Err(flaw(format!("language `{value}` is not en, zh or es"))),
            ("ask", _) => front.asks.push(value),
            (key, _) => return Err(flaw(format!("`{key}` is not title, language or ask"))),
        }
    }
    Ok((front, rest))
}

/// A heading and the blocks up to the next.
#[derive(Default)]
struct Section {
    level: Option<HeadingLevel>,
    heading: String,
    blocks: Vec<String>,
    /// Of `<!-- ask: … -->`, which a reader of the page does not see.
    asks: Vec<String>,
}

fn sections(body: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let (mut text, mut heading, mut pictures) = (String::new(), false, 0_usize);
    for event in Parser::new_ext(body, pulldown_cmark::Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                flush(&mut text, &mut sections);
                sections.push(Section { level: Some(level), ..Section::default() });
                heading = true;
            }
            Event::End(TagEnd::Heading(_)) => {
                heading = false;
                let written = std::mem::take(&mut text);
                if let Some(section) = sections.last_mut() {
                    section.heading = written.split_whitespace().collect::<Vec<_>>().join(" ");
                }
            }
            Event::Html(comment) | Event::InlineHtml(comment) => {
                let ask = comment.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                if let (Some(ask), Some(section)) = (ask.and_then(|ask| ask.trim().strip_prefix("ask:")), sections.last_mut()) {
                    section.asks.push(ask.trim().to_owned());
                }
            }
            Event::Start(Tag::Image { .. }) => pictures += 1,
            Event::End(TagEnd::Image) => pictures = pictures.saturating_sub(1),
            Event::Text(piece) | Event::Code(piece) if pictures == 0 => text.push_str(&piece),
            Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::TableCell) => text.push(' '),
            Event::Start(Tag::Item | Tag::Paragraph)
            | Event::End(TagEnd::Paragraph | TagEnd::Item | TagEnd::CodeBlock | TagEnd::TableRow | TagEnd::TableHead)
                if !heading =>
            {
                flush(&mut text, &mut sections);
            }
            _ => {}
        }
    }
    flush(&mut text, &mut sections);
    sections
}

/// Ends a block: single spaces, and a full stop where the author needed none.
fn flush(text: &mut String, sections: &mut [Section]) {
    let mut block = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.clear();
    let Some(last) = block.chars().next_back() else { return };
    if last.is_alphanumeric() {
        block.push(if is_han(last) { '。' } else { '.' });
    }
    if let Some(section) = sections.last_mut() {
        section.blocks.push(block);
    }
}

/// Blocks put together to passages no longer than can be listened to; a longer block is cut behind a sentence where it can be.
fn cut(blocks: &[String]) -> Vec<String> {
    let mut passages = vec![String::new()];
    for sentence in blocks.iter().flat_map(|block| sentences(block)) {
        let last = passages.last_mut().expect("there is one from the start");
        let chars = last.chars().count() + sentence.chars().count();
        if last.is_empty() {
            last.push_str(&sentence);
        } else if chars < PASSAGE_CHARS_MAX {
            if !last.ends_with(['。', '！', '？', '；']) {
                last.push(' ');
            }
            last.push_str(&sentence);
        } else {
            passages.push(sentence);
        }
    }
    passages.retain(|passage| !passage.is_empty());
    passages
}

fn sentences(block: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    let mut chars = 0;
    let mut rest = block.chars().peekable();
    while let Some(c) = rest.next() {
        let last = sentences.last_mut().expect("there is one from the start");
        if !(last.is_empty() && c == ' ') {
            last.push(c);
            chars += 1;
        }
        let ends = matches!(c, '。' | '！' | '？') || (matches!(c, '.' | '!' | '?') && rest.peek() == Some(&' '));
        if ends || chars == PASSAGE_CHARS_MAX {
            sentences.push(String::new());
            chars = 0;
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}
