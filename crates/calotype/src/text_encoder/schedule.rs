//! Prompts that change between the steps, with the grammar of stable-diffusion-webui (AUTOMATIC1111).
//!
//! | written | means |
//! |---|---|
//! | `[from:to:when]` | `from` up to the step `when`, then `to` |
//! | `[to:when]`, `[from::when]` | the same, with nothing on the other side |
//! | `[a\|b\|c]` | one of them a step, in turn |
//!
//! A whole number is a step, counted from 1; one with a decimal point is a share of the steps. Either may stand in
//! the other. What is escaped is text, and so are brackets that do not close, or hold something else; other square
//! and round brackets are emphasis ([`prompt::parse`](super::prompt::parse)) and stay as they are. A `|` that
//! stands outside such brackets turns all of it off, as in webui.

use super::reading::require_length;
use crate::error::{Error, Result};

/// How many changes and turns may stand in each other.
const DEEPEST: usize = 32;

/// Steps over which a prompt may change; a text is kept for each.
const MOST_STEPS: usize = 10_000;

/// The text of each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    texts: Vec<String>,
    /// Which of the texts each step has; the last one's holds from there on.
    of_step: Vec<usize>,
    changes: Vec<Change>,
    remarks: Vec<Remark>,
}

/// One `[from:to:when]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    written: String,
    /// The last step before it.
    when: i64,
    /// Whether something stands before it, and after it.
    has: [bool; 2],
}

/// What of a prompt's schedule its author may not expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// `[a:b:c]`, `[a:b|c]`: neither a change nor turns, so it is text.
    Neither(String),
    /// `[a|b`, `[a:b:3`: text.
    NeverClosed(String),
    /// It would be one, but the prompt is text: a `|` stands outside square brackets.
    TurnedOff(String),
    /// It changes after the last step.
    TooLate(String),
    /// It changes before the first step.
    TooEarly(String),
}

impl Schedule {
    /// The schedule of a prompt over `steps` steps.
    ///
    /// # Errors
    /// `Error::Argument` for a prompt that is too long to be looked into, has too many changes in each other, or
    /// changes over too many steps.
    pub fn of(prompt: &str, steps: usize) -> Result<Self> {
        require_length(prompt)?;
        let parser = Parser::read(prompt, steps)?;
        let mut schedule = Self::constant(prompt);
        schedule.remarks = parser.remarks;
        if let Some(found) = parser.found.filter(|_| parser.is_text) {
            schedule.remarks.push(Remark::TurnedOff(found.to_owned()));
        } else if parser.found.is_some() {
            if steps > MOST_STEPS {
                let expected = format!("at most {MOST_STEPS} for a prompt that changes between them");
                return Err(Error::argument("steps", expected, steps));
            }
            schedule.changes = changes(&parser.items);
            schedule.texts.clear();
            let texts = (1..=steps.max(1)).map(|step| text_at(&parser.items, step));
            schedule.of_step = texts.map(|text| place(&mut schedule.texts, text)).collect();
        }
        Ok(schedule)
    }

    /// The same text at all steps.
    pub fn constant(text: &str) -> Self {
        Self { texts: vec![text.to_owned()], of_step: vec![0], changes: vec![], remarks: vec![] }
    }

    /// Steps after which it does not change; at least 1.
    pub fn steps(&self) -> usize {
        self.of_step.len()
    }

    /// The text of a step, counted from 0; past the last one, that of the last.
    pub fn text(&self, step: usize) -> &str {
        &self.texts[self.of_step[step.min(self.of_step.len() - 1)]]
    }

    /// What its author may not expect, where `taken` steps are taken, counted from the first.
    pub fn remarks(&self, taken: usize) -> Vec<Remark> {
        let late = |change: &&Change| change.has[1] && change.when >= taken as i64;
        let early = |change: &&Change| change.has[0] && change.when < 1;
        let late = self.changes.iter().filter(late).map(|change| Remark::TooLate(change.written.clone()));
        let early = self.changes.iter().filter(early).map(|change| Remark::TooEarly(change.written.clone()));
        self.remarks.iter().cloned().chain(late).chain(early).collect()
    }
}

