//! From the arguments to the exit code.
//!
//! Promises: whatever happens, the process ends with a code that means what [`crate::cmd::exit`] says; a broken
//! invariant anywhere ends it at once, before a wrong state can spread. Does not: know any command.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::{ContextKind, ErrorKind};

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::log;
use crate::cmd::tree::{self, Command, Tree};
use crate::cmd::ui::{Colour, Format, Ui};

/// Runs the command that the arguments spell.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    end_on_panic();
    let parsed = tree::command().try_get_matches_from(&args).and_then(|found| Tree::from_arg_matches(&found));
    let (ui, answer) = match parsed {
        Ok(tree) => (tree.global.ui(), run(tree)),
        Err(error) => return ExitCode::from(misspelt(&error, &args).code()),
    };
    let exit = answer.unwrap_or_else(|failure| {
        ui.failure(&failure);
        failure.exit
    });
    // Not returned: a thread that waits for a line of stdin would hold the process up.
    std::process::exit(exit.code().into())
}

fn run(tree: Tree) -> Answer {
    let Tree { global, command } = tree;
    let mut builder = match command.is_busy() {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    // A thread for each processor, unless TOKIO_WORKER_THREADS says otherwise.
    let runtime = builder.enable_all().build().map_err(|error| {
        Failure::new(Exit::Unreachable, "cannot start")
            .caused_by(&error)
            .cure("the same again, with fewer programs running")
    })?;
    let answer = runtime.block_on(async {
        // These listen for ctrl-C themselves, and a node logs in its own way.
        if command.is_busy() {
            return command.run(&global).await;
        }
        log::start_for_command(&global.ui(), global.verbose)?;
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
            answer = run_boxed(command, &global) => answer,
        }
    });
    runtime.shutdown_background();
    answer
}

/// Boxed, since the futures of all commands together are large.
fn run_boxed(
    command: Command,
    global: &crate::cmd::global::Global,
) -> futures_util::future::LocalBoxFuture<'_, Answer> {
    Box::pin(command.run(global))
}

/// Arguments that make no sense, or a wish for help: says so in the usual form.
fn misspelt(error: &clap::Error, args: &[OsString]) -> Exit {
    let is_wish = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_wish || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader that has gone is no reason to complain.
        let _ = error.print();
        return if is_wish { Exit::Done } else { Exit::Usage };
    }
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let first = parts.next().unwrap_or_default().trim().trim_start_matches("error: ");
    let what = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut failure = Failure::usage(what).cure(format!("{} --help", path_of(args)));
    if let Some(usage) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let usage: Vec<&str> = usage.split_whitespace().filter(|word| *word != "Usage:").collect();
        if !usage.is_empty() {
            failure = failure.because(format!("usage: {}", usage.join(" ")));
        }
    }
    if let Some(tip) = parts.find_map(|part| part.trim().strip_prefix("tip: ")) {
        let tip = tip.split_whitespace().collect::<Vec<_>>().join(" ");
        failure = failure.because(tip);
    }
    Ui::new(wished_format(args), Colour::Auto, false, false).failure(&failure);
    Exit::Usage
}

/// The words that name a command, for `... --help`.
fn path_of(args: &[OsString]) -> String {
    let mut path = vec!["nomad".to_owned()];
    let mut at = tree::command();
    for word in args.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = at.find_subcommand(word).cloned() {
            path.push(word.to_owned());
            at = found;
        }
    }
    path.join(" ")
}

/// The format asked for by arguments that could not be parsed.
fn wished_format(args: &[OsString]) -> Option<Format> {
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    let spelt = ["-ojson", "-o=json", "--output=json", "-ojsonl", "-o=jsonl", "--output=jsonl"];
    let joined = words.iter().any(|word| spelt.contains(word));
    let apart = words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json" | "jsonl"]));
    let set = std::env::var("NODENOMAD_OUTPUT").is_ok_and(|value| value.starts_with("json"));
    (joined || apart || set).then_some(Format::Json)
}

/// A broken invariant ends the process: whatever went on from there would work on a state nobody understands.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        if crate::node::store::catches_panics() {
            return;
        }
        let place = panic.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
        let what = panic.payload_as_str().unwrap_or("no message");
        let failure = Failure::new(Exit::Bug, format!("nomad has a bug: {what}{place}"));
        Ui::new(None, Colour::Auto, false, false).failure(&failure);
        std::process::exit(Exit::Bug.code().into());
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn json_is_noticed_even_in_arguments_that_make_no_sense() {
        assert_eq!(wished_format(&args("nomad kv ge -o json")), Some(Format::Json));
        assert_eq!(wished_format(&args("nomad --output=jsonl nope")), Some(Format::Json));
        assert_eq!(wished_format(&args("nomad kv put -- json")), None);
    }

    #[test]
    fn help_is_suggested_for_the_command_meant() {
        assert_eq!(path_of(&args("nomad -q kv put k --nope")), "nomad kv put");
        assert_eq!(path_of(&args("nomad nope")), "nomad");
    }
}
