//! The house rules that a machine can check, over all of `src/`.
//!
//! Checks: the arrow between rooms, the order inside a room, how files open and how long they get, names that say
//! nothing, calls that belong behind a seam, what must not stay in code, and that every guard which an essay names for an
//! invariant exists. Other text in comments and strings is not looked at; test code is exempt where a rule says so. It reads lines, it does not parse Rust: a rule broken on purpose can be
//! hidden from it, one broken by accident hardly.
//!
//! Each rule is tried on small sources below, so that it is known to fail when broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// More lines of code than this in one file are too many.
const LINES_MAX: usize = 600;
/// From here on a file is worth a thought.
const LINES_TO_THINK: usize = 400;
/// Rooms and their rank: a room imports itself and what has a lower rank.
const ROOMS: &[(&str, u8)] =
    &[("model", 0), ("net", 1), ("client", 2), ("node", 2), ("tui", 3), ("cmd", 4), ("main", 5)];
/// Names that say nothing.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "inner", "base"];

const WALL: &[&str] = &["src/node/wall.rs", "src/cmd/"];
/// `raft/runtime.rs` is the same fence, seen from openraft.
const EXEC: &[&str] = &["src/net/exec.rs", "src/node/raft/runtime.rs", "src/cmd/"];
/// `process.rs` reads what the operating system says of the process, which is in no node's directory.
const DISK: &[&str] = &["src/node/disk/real.rs", "src/node/disk/look.rs", "src/node/process.rs", "src/cmd/"];
/// Calls that belong behind a seam: what, where it is allowed, what to use instead.
const SEAMS: &[(&str, &[&str], &str)] = &[
    ("std::time::Instant", &[], "use `tokio::time::Instant`"),
    ("std::time::SystemTime", WALL, "use `node::wall::Wall`"),
    ("SystemTime::now", WALL, "use `node::wall::Wall`"),
    ("std::thread", EXEC, "use `net::exec::Exec`"),
    ("thread::spawn", EXEC, "use `net::exec::Exec`"),
    ("tokio::spawn", EXEC, "use `net::exec::Exec::spawn`"),
    ("task::spawn", EXEC, "use `net::exec::Exec::spawn`"),
    ("spawn_blocking", EXEC, "use `net::exec::Exec::blocking`"),
    ("spawn_local", EXEC, "use `net::exec::Exec::spawn`"),
    ("std::fs", DISK, "use `node::disk::Disk`"),
    ("tokio::fs", &["src/cmd/"], "use `node::disk::Disk`"),
    ("File::open", DISK, "use `node::disk::Disk`"),
    ("rand::rng", &[], "use `net::chance::Chance`"),
    ("rand::random", &[], "use `net::chance::Chance`"),
];

/// Under this heading an essay pairs invariants with their guards, one a list item: `- what holds: guarded by `, then
/// names in backticks. A name after `in ` is that of a function which asserts or refuses; any other is that of a test.
const GUARDS: &str = "## Invariants and what guards each";
/// What a function has that asserts or refuses.
const ASSERTIONS: &[&str] = &["assert", "Err(", ".expect(", "unreachable!", "refused(", "failure("];

