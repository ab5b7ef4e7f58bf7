//! What is generated from the tree of commands and committed: completions, manual pages, and the whole help.
//!
//! A change of the command line shows up in review as a difference in these files.

use std::collections::BTreeMap;
use std::path::Path;

use clap_complete::Shell;
use nodenomad::cmd;

const REFRESH: &str = "cargo run -- man man; for s in bash zsh fish; do case $s in zsh) f=_nomad;; *) f=nomad.$s;; esac; \
                       cargo run -- completions $s > completions/$f; done";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("a readable folder");
        let text = std::fs::read_to_string(entry.path()).expect("text");
        (entry.file_name().into_string().expect("a plain name"), text)
    };
    entries.map(read).collect()
}

#[test]
fn manual_pages_are_up_to_date() {
    let fresh = tempfile::tempdir().expect("a temporary directory");
    cmd::man::write(fresh.path(), cmd::command()).expect("it can be written to");
    let (fresh, committed) = (files(fresh.path()), files(&root().join("man")));
    assert!(fresh.keys().eq(committed.keys()), "pages are missing or left over; refresh with:\n{REFRESH}");
    for (name, page) in &fresh {
        assert!(page == &committed[name], "man/{name} is not up to date; refresh with:\n{REFRESH}");
    }
}

#[test]
fn completions_are_up_to_date() {
    for (shell, name) in [(Shell::Bash, "nomad.bash"), (Shell::Zsh, "_nomad"), (Shell::Fish, "nomad.fish")] {
        let fresh = cmd::completions::script(shell, cmd::command());
        let committed = std::fs::read(root().join("completions").join(name)).unwrap_or_default();
        assert!(fresh == committed, "completions/{name} is not up to date; refresh with:\n{REFRESH}");
    }
}

#[test]
fn the_whole_help() {
    let mut text = String::new();
    let mut tree = cmd::command().term_width(100);
    tree.build();
    help(&tree, &mut text);
    insta::assert_snapshot!(text);
}

/// The long help of a command and of all below it. The global options are shown once, at the top.
fn help(command: &clap::Command, text: &mut String) {
    let path = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = command.clone().render_long_help().to_string();
    let (own, global) = page.split_once("\nGlobal options:").unwrap_or((&page, ""));
    let shown = if text.is_empty() && !global.is_empty() { page.as_str() } else { own };
    *text += &format!("## {path}\n\n{}\n\n", shown.trim_end());
    for below in command.get_subcommands() {
        help(below, text);
    }
}
