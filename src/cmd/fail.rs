//! What a command says when it fails: what, because of what, and what to type now.
//!
//! Promises: every failure has an [`Exit`] and a cure; causes are told once each, outermost first. Does not print
//! ([`crate::cmd::ui`] does).

use std::error::Error as StdError;
use std::io;

use crate::client;
use crate::cmd::exit::Exit;

/// Most causes told; a longer chain tells nobody anything.
const CAUSES_MAX: usize = 8;

/// How a command ended.
pub type Answer = Result<Exit, Failure>;

/// A command that did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// What failed, in the user's words.
    pub error: String,
    /// Why, outermost first.
    pub because: Vec<String>,
    /// What to type now.
    #[serde(rename = "try")]
    pub cure: String,
    #[serde(rename = "exit_code", serialize_with = "as_number")]
    pub exit: Exit,
}

impl Failure {
    /// A failure with the cure that usually helps with such an exit.
    pub fn new(exit: Exit, error: impl Into<String>) -> Failure {
        Failure { error: error.into(), because: Vec::new(), cure: usual_cure(exit).to_owned(), exit }
    }

    /// The command makes no sense as typed.
    pub fn usage(error: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, error)
    }

    /// Whoever read our answers has heard enough: not an error, nothing is said.
    pub fn reader_gone() -> Failure {
        Failure::new(Exit::Done, String::new())
    }

    /// Adds a cause in words.
    pub fn because(mut self, cause: impl Into<String>) -> Failure {
        self.because.push(cause.into());
        self
    }

    /// Adds an error and everything it came from.
    pub fn caused_by(mut self, error: &(dyn StdError + 'static)) -> Failure {
        let mut next = Some(error);
        while let Some(error) = next.filter(|_| self.because.len() < CAUSES_MAX) {
            let text = error.to_string();
            // Many libraries repeat their source in their own text.
            if !text.is_empty() && !self.because.last().is_some_and(|above| above.contains(&text)) {
                self.because.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Something was written before this: an exit that promises that nothing changed would be wrong.
    pub fn after_changes(self) -> Failure {
        match self.exit.promises_no_change() {
            true => Failure { exit: Exit::Unknown, ..self },
            false => self,
        }
    }

    /// Says what to type now.
    pub fn cure(mut self, cure: impl Into<String>) -> Failure {
        self.cure = cure.into();
        self
    }

    /// True if there is nothing to say.
    pub fn is_silent(&self) -> bool {
        self.error.is_empty()
    }

    /// The three parts as text; `paint` colours a label.
    pub fn render(&self, paint: impl Fn(&str) -> String) -> String {
        let mut text = format!("{} {}\n", paint("error:"), self.error);
        for cause in &self.because {
            text += &format!("{} {cause}\n", paint("because:"));
        }
        if !self.cure.is_empty() {
            text += &format!("{} {}\n", paint("try:"), self.cure);
        }
        text
    }
}

/// Turns an error of a library into a [`Failure`] by saying what was being done.
pub trait OrFail<T> {
    /// `what` says what failed, in the user's words.
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> OrFail<T> for Result<T, client::Error> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let exit = Exit::from_code(i64::from(error.exit_code()));
            let failure = Failure::new(exit, what()).caused_by(&error);
            match cure_of(&error) {
                Some(cure) => failure.cure(cure),
                None => failure,
            }
        })
    }
}

/// Files of the user's: a failure there changes nothing in the cluster.
impl<T> OrFail<T> for io::Result<T> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(Exit::Forbidden, what())
                .caused_by(&error)
                .cure("the same as a user who may, or another place (see `nomad --help`)"),
            _ => Failure::usage(what())
                .caused_by(&error)
                .cure("the same with a path that exists and can be used"),
        })
    }
}

/// A better cure than the usual one of the exit.
fn cure_of(error: &client::Error) -> Option<&'static str> {
    match error {
        client::Error::TooOld(_) => {
            Some("a later time; nomad config get retention_ms tells how far back the past can be read")
        }
        error if error.trouble().is_foreign() => {
            Some("-c with a context of that cluster (DIR/admin.toml of its first node), or -e of another one")
        }
        client::Error::NotFound(_) => Some("the same with a name that `ls` shows"),
        client::Error::Full(_) => {
            Some("room on that node's disk; or nomad kv del of what is not needed, which still works")
        }
        client::Error::TimedOut(_) => Some("nomad status, then the same with a longer --timeout"),
        _ => None,
    }
}

fn usual_cure(exit: Exit) -> &'static str {
    match exit {
        Exit::Done | Exit::Interrupted => "",
        Exit::No => "nomad status",
        Exit::Usage => "the same with --help",
        Exit::Unreachable => "nomad up (starts a local cluster), or -e HOST:PORT of a member that runs",
        Exit::Forbidden => "nomad context ls (who am I?), then -c NAME with an identity that may",
        Exit::Conflict => "the same again",
        Exit::Unknown => "read it back before writing again, for instance with nomad kv get",
        Exit::Damaged => "nomad status; keep the damaged files, other replicas have the data",
        Exit::Bug => "the same with -vv, and report what it says",
    }
}

fn as_number<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] io::Error);

    #[test]
    fn three_parts_and_each_cause_once() {
        let outer = Outer(io::Error::other(Outer(io::Error::other("refused"))));
        let failure = Failure::new(Exit::Unreachable, "cannot read /a").caused_by(&outer).cure("nomad up");
        let text = failure.render(str::to_owned);
        assert_eq!(text, "error: cannot read /a\nbecause: cannot connect\nbecause: refused\ntry: nomad up\n");
    }

    #[test]
    fn every_failure_has_a_cure() {
        for (exit, _) in crate::cmd::exit::MEANINGS {
            let quiet = matches!(exit, Exit::Done | Exit::Interrupted);
            assert_eq!(Failure::new(exit, "x").cure.is_empty(), quiet, "{exit:?}");
        }
    }

    #[test]
    fn after_changes_no_exit_promises_that_there_were_none() {
        let exit = |exit| Failure::new(exit, "x").after_changes().exit;
        assert_eq!((exit(Exit::Unreachable), exit(Exit::Usage)), (Exit::Unknown, Exit::Unknown));
        assert_eq!((exit(Exit::Damaged), exit(Exit::Unknown)), (Exit::Damaged, Exit::Unknown));
    }

    #[test]
    fn as_json_it_names_its_exit_code() {
        let json = serde_json::to_value(Failure::usage("no").because("why")).unwrap();
        assert_eq!(json["exit_code"], 2);
        assert_eq!(json["error"], "no");
        assert_eq!(json["because"][0], "why");
        assert!(json["try"].is_string());
    }
}