/// Where `one` stands among those that are known; a new one is put behind them.
pub(crate) fn place<T: PartialEq>(known: &mut Vec<T>, one: T) -> usize {
    let found = known.iter().position(|other| *other == one);
    found.unwrap_or_else(|| {
        known.push(one);
        known.len() - 1
    })
}

/// A part of a prompt.
enum Item<'a> {
    Text(&'a str),
    Change { before: Vec<Item<'a>>, after: Vec<Item<'a>>, when: i64, written: &'a str },
    Turns(Vec<Vec<Item<'a>>>),
}

impl Item<'_> {
    /// Changes and turns in each other.
    fn depth(&self) -> usize {
        let deepest = |items: &[Self]| items.iter().map(Self::depth).max().unwrap_or(0);
        match self {
            Self::Text(_) => 0,
            Self::Change { before, after, .. } => 1 + deepest(before).max(deepest(after)),
            Self::Turns(words) => 1 + words.iter().map(|words| deepest(words)).max().unwrap_or(0),
        }
    }
}

/// A bracket that is open.
struct Open {
    is_round: bool,
    /// Its byte in the prompt, and its place among the items.
    begin: usize,
    item: usize,
    /// The same of each `:` and `|` in it.
    colons: Vec<(usize, usize)>,
    bars: Vec<(usize, usize)>,
}

struct Parser<'a> {
    prompt: &'a str,
    steps: usize,
    items: Vec<Item<'a>>,
    open: Vec<Open>,
    /// The first change or turns.
    found: Option<&'a str>,
    /// Whether all of it is text.
    is_text: bool,
    remarks: Vec<Remark>,
}

impl<'a> Parser<'a> {
    fn read(prompt: &'a str, steps: usize) -> Result<Self> {
        let (items, open, remarks) = (vec![], vec![], vec![]);
        let mut parser = Self { prompt, steps, items, open, found: None, is_text: false, remarks };
        let mut at = 0;
        while let Some(next) = prompt[at..].chars().next() {
            let end = at + length(&prompt[at..], next);
            if !(matches!(next, ')' | ']') && parser.close(next == ')', end)?) {
                match next {
                    '(' | '[' => parser.open(next == '(', at),
                    ':' => parser.separate(at, |open| &mut open.colons),
                    '|' if parser.open.is_empty() => parser.is_text = true,
                    '|' => parser.separate(at, |open| &mut open.bars),
                    '\\' if end == at + 1 => parser.is_text = true,
                    _ => {}
                }
                parser.items.push(Item::Text(&prompt[at..end]));
            }
            at = end;
        }
        parser.leave_open();
        Ok(parser)
    }

    fn open(&mut self, is_round: bool, begin: usize) {
        let item = self.items.len();
        self.open.push(Open { is_round, begin, item, colons: vec![], bars: vec![] });
    }

    fn separate(&mut self, at: usize, list: impl Fn(&mut Open) -> &mut Vec<(usize, usize)>) {
        let item = self.items.len();
        if let Some(open) = self.open.last_mut() {
            list(open).push((at, item));
        }
    }

    /// Closes the innermost bracket. True if it was a change or turns, which then stand in place of its items; false
    /// if the closing bracket is text: that of an emphasis, or one that fits nothing.
    fn close(&mut self, is_round: bool, end: usize) -> Result<bool> {
        let Some(open) = self.open.pop_if(|open| open.is_round == is_round) else {
            self.all_text();
            return Ok(false);
        };
        let written = &self.prompt[open.begin..end];
        let when = open.colons.last().and_then(|(at, _)| number(&self.prompt[at + 1..end - 1], self.steps));
        match (is_round, open.colons.len(), open.bars.len(), when) {
            (true, 0 | 1, 0, _) | (false, 0, 0, _) => return Ok(false),
            (false, 0, _, _) => {
                let words = self.parts(&open, &open.bars);
                self.push(Item::Turns(words), written)?;
                return Ok(true);
            }
            (false, 1 | 2, 0, Some(when)) => {
                let mut parts = self.parts(&open, &open.colons).into_iter();
                let before = if open.colons.len() == 2 { parts.next() } else { None }.unwrap_or_default();
                let after = parts.next().unwrap_or_default();
                self.push(Item::Change { before, after, when, written }, written)?;
                return Ok(true);
            }
            (false, 2.., 0, _) | (false, _, 1.., _) => self.remarks.push(Remark::Neither(written.into())),
            _ => {}
        }
        self.is_text |= !open.bars.is_empty();
        self.all_text();
        Ok(false)
    }