/// A rule broken somewhere.
#[derive(Debug, PartialEq)]
struct Breach {
    file: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// A source file: its path from the package's root, and what of it is code.
struct Source {
    path: String,
    first_line: String,
    /// Without comments and the insides of strings; line by line as in the file.
    code: Vec<String>,
    /// Lines that are compiled for tests only.
    test: Vec<bool>,
}

/// A path that a file names: where, from the crate's root, and whether in test code.
type Import = (usize, Vec<String>, bool);

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let code = code_of(text);
        let test = if is_test_file(path) { vec![true; code.lines().count()] } else { test_lines(&code) };
        let first_line = text.lines().next().unwrap_or_default().to_owned();
        Source { path: path.to_owned(), first_line, code: code.lines().map(str::to_owned).collect(), test }
    }

    /// `src/node/wal/mod.rs` and `src/node/wal.rs` are both `["node", "wal"]`.
    fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.code.iter().enumerate().map(|(i, line)| (i + 1, line.as_str(), self.test[i]))
    }

    /// The code from a place on, over the ends of lines.
    fn text_from(&self, line: usize, start: &str) -> String {
        let rest = self.code[line..].iter().map(String::as_str);
        std::iter::once(start).chain(rest).collect::<Vec<_>>().join(" ")
    }

    fn length(&self) -> usize {
        self.code.iter().filter(|line| !line.trim().is_empty()).count()
    }

    fn breach(&self, line: usize, rule: &'static str, what: impl Into<String>) -> Breach {
        Breach { file: self.path.clone(), line, rule, what: what.into() }
    }
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// All breaches in these files (path and text).
fn check(files: &[(String, String)]) -> Vec<Breach> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    // Which modules each module declares, in order.
    let children: BTreeMap<Vec<String>, Vec<String>> =
        sources.iter().map(|source| (source.module(), declared(source))).collect();
    let mut breaches = Vec::new();
    for source in &sources {
        breaches.extend(check_opening(source));
        breaches.extend(check_length(source));
        breaches.extend(check_names(source));
        breaches.extend(check_seams(source));
        breaches.extend(check_leftovers(source));
        breaches.extend(check_select(source));
        for (line, path, test) in imports(source) {
            breaches.extend(check_arrow(source, line, &path));
            if !test {
                breaches.extend(check_order(source, line, &path, &children));
            }
        }
    }
    breaches
}

fn check_opening(source: &Source) -> Option<Breach> {
    let opens = is_test_file(&source.path) || source.first_line.starts_with("//!");
    let what = "say in the first lines (`//!`) what this file is, what it promises, what it does not do";
    (!opens).then(|| source.breach(1, "opening", what))
}

fn check_length(source: &Source) -> Option<Breach> {
    let lines = source.length();
    let what =
        format!("{lines} lines of code, at most {LINES_MAX}: split it by nouns, or move its tests out");
    (lines > LINES_MAX).then(|| source.breach(1, "length", what))
}

fn check_names(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for name in source.module().iter().filter(|name| EMPTY_NAMES.contains(&name.as_str())) {
        breaches.push(source.breach(
            1,
            "name",
            format!("`{name}` says nothing: name the file by what it is"),
        ));
    }
    for (line, code, _) in source.lines() {
        let words: Vec<&str> = identifiers(code).map(|(_, word)| word).collect();
        for pair in words.windows(2) {
            let defines = ["struct", "enum", "trait", "type", "union", "mod"].contains(&pair[0]);
            let empty = camel_words(pair[1]).into_iter().find(|word| EMPTY_NAMES.contains(&word.as_str()));
            if let Some(empty) = empty.filter(|_| defines) {
                let what = format!("`{}`: `{empty}` says nothing: name it by what it is", pair[1]);
                breaches.push(source.breach(line, "name", what));
            }
        }
    }
    breaches
}

fn check_seams(source: &Source) -> Vec<Breach> {
    // Tests are driven from outside the fences.
    let lines = source.lines().filter(|(_, code, test)| !test && !is_use(code));
    let mut places: Vec<(usize, String)> = lines.map(|(line, code, _)| (line, code.to_owned())).collect();
    // Grouped imports are taken apart first.
    let imports = uses(source).into_iter().filter(|(_, _, test)| !test);
    places.extend(imports.map(|(line, path, _)| (line, path.join("::"))));
    let mut breaches = Vec::new();
    for (call, allowed, instead) in SEAMS {
        if allowed.iter().any(|allowed| source.path.starts_with(allowed)) {
            continue;
        }
        for (line, _) in places.iter().filter(|(_, code)| has_path(code, call)) {
            breaches.push(source.breach(*line, "seam", format!("`{call}` outside its seam: {instead}")));
        }
    }
    breaches
}

