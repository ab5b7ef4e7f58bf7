//! The language of `tests/scripts`: what can be said, and what is told of a line that cannot be read.
//!
//! `NODENOMAD_TEST_WRITE=1 cargo test --test scenario_language` writes the README's tables anew from the parser's.

#[path = "scenarios/language/mod.rs"]
mod language;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use language::form::holes;
use language::parse;
use language::table::{CONDITIONS, HOLES, OPERATIONS, Row, STEPS};

const BEGIN: &str = "<!-- written by tests/scenario_language.rs: do not edit below -->\n";
const END: &str = "<!-- until here -->\n";

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn rows<V>(title: &str, rows: &[Row<V>]) -> String {
    let mut text = format!("\n| {title} | what it means |\n|---|---|\n");
    rows.iter().for_each(|row| text += &format!("| `{}` | {} |\n", cell(row.form), cell(row.meaning)));
    text
}

fn tables() -> String {
    let mut text = rows("step", STEPS);
    text += &rows("OPERATION", OPERATIONS);
    text += &rows("CONDITION", CONDITIONS);
    text += "\n| in capitals | what to write |\n|---|---|\n";
    HOLES.iter().for_each(|(hole, meaning)| text += &format!("| {hole} | {} |\n", cell(meaning)));
    text
}

/// The stories: name and text.
fn scripts() -> Vec<(String, String)> {
    let paths = fs::read_dir(dir()).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|kind| kind == "txt"));
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn the_readme_has_what_the_parser_knows() {
    let file = dir().join("README.md");
    let readme = fs::read_to_string(&file).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the tables have a place");
    let (_, after) = rest.split_once(END).expect("and an end");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", tables());
    if std::env::var_os("NODENOMAD_TEST_WRITE").is_some() {
        fs::write(&file, &wanted).unwrap();
    }
    let how = "refresh with NODENOMAD_TEST_WRITE=1 cargo test --test scenario_language";
    assert!(fs::read_to_string(&file).unwrap() == wanted, "README.md differs; {how}");
}

#[test]
fn every_story_is_read_and_is_in_the_readme_with_its_rows() {
    let readme = fs::read_to_string(dir().join("README.md")).unwrap();
    let mut names = BTreeSet::new();
    for (name, text) in scripts() {
        let script = parse(&format!("{name}.txt"), &text).unwrap_or_else(|mistake| panic!("{mistake}"));
        let numbers = text.lines().next().unwrap().trim_start_matches("# failures row ");
        let numbers = numbers.split(':').next().unwrap().split(", ");
        for number in numbers {
            let row = readme.lines().find(|line| line.starts_with(&format!("| {number} |")));
            let row = row.unwrap_or_else(|| panic!("{name}: the README knows no row {number}"));
            assert!(row.contains(&format!("`{name}`")), "{name} is missing in row {number} of the README");
        }
        assert_eq!(script.name, name);
        names.insert(name);
    }
    assert!(names.len() > 20, "only {} stories were found", names.len());
    let named =
        readme.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split(" | ").nth(2));
    let stories = named.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    for story in stories.filter(|story| !story.contains([' ', ':', '/', '.', '_'])) {
        assert!(names.contains(story), "the README names {story}, which is not there");
    }
}

#[test]
fn everything_that_can_be_said_is_said_somewhere() {
    let mut forms: BTreeSet<&str> = STEPS.iter().map(|row| row.form).collect();
    forms.extend(OPERATIONS.iter().map(|row| row.form));
    forms.extend(CONDITIONS.iter().map(|row| row.form));
    for (name, text) in scripts() {
        for step in parse(&name, &text).unwrap().steps {
            let form = STEPS.iter().find(|row| row.verb == step.verb).map(|row| row.form);
            let operation = step.operation.map(|(act, _)| OPERATIONS.iter().find(|row| row.verb == act));
            let condition = step.condition.map(|(fact, _)| CONDITIONS.iter().find(|row| row.verb == fact));
            let operation = operation.flatten().map(|row| row.form);
            let condition = condition.flatten().map(|row| row.form);
            for said in [form, operation, condition].into_iter().flatten() {
                forms.remove(said);
            }
        }
    }
    assert!(forms.is_empty(), "no story says these, so nothing shows that they work: {forms:#?}");
}