    /// What stands in a closed bracket, cut at the separators; it leaves the items.
    fn parts(&mut self, open: &Open, separators: &[(usize, usize)]) -> Vec<Vec<Item<'a>>> {
        let mut rest = self.items.split_off(open.item);
        let mut parts: Vec<Vec<Item>> = separators
            .iter()
            .rev()
            .map(|(_, item)| {
                let mut part = rest.split_off(item - open.item);
                part.remove(0); // the separator
                part
            })
            .collect();
        rest.remove(0); // the bracket
        parts.push(rest);
        parts.reverse();
        parts
    }

    fn push(&mut self, item: Item<'a>, written: &'a str) -> Result<()> {
        let depth = item.depth();
        if depth > DEEPEST {
            let expected = format!("at most {DEEPEST} brackets with changes or turns in each other");
            return Err(Error::argument("prompt", expected, "more"));
        }
        self.items.push(item);
        self.found.get_or_insert(written);
        Ok(())
    }

    /// A bracket that is text makes text of all that it stands in.
    fn all_text(&mut self) {
        self.is_text |= self.open.iter().any(|open| !open.bars.is_empty());
        self.open.clear();
    }

    fn leave_open(&mut self) {
        let looks_like_one =
            |open: &&Open| !open.is_round && (open.colons.len() > 1 || !open.bars.is_empty());
        if let Some(open) = self.open.iter().find(looks_like_one) {
            self.remarks.push(Remark::NeverClosed(self.prompt[open.begin..].into()));
        }
        self.all_text();
    }
}

/// Bytes of the symbol that `text` begins with, whose first character is `next`: a sign, an escaped character, or what
/// stands before the next of these.
fn length(text: &str, next: char) -> usize {
    let special = ['(', ')', '[', ']', ':', '|', '\\'];
    match next {
        '\\' => 1 + text[1..].chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8),
        next if special.contains(&next) => 1,
        _ => text.find(special).unwrap_or(text.len()),
    }
}

/// The last step before a change, of `steps`; `None` for what is no number.
fn number(text: &str, steps: usize) -> Option<i64> {
    let text = text.trim();
    let is_number = text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let number: f64 = if is_number { text.parse().ok()? } else { return None };
    let step = if text.contains('.') { number * steps as f64 } else { number };
    Some((step as i64).min(steps as i64))
}

/// The text at a step, counted from 1.
fn text_at(items: &[Item], step: usize) -> String {
    let mut text = String::new();
    write_at(items, step, &mut text);
    text
}

fn write_at(items: &[Item], step: usize, text: &mut String) {
    for item in items {
        match item {
            Item::Text(own) => text.push_str(own),
            Item::Change { before, after, when, .. } => {
                write_at(if step as i64 <= *when { before } else { after }, step, text);
            }
            Item::Turns(words) => write_at(&words[(step - 1) % words.len()], step, text),
        }
    }
}

/// All changes, the outer before the inner.
fn changes(items: &[Item]) -> Vec<Change> {
    let is_something =
        |items: &[Item]| items.iter().any(|item| !matches!(item, Item::Text(text) if text.trim().is_empty()));
    let of = |item: &Item| match item {
        Item::Text(_) => vec![],
        Item::Turns(words) => words.iter().flat_map(|words| changes(words)).collect(),
        Item::Change { before, after, when, written } => {
            let has = [is_something(before), is_something(after)];
            let own = Change { written: (*written).to_owned(), when: *when, has };
            [vec![own], changes(before), changes(after)].concat()
        }
    };
    items.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests;