fn check_leftovers(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (line, code, test) in source.lines() {
        let dense: String = code.split_whitespace().collect();
        if dense.contains(".unwrap()") && !test {
            let what = "`unwrap` outside tests: return an error, or `expect(\"the invariant that holds\")`";
            breaches.push(source.breach(line, "leftover", what));
        }
        for name in ["todo", "unimplemented", "dbg"] {
            let mut words = identifiers(code);
            if words.any(|(at, word)| word == name && code[at + name.len()..].starts_with('!')) {
                breaches.push(source.breach(line, "leftover", format!("`{name}!` is not finished code")));
            }
        }
        if dense.contains("#[ignore") {
            let what = "an ignored test protects nothing: repair it or delete it";
            breaches.push(source.breach(line, "leftover", what));
        }
    }
    breaches
}

fn check_select(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (line, code, _) in source.lines() {
        let Some((_, after)) = code.split_once("select!") else { continue };
        let text: String = source.text_from(line, after).split_whitespace().take(2).collect();
        if !text.trim_start_matches(['{', '(']).starts_with("biased;") {
            let what = "`select!` without `biased;`: a seed must decide the order of everything";
            breaches.push(source.breach(line, "select", what));
        }
    }
    breaches
}

fn check_arrow(source: &Source, line: usize, path: &[String]) -> Option<Breach> {
    let rank = |room: &str| ROOMS.iter().find(|(name, _)| *name == room).map(|(_, rank)| *rank);
    let module = source.module();
    let (from, to) = (module.first()?, path.first()?);
    let Some(from_rank) = rank(from) else {
        let what = format!("`{from}` is no room: put it into one of model, net, client, node, tui, cmd");
        return Some(source.breach(line, "arrow", what));
    };
    let allowed = from == to || rank(to).is_none_or(|to_rank| to_rank < from_rank);
    let what = format!("{from} imports {to}; the arrow is model <- net <- client|node <- tui <- cmd <- main");
    (!allowed)
        .then(|| source.breach(line, "arrow", format!("{what}: what both need sinks into model or net")))
}

/// Inside a room a file imports only what its `mod.rs` lists above it.
fn check_order(
    source: &Source,
    line: usize,
    path: &[String],
    children: &BTreeMap<Vec<String>, Vec<String>>,
) -> Option<Breach> {
    let module = source.module();
    let shared = module.iter().zip(path).take_while(|(a, b)| a == b).count();
    let (from, to) = (module.get(shared)?, path.get(shared)?);
    // Between rooms the arrow decides.
    let listed = children.get(&module[..shared]).filter(|_| shared > 0)?;
    let place = |name: &String| listed.iter().position(|other| other == name);
    let (from_place, to_place) = (place(from)?, place(to)?);
    let room = module[..shared].join("/");
    let what =
        format!("`{from}` imports `{to}`, which src/{room} lists below it: move the line, or the code");
    (to_place >= from_place).then(|| source.breach(line, "order", what))
}

/// Every item of a list of guards has one, and all that it names are there.
fn check_guards(files: &[(String, String)]) -> Vec<Breach> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    let story = |(path, _): &(String, String)| {
        let name = path.strip_prefix("tests/scripts/")?.strip_suffix(".txt")?;
        Some((format!("scripts::{name}"), true))
    };
    let mut known: BTreeSet<(String, bool)> = files.iter().filter_map(story).collect();
    for (source, (_, text)) in sources.iter().zip(files) {
        known.extend(guards_in(source, text));
    }
    let mut breaches = Vec::new();
    for (source, (_, text)) in sources.iter().zip(files) {
        let here = source.module().join("::");
        for (line, item) in guarded_items(text) {
            let mut names = guard_names(&item).peekable();
            if names.peek().is_none() {
                breaches.push(source.breach(line, "guard", format!("no guard: {item}")));
            }
            for (name, is_test) in names {
                let absolute = [name.to_owned(), format!("{here}::{name}")];
                if !absolute.into_iter().any(|name| known.contains(&(name, is_test))) {
                    let what = if is_test { "no test" } else { "no function that asserts or refuses" };
                    breaches.push(source.breach(line, "guard", format!("`{name}`: {what} of this name")));
                }
            }
        }
    }
    breaches
}

