//! How the forms in the table are written, and how the words of a line are held against them.
//!
//! Small words and signs stand for themselves, words in capitals are holes for what the author names, what stands in square
//! brackets may be left out, and `|` inside them parts alternatives. The forms that people read are the ones that are
//! matched, so they cannot say different things.

use super::table::{CONDITIONS, OPERATIONS, Row};

/// A word of a line. Quoted ones are always values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub quoted: bool,
}

/// What was found in the holes. A hole in brackets goes by the word before it, any other by its own name.
#[derive(Clone, Debug, Default)]
pub struct Args(Vec<(String, Vec<Token>)>);

enum Part {
    Word(String),
    Hole(String),
    Optional(Vec<Vec<Part>>),
}

/// How far a line could be read, and what was wanted there.
#[derive(Default)]
pub struct Furthest {
    pub at: usize,
    pub wanted: Vec<String>,
}

impl Token {
    pub fn is(&self, word: &str) -> bool {
        !self.quoted && self.text == word
    }
}

impl Args {
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// The words in a hole; none if it was left out.
    pub fn words(&self, name: &str) -> &[Token] {
        self.nth(name, 0)
    }

    pub fn nth(&self, name: &str, n: usize) -> &[Token] {
        let mut all = self.0.iter().filter(|(found, _)| found == name);
        all.nth(n).map_or(&[], |(_, words)| words)
    }

    /// The one word in a hole that must be filled.
    pub fn text(&self, name: &str) -> &str {
        &self.words(name)[0].text
    }

    pub fn optional(&self, name: &str) -> Option<&str> {
        self.words(name).first().map(|word| word.text.as_str())
    }
}

/// Words of a line, without its comment.
pub fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let (mut found, mut rest) = (Vec::new(), line.trim_start());
    while !rest.is_empty() && !rest.starts_with('#') {
        let (text, quoted, after) = match rest.strip_prefix('"') {
            Some(inside) => {
                let (text, after) = inside.split_once('"').ok_or("a quotation mark is never closed")?;
                (text, true, after)
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (&rest[..end], false, &rest[end..])
            }
        };
        found.push(Token { text: text.to_owned(), quoted });
        rest = after.trim_start();
    }
    Ok(found)
}

fn parts(form: &str) -> Vec<Part> {
    let spaced = form.replace('[', " [ ").replace(']', " ] ");
    let mut words = spaced.split_whitespace();
    let part = |word: &str| match word.starts_with(|c: char| c.is_ascii_uppercase()) {
        true => Part::Hole(word.to_owned()),
        false => Part::Word(word.to_owned()),
    };
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if word != "[" {
            found.push(part(word));
            continue;
        }
        let mut ways = vec![Vec::new()];
        for inside in words.by_ref().take_while(|inside| *inside != "]") {
            match inside {
                "|" => ways.push(Vec::new()),
                _ => ways.last_mut().expect("there is one").push(part(inside)),
            }
        }
        found.push(Part::Optional(ways));
    }
    found
}

/// The holes of a form.
pub fn holes(form: &str) -> Vec<String> {
    let name = |word: &str| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    form.split_whitespace()
        .map(name)
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase()))
        .collect()
}

/// Holds a whole line against a form.
pub fn fits(form: &str, line: &[Token], furthest: &mut Furthest) -> Option<Args> {
    let form = parts(form);
    let form: Vec<&Part> = form.iter().collect();
    let mut found = Vec::new();
    walk(&form, None, line, 0, &mut found, furthest).then_some(Args(found))
}

/// The row of a table whose form a line has.
pub fn row<'a, V>(rows: &'a [Row<V>], line: &[Token], furthest: &mut Furthest) -> Option<(&'a Row<V>, Args)> {
    rows.iter().find_map(|row| Some((row, fits(row.form, line, furthest)?)))
}