#[test]
fn what_stands_in_capitals_is_explained() {
    let explained: String = HOLES.iter().map(|(hole, _)| format!("{hole}, ")).collect();
    let forms = STEPS.iter().map(|row| row.form);
    let forms =
        forms.chain(OPERATIONS.iter().map(|row| row.form)).chain(CONDITIONS.iter().map(|row| row.form));
    let numbers = ["NUMBER", "OPERATION", "CONDITION", "SIDES"];
    for hole in forms.flat_map(holes).filter(|hole| !numbers.contains(&hole.as_str())) {
        assert!(explained.contains(&format!("{hole}, ")), "{hole} is not explained");
    }
}

/// What is told of the last of these lines.
fn mistake(lines: &str) -> String {
    let text = format!("# failures row 0: none\n{lines}\n");
    match parse("story.txt", &text) {
        Ok(_) => panic!("it is read: {lines}"),
        Err(mistake) => {
            let last = lines.lines().count() + 1;
            assert_eq!((mistake.path.as_str(), mistake.line), ("story.txt", last), "{mistake}");
            mistake.to_string()
        }
    }
}

#[test]
fn a_mistake_is_told_with_its_line_and_what_to_write() {
    for (lines, told) in [
        ("put k 1 -> ok", "begins with `nodes`"),
        ("nodes 3\nnodes 3", "one cluster"),
        ("nodes 3\nputt k 1 -> ok", "no step begins with `putt`"),
        ("nodes 3\nput k 1", "put KEY VALUE"),
        ("nodes 3\nput k 1 2 -> ok", "put KEY VALUE"),
        ("nodes 3\nput \"k 1 -> ok", "never closed"),
        ("nodes 3\nget k -> ok", "never comes out as `ok`"),
        ("nodes 3\nput k 1 -> absent", "never comes out as `absent`"),
        ("nodes 3\nput k 1 -> error nothing", "put KEY VALUE"),
        ("nodes 3\nkill n4", "there is no n4, only n1 to n3"),
        ("nodes 3\nkill", "`kill NODES`: the end should be NODES"),
        ("nodes 3\nkill n1 soon", "`soon` should be the end of the line"),
        ("nodes 3\njoin n5", "the next to join is n4"),
        ("nodes 3\nwait 5", "`5` should be TIME"),
        ("nodes 3\nwait -5s", "`-5s` should be TIME"),
        ("nodes 3\nexpect a -> ok", "nothing was begun as `a`"),
        ("nodes 3\nbegin put k 1 as a\nbegin put k 2 as a", "`a` was begun above"),
        ("nodes 3\nuntil n1 dances", "until CONDITION"),
        ("nodes 3\nuntil leader of s1", "leader of SHARD in NODES"),
        ("nodes 3\npartition n1", "`partition SIDES`"),
    ] {
        let found = mistake(lines);
        assert!(found.contains(told), "{lines}:\n{found}");
        assert!(found.contains(lines.lines().last().unwrap()), "the line itself is shown: {found}");
    }
    for (lines, told) in [
        ("load 3", "`end load` is missing"),
        ("count 3", "`end count` is missing"),
        ("begin put k 1 as a", "what comes of `a`"),
        ("begin put k 1 as a\nexpect a -> waiting", "what comes of `a`"),
        ("load 3\nload 3", "end the load above first"),
        ("end count", "there is no count to end"),
    ] {
        let mistake = parse("a.txt", &format!("# failures row 0: none\nnodes 3\n{lines}\n")).unwrap_err();
        assert!(mistake.why.contains(told), "{lines}:\n{mistake}");
    }
    assert!(parse("a.txt", "nodes 3\n").unwrap_err().why.contains("# failures row"));
}

#[test]
fn words_in_brackets_may_be_left_out_and_values_quoted() {
    let steps =
        "nodes 3\nput k \"ok -> 5\" ttl 5s via n1 -> ok or unknown within 3s # all of it\nget k -> \"ok\"\n";
    let script = parse("a.txt", &format!("# failures row 0: none\n\n{steps}")).unwrap();
    let step = &script.steps[1];
    assert_eq!((step.line, step.args.text("via"), step.args.text("within")), (4, "n1", "3s"));
    let (_, put) = step.operation.as_ref().unwrap();
    assert_eq!((put.text("VALUE"), put.text("ttl")), ("ok -> 5", "5s"));
    assert_eq!(step.outcomes.len(), 2);
    assert_eq!(script.steps[2].outcomes[0].to_string(), "ok");
}