/// The tests of a file (true) and its functions that assert or refuse (false), by their full names.
fn guards_in(source: &Source, text: &str) -> Vec<(String, bool)> {
    let lines: Vec<&str> = text.lines().collect();
    let module =
        source.module().join("::").replacen("tests::", "", usize::from(source.path.starts_with("tests/")));
    let mut found = Vec::new();
    for (line, code, in_tests) in source.lines() {
        let mut words = identifiers(code).skip_while(|(_, word)| *word != "fn");
        let Some((_, name)) = words.nth(1) else { continue };
        let attributes =
            source.code[..line - 1].iter().rev().take_while(|above| above.trim().starts_with("#["));
        let is_test = attributes.into_iter().any(|above| above.contains("test"));
        let indent = &code[..code.len() - code.trim_start().len()];
        let end = format!("{indent}}}");
        let body = lines[line - 1..].iter().take_while(|line| **line != end);
        let asserts = body.into_iter().any(|line| ASSERTIONS.iter().any(|word| line.contains(word)));
        let inline = if in_tests && !is_test_file(&source.path) { "tests::" } else { "" };
        if is_test || asserts {
            found.push((format!("{module}::{inline}{name}"), is_test));
        }
    }
    found
}

/// The items below [`GUARDS`], each with its line.
fn guarded_items(text: &str) -> Vec<(usize, String)> {
    let mut items: Vec<(usize, String)> = Vec::new();
    let doc = text.lines().enumerate().map(|(n, line)| (n + 1, line.strip_prefix("//!").map(str::trim)));
    for (line, doc) in doc.skip_while(|(_, doc)| *doc != Some(GUARDS)).skip(1) {
        match (doc, items.last_mut()) {
            (Some(""), None) => {}
            (Some("") | None, _) => break,
            (Some(doc), item) => match (doc.strip_prefix("- "), item) {
                (None, Some((_, item))) => *item += &format!(" {doc}"),
                (begun, _) => items.push((line, begun.unwrap_or(doc).to_owned())),
            },
        }
    }
    items
}

/// What an item names behind `guarded by`, and whether it is a test.
fn guard_names(item: &str) -> impl Iterator<Item = (&str, bool)> {
    let (_, guards) = item.rsplit_once("guarded by ").unwrap_or_default();
    let parts: Vec<&str> = guards.split('`').collect();
    let pairs: Vec<_> = parts.chunks_exact(2).map(|pair| (pair[1], !pair[0].ends_with("in "))).collect();
    pairs.into_iter()
}

/// The modules a file declares, in order, tests left out.
fn declared(source: &Source) -> Vec<String> {
    let name = |line: &str| {
        let words: Vec<&str> = line.trim().strip_suffix(';')?.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "mod")?;
        let visible = words[..at].iter().all(|word| word.starts_with("pub"));
        words.get(at + 1).filter(|_| visible && words.len() == at + 2).map(|name| (*name).to_owned())
    };
    source.lines().filter(|(_, _, test)| !test).filter_map(|(_, line, _)| name(line)).collect()
}