/// Tries every way. `before`: the word just matched, if this is in brackets.
fn walk(
    form: &[&Part],
    before: Option<&str>,
    line: &[Token],
    at: usize,
    found: &mut Vec<(String, Vec<Token>)>,
    furthest: &mut Furthest,
) -> bool {
    let Some((part, rest)) = form.split_first() else {
        if at < line.len() {
            furthest.reached(at, "the end of the line");
        }
        return at == line.len();
    };
    match part {
        Part::Word(word) => {
            if !line.get(at).is_some_and(|token| token.is(word)) {
                furthest.reached(at, &format!("`{word}`"));
                return false;
            }
            walk(rest, before.map(|_| word.as_str()), line, at + 1, found, furthest)
        }
        Part::Hole(hole) => {
            let longest = if is_long(hole) { line.len() - at } else { (line.len() - at).min(1) };
            for count in (1..=longest).rev() {
                let words = &line[at..at + count];
                if !suits(hole, words) {
                    continue;
                }
                let name = before.filter(|word| !word.is_empty()).unwrap_or(hole);
                found.push((name.to_owned(), words.to_vec()));
                if walk(rest, before, line, at + count, found, furthest) {
                    return true;
                }
                found.pop();
            }
            furthest.reached(at, hole);
            false
        }
        Part::Optional(ways) => {
            for way in ways {
                let way: Vec<&Part> = way.iter().collect();
                for end in (at + 1..=line.len()).rev() {
                    let mut tried = found.clone();
                    if let Some(Part::Word(word)) = way.first()
                        && way.iter().all(|part| matches!(part, Part::Word(_)))
                    {
                        tried.push((word.clone(), Vec::new()));
                    }
                    // What follows the brackets is not inside them.
                    if walk(&way, Some(""), &line[..end], at, &mut tried, furthest)
                        && walk(rest, before, line, end, &mut tried, furthest)
                    {
                        *found = tried;
                        return true;
                    }
                }
            }
            walk(rest, before, line, at, found, furthest)
        }
    }
}

impl Furthest {
    fn reached(&mut self, at: usize, wanted: &str) {
        if at > self.at {
            (self.at, self.wanted) = (at, Vec::new());
        }
        if at == self.at && !self.wanted.iter().any(|known| known == wanted) {
            self.wanted.push(wanted.to_owned());
        }
    }
}

/// Whether a hole may take more than one word.
fn is_long(hole: &str) -> bool {
    matches!(hole, "NODES" | "SIDES" | "OUTCOME" | "OPERATION" | "CONDITION")
}

/// Whether these words may stand in a hole.
fn suits(hole: &str, words: &[Token]) -> bool {
    let one = || words.len() == 1 && !words[0].quoted;
    let text = || words[0].text.as_str();
    match hole {
        "NODE" => one() && node(text()).is_some(),
        "NODES" => {
            words.iter().all(|word| !word.quoted && node(&word.text).is_some()) || one() && text() == "all"
        }
        "SIDES" => {
            let sides = words.split(|word| word.is("|"));
            words.iter().any(|word| word.is("|"))
                && sides.into_iter().all(|side| !side.is_empty() && suits("NODES", side))
        }
        "SHARD" => {
            one() && (matches!(text(), "all" | "meta") || number_after('s', text()).is_some_and(|n| n > 0))
        }
        "NUMBER" => one() && text().parse::<i64>().is_ok(),
        "TIME" => one() && super::time_ms(text()).is_some_and(|ms| ms >= 0),
        "OFFSET" => one() && super::time_ms(text()).is_some(),
        "SIZE" => one() && super::size_bytes(text()).is_some(),
        "NAME" | "KEY" => one() && !matches!(text(), "->" | "|"),
        "VALUE" => words.len() == 1 && (words[0].quoted || !matches!(text(), "->" | "|")),
        "TEXT" => words.len() == 1 && words[0].quoted,
        "OUTCOME" => super::outcome::wanted(words).is_ok(),
        "OPERATION" => row(OPERATIONS, words, &mut Furthest::default()).is_some(),
        "CONDITION" => row(CONDITIONS, words, &mut Furthest::default()).is_some(),
        _ => unreachable!("{hole} is no hole"),
    }
}

/// The number of a node, from 1 on.
pub fn node(text: &str) -> Option<usize> {
    number_after('n', text).filter(|n| *n > 0)
}

fn number_after(letter: char, text: &str) -> Option<usize> {
    text.strip_prefix(letter)?.parse().ok()
}