/// Every path into this crate that a file names.
fn imports(source: &Source) -> Vec<Import> {
    let mut all = uses(source);
    for (line, code, test) in source.lines().filter(|(_, code, _)| !is_use(code)) {
        all.extend(inline_paths(code).into_iter().map(|path| (line, path, test)));
    }
    let mut found = Vec::new();
    for (line, path, test) in all {
        let mut module = source.module();
        let mut rest = path.as_slice();
        match rest.first().map(String::as_str) {
            Some("crate" | "nodenomad") => (module, rest) = (Vec::new(), &rest[1..]),
            // In an inline test module `super` is the file itself: nothing that the order could be broken by.
            Some("super") if !test || is_test_file(&source.path) => {
                while rest.first().is_some_and(|name| name == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            _ => continue,
        }
        module.extend(rest.iter().cloned());
        found.push((line, module, test));
    }
    found
}

fn is_use(code: &str) -> bool {
    let code = code.trim_start();
    let code = code.strip_prefix("pub ").or_else(|| code.strip_prefix("pub(crate) ")).unwrap_or(code);
    code.starts_with("use ")
}

/// The paths of all `use` declarations, taken apart.
fn uses(source: &Source) -> Vec<Import> {
    let mut found = Vec::new();
    for (line, code, test) in source.lines().filter(|(_, code, _)| is_use(code)) {
        let start = code.find("use ").expect("it is one") + 4;
        let text = source.text_from(line, &code[start..]);
        let tree = text.split(';').next().unwrap_or_default();
        found.extend(take_apart(tree).into_iter().map(|path| (line, path, test)));
    }
    found
}

fn names_in(path: &str) -> Vec<String> {
    path.split("::").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn take_apart(tree: &str) -> Vec<Vec<String>> {
    let Some(open) = tree.find('{') else {
        return vec![names_in(tree.split(" as ").next().unwrap_or_default())];
    };
    let (prefix, close) = (names_in(&tree[..open]), tree.rfind('}').unwrap_or(tree.len()));
    let (mut depth, mut parts, mut part) = (0usize, Vec::new(), String::new());
    for letter in tree[open + 1..close].chars() {
        match letter {
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                depth = (depth + usize::from(letter == '{')).saturating_sub(usize::from(letter == '}'));
                part.push(letter);
            }
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| take_apart(part)).map(|rest| [prefix.clone(), rest].concat()).collect()
}

/// Paths that begin with `crate` or `super` in the middle of code.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let starts = identifiers(code).filter(|(at, word)| {
        let begins = ["crate", "super"].contains(word) && code[at + word.len()..].starts_with("::");
        begins && !code[..*at].ends_with("::")
    });
    let path = |(at, _): (usize, &str)| {
        code[at..].split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap_or_default()
    };
    starts.map(|start| names_in(path(start))).collect()
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// True if `code` names `path`, or something in it.
fn has_path(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        // `tokio::spawn` is not found again as `task::spawn` is, but `std::fs` is in `use std::fs::File`.
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = code.split(|letter: char| !is_word(letter)).filter(|part| !part.is_empty());
    parts.map(|part| (part.as_ptr() as usize - code.as_ptr() as usize, part))
}

/// `HttpServer_x` is `http`, `server`, `x`.
fn camel_words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter.is_uppercase() || letter == '_' {
            words.push(String::new());
        }
        words.last_mut().expect("there is one").extend(letter.to_lowercase().filter(|letter| *letter != '_'));
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The text with comments and the insides of strings blanked, line by line the same.
fn code_of(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < letters.len() {
        let (rest, in_word) = (&letters[i..], i > 0 && is_word(letters[i - 1]));
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['r', '"' | '#', ..] if !in_word => raw_string(rest),
            ['b' | 'c', 'r', '"' | '#', ..] if !in_word => match raw_string(&rest[1..]) {
                0 => 0,
                length => length + 1,
            },
            ['\'', '\\', _, ..] => 3 + rest[3..].iter().position(|c| *c == '\'').map_or(0, |end| end + 1),
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if length == 0 {
            code.push(letters[i]);
            i += 1;
            continue;
        }
        let end = (i + length).min(letters.len());
        code.push_str(if rest[0] == '/' { "" } else { "\"\"" });
        code.extend(letters[i..end].iter().filter(|c| **c == '\n'));
        i = end;
    }
    code
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut i) = (0usize, 0);
    while i < rest.len() {
        match rest[i..] {
            ['/', '*', ..] => (depth, i) = (depth + 1, i + 2),
            ['*', '/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn string(rest: &[char]) -> usize {
    let mut i = 1;
    while i < rest.len() && rest[i] != '"' {
        i += if rest[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Length of a raw string; 0 if it is none (`r#name`).
fn raw_string(rest: &[char]) -> usize {
    let marks = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + marks) != Some(&'"') {
        return 0;
    }
    let marked = |i: usize| rest[i..].iter().take_while(|c| **c == '#').take(marks).count() == marks;
    let end = (2 + marks..rest.len()).find(|i| rest[*i] == '"' && marked(i + 1));
    end.map_or(rest.len(), |end| end + 1 + marks)
}

/// Which lines belong to items under `#[cfg(test)]`.
fn test_lines(code: &str) -> Vec<bool> {
    const MARK: &str = "#[cfg(test)]";
    let mut test = Vec::new();
    // Depth of braces in a test item; `None` outside, `Some(0)` before its first brace.
    let mut depth: Option<usize> = None;
    for line in code.lines() {
        let (mut is_test, mut rest) = (depth.is_some(), line);
        if let Some(at) = line.find(MARK).filter(|_| depth.is_none()) {
            (depth, is_test, rest) = (Some(0), true, &line[at + MARK.len()..]);
        }
        for letter in rest.chars() {
            depth = match (depth, letter) {
                (Some(0), ';') | (Some(1), '}') => None,
                (Some(depth), '{') => Some(depth + 1),
                (Some(depth), '}') => Some(depth.saturating_sub(1)),
                (depth, _) => depth,
            };
        }
        test.push(is_test);
    }
    test
}

fn read_sources(dir: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_sources(&path, root, files);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "txt") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_house_rules_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    read_sources(&root.join("src"), root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    for (path, text) in &files {
        let lines = Source::new(path, text).length();
        if (LINES_TO_THINK + 1..=LINES_MAX).contains(&lines) {
            println!(
                "warning: {path} has {lines} lines of code; from {LINES_TO_THINK} on, think of splitting it"
            );
        }
    }
    let mut breaches = check(&files);
    read_sources(&root.join("tests"), root, &mut files);
    breaches.extend(check_guards(&files));
    let list: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(list.is_empty(), "{} breaches of the house rules:\n{}", list.len(), list.join("\n"));
}

/// The rules broken by one file, next to room files that list its neighbours.
fn rules(path: &str, text: &str) -> Vec<(&'static str, usize)> {
    let rooms = [
        ("src/lib.rs", "//! x\npub mod model;\npub mod net;\npub mod node;\n"),
        ("src/node/mod.rs", "//! x\npub mod disk;\npub mod wal;\npub mod store;\n#[cfg(test)]\nmod rig;\n"),
        ("src/node/wal/mod.rs", "//! x\npub mod frame;\npub mod segment;\n"),
        (path, text),
    ];
    let files: Vec<_> = rooms.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    check(&files).into_iter().map(|breach| (breach.rule, breach.line)).collect()
}

fn broken(path: &str, text: &str) -> Vec<(&'static str, usize)> {
    rules(path, &format!("//! x\n{text}"))
}

#[test]
fn the_arrow_is_checked() {
    for (path, line) in [
        ("src/model/key.rs", "use crate::net::exec::Exec;"),
        ("src/model/key.rs", "fn f() { crate::node::run() }"),
        ("src/model/key.rs", "use crate::{model::time, net::exec};"),
        ("src/net/rpc.rs", "use crate::node::wall::Wall;"),
        ("src/client/mod.rs", "use crate::node::wall::Wall;"),
        ("src/node/raft.rs", "use crate::client::Client;"),
        ("src/node/raft.rs", "use super::super::client::Client;"),
        ("src/tui/mod.rs", "use crate::cmd::Out;"),
        ("src/node/raft/tests.rs", "use crate::client::Client;"),
        ("src/extra/mod.rs", "use crate::model::key::Key;"),
    ] {
        assert_eq!(broken(path, line), [("arrow", 2)], "{path}: {line}");
    }
    for (path, line) in [
        ("src/net/rpc.rs", "use crate::model::key::Key;"),
        ("src/node/raft.rs", "use crate::{model::key::Key, net::{exec::Exec, rpc}};"),
        ("src/cmd/top.rs", "use crate::tui::Monitor;"),
        ("src/main.rs", "fn main() { nodenomad::cmd::run() }"),
        ("src/model/key.rs", "// use crate::net::exec::Exec;\nconst A: &str = \"crate::net::x\";"),
    ] {
        assert_eq!(broken(path, line), [], "{path}: {line}");
    }
}

#[test]
fn the_order_inside_a_room_is_checked() {
    for (path, line) in [
        ("src/node/wal.rs", "use super::store::Store;"),
        ("src/node/wal/frame.rs", "use crate::node::store::Store;"),
        ("src/node/wal/frame.rs", "use super::segment::Segment;"),
        ("src/node/wal/frame.rs", "use super::{\n    Wal,\n    segment::Segment,\n};"),
        ("src/node/wal/frame.rs", "fn f() -> super::super::store::Store {}"),
    ] {
        assert_eq!(broken(path, line), [("order", 2)], "{path}: {line}");
    }
    for (path, line) in [
        ("src/node/store/mod.rs", "use super::wal::Wal;"),
        (
            "src/node/wal/segment.rs",
            "use super::frame::Frame;\nuse super::Wal;\nuse crate::node::disk::Disk;",
        ),
        (
            "src/node/wal/frame.rs",
            "#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::node::store::S;\n}",
        ),
        ("src/node/wal/tests.rs", "use crate::node::store::Store;"),
        ("src/node/disk/mod.rs", "pub mod real;\npub use real::RealDisk;"),
    ] {
        assert_eq!(broken(path, line), [], "{path}: {line}");
    }
}

#[test]
fn opening_length_and_names_are_checked() {
    assert_eq!(rules("src/net/rpc.rs", "use std::io;\n"), [("opening", 1)]);
    assert_eq!(rules("src/net/rpc.rs", ""), [("opening", 1)]);
    assert_eq!(rules("src/net/rpc/tests.rs", "use std::io;\n"), []);
    let long = |lines| "fn f() {}\n\n// no code\n".repeat(lines);
    assert_eq!(broken("src/net/rpc.rs", &long(LINES_MAX)), []);
    assert_eq!(broken("src/net/rpc.rs", &long(LINES_MAX + 1)), [("length", 1)]);
    assert_eq!(broken("src/net/util.rs", ""), [("name", 1)]);
    assert_eq!(broken("src/net/common/mod.rs", ""), [("name", 1)]);
    for line in ["struct ClientManager;", "pub enum Inner {}", "type BaseKey = u8;", "mod helpers {}"] {
        assert_eq!(broken("src/net/rpc.rs", line), [("name", 2)], "{line}");
    }
    for line in ["struct Database;", "fn inner() {}", "struct Innermost;", "// struct Inner"] {
        assert_eq!(broken("src/net/rpc.rs", line), [], "{line}");
    }
}

#[test]
fn seams_are_checked() {
    for line in [
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::{fs, io};",
        "use std::fs::File;",
        "fn f() { std::fs::read(x) }",
        "fn f() { tokio::spawn(x) }",
        "fn f() { tokio::task::spawn_local(x) }",
        "fn f() { thread::spawn(x) }",
        "fn f() { rand::rng() }",
    ] {
        let found = broken("src/net/rpc.rs", line);
        assert!(!found.is_empty() && found.iter().all(|breach| *breach == ("seam", 2)), "{line}: {found:?}");
    }
    for (path, line) in [
        ("src/net/exec.rs", "fn f() { tokio::spawn(x) }"),
        ("src/node/disk/real.rs", "use std::fs::File;"),
        ("src/cmd/serve.rs", "use std::fs;"),
        ("src/node/wall.rs", "fn f() { std::time::SystemTime::now() }"),
        ("src/net/rpc.rs", "use std::time::Duration;\nuse tokio::time::Instant;\nfn f() { exec.spawn(x) }"),
        ("src/net/rpc.rs", "// std::fs::read\nconst A: &str = r#\"tokio::spawn \" x\"#;"),
    ] {
        assert_eq!(broken(path, line), [], "{path}: {line}");
    }
}

#[test]
fn leftovers_are_checked() {
    let file = "src/net/rpc.rs";
    for line in ["x.unwrap()", "todo!()", "dbg!(x);", "unimplemented!(\"x\")"] {
        assert_eq!(broken(file, &format!("fn f() {{ {line} }}")), [("leftover", 2)], "{line}");
    }
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap() }\n}\n";
    assert_eq!(broken(file, tests), []);
    assert_eq!(broken(file, &format!("{tests}fn g() {{ x.unwrap() }}")), [("leftover", 6)]);
    assert_eq!(broken(file, "#[cfg(test)]\nmod tests;\nfn g() { x.unwrap() }"), [("leftover", 4)]);
    assert_eq!(broken("src/net/rpc/tests.rs", "fn f() { x.unwrap() }"), []);
    assert_eq!(broken("src/net/rpc/tests.rs", "#[ignore = \"slow\"]\nfn f() {}"), [("leftover", 2)]);
    let tricky = "/* todo!() /* dbg!() */ */ fn f<'a>(c: &'a str) { '\\'' ; '\"'; b'\"'; x.unwrap_or(1) }";
    assert_eq!(broken(file, tricky), []);
    assert_eq!(broken(file, &format!("{tricky}\nfn g() {{ x.unwrap() }}")), [("leftover", 3)]);
    let select = |first: &str| format!("fn f() {{\n    tokio::select! {{\n        {first}\n    }}\n}}");
    assert_eq!(broken(file, &select("biased;\n        _ = x => {}")), []);
    assert_eq!(broken(file, &select("_ = x => {}")), [("select", 3)]);
}

#[test]
fn guards_are_checked() {
    let code = "fn f() {\n    assert!(x);\n}\nfn g() {}\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() {}\n    fn u() {}\n}\n";
    let found = |item: &str| {
        let text = format!("//! x\n//!\n{GUARDS}\n//!\n//! - {item}\n//! - also: guarded by `tests::t`.\n//!\n//! - `y`\n{code}")
            .replace(GUARDS, &format!("//! {GUARDS}"));
        let outside = ("tests/out.rs".to_owned(), "//! x\n#[tokio::test]\nasync fn t() {}\n".to_owned());
        let story = ("tests/scripts/some-story.txt".to_owned(), "nodes 3\n".to_owned());
        let breaches = check_guards(&[("src/net/rpc.rs".to_owned(), text), outside, story]);
        breaches.into_iter().map(|breach| (breach.rule, breach.line)).collect::<Vec<_>>()
    };
    for item in [
        "it holds: guarded by `tests::t`.",
        "it holds: guarded by `net::rpc::tests::t`,\n//!   `out::t` and in `f`.",
        "it holds: guarded by the assertion in `net::rpc::f`.",
        "it holds: guarded by `scripts::some-story`.",
    ] {
        assert_eq!(found(item), [], "{item}");
    }
    for item in [
        "it holds.",
        "it holds: `tests::t`.",
        "it holds: guarded by `tests::gone`.",
        "it holds: guarded by `tests::u`.",
        "it holds: guarded by `scripts::no-story`.",
        "it holds: guarded by `f`.",
        "it holds: guarded by the assertion in `g`.",
        "it holds: guarded by `tests::t`,\n//!   `t`.",
    ] {
        assert_eq!(found(item), [("guard", 5)], "{item}");
    }
}
