//! The options that every command takes.
//!
//! Promises: a flag wins over the environment, that over the context file, that over what is built in. Does not:
//! connect.

use std::path::Path;
use std::time::Duration;

use crate::cmd::context_file::{self, Context, Contexts};
use crate::cmd::fail::Failure;
use crate::cmd::spell;
use crate::cmd::ui::{Colour, Format, Ui};

/// How long a command waits unless told.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Options before or after any command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Members to talk to, instead of the context's
    #[arg(short, long, global = true, env = "NODENOMAD_ENDPOINT", hide_env_values = true, value_delimiter = ',',
          value_name = "HOST:PORT", value_parser = endpoint)]
    pub endpoint: Vec<String>,

    /// Which cluster, by the name of a context or by its file (with a `/` in it or ending in .toml)
    #[arg(
        short,
        long,
        global = true,
        env = "NODENOMAD_CONTEXT",
        hide_env_values = true,
        value_name = "NAME|FILE"
    )]
    pub context: Option<String>,

    /// How answers are written
    #[arg(
        short,
        long,
        global = true,
        env = "NODENOMAD_OUTPUT",
        hide_env_values = true,
        value_name = "FORMAT"
    )]
    pub output: Option<Format>,

    /// How long to wait, such as 500ms, 30s or 2m [default: 10s]
    #[arg(long, global = true, env = "NODENOMAD_TIMEOUT", hide_env_values = true, value_parser = spell::duration)]
    pub timeout: Option<Duration>,

    /// Answer questions with yes
    #[arg(short, long, global = true)]
    pub yes: bool,

    /// Only the answer: no notes, no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// Log to stderr what happens; twice: more of it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// When to colour; NO_COLOR is honoured
    #[arg(
        long,
        global = true,
        env = "NODENOMAD_COLOR",
        hide_env_values = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = false
    )]
    pub color: Colour,
}

/// The cluster a command is for, and where its description came from.
pub struct Target {
    pub context: Context,
    /// The file to keep fresh, if the endpoints are from there.
    pub file: Option<std::path::PathBuf>,
    pub timeout: Duration,
}

impl Global {
    /// The terminal as these options want it.
    pub fn ui(&self) -> Ui {
        Ui::new(self.output, self.color, self.quiet, self.yes)
    }

    /// The cluster meant. Reads context files only where it must.
    pub fn target(&self) -> Result<Target, Failure> {
        let (mut context, file) = match &self.context {
            Some(text) if is_path(text) => (Context::read(Path::new(text))?, Some(text.into())),
            Some(name) => named(&Contexts::of_user()?, name)?,
            None => match self.current() {
                Ok(Some(found)) => found,
                Ok(None) if self.endpoint.is_empty() => return Err(context_file::nothing_chosen()),
                Err(failure) if self.endpoint.is_empty() => return Err(failure),
                // Only an insecure cluster answers somebody without an identity.
                Ok(None) | Err(_) => (Context { insecure: true, ..Context::default() }, None),
            },
        };
        let timeout = self.timeout(&context)?;
        if self.endpoint.is_empty() {
            return Ok(Target { context, file, timeout });
        }
        context.endpoints = self.endpoint.clone();
        Ok(Target { context, file: None, timeout })
    }

    fn current(&self) -> Result<Option<(Context, Option<std::path::PathBuf>)>, Failure> {
        let contexts = Contexts::of_user()?;
        contexts.current()?.map(|name| named(&contexts, &name)).transpose()
    }

    fn timeout(&self, context: &Context) -> Result<Duration, Failure> {
        match (self.timeout, &context.timeout) {
            (Some(given), _) => Ok(given),
            (None, Some(text)) => spell::duration(text).map_err(|reason| {
                Failure::usage(format!("the context `{}` has no usable timeout", context.name))
                    .because(reason)
            }),
            (None, None) => Ok(TIMEOUT_DEFAULT),
        }
    }
}

fn named(contexts: &Contexts, name: &str) -> Result<(Context, Option<std::path::PathBuf>), Failure> {
    Ok((contexts.get(name)?, Some(contexts.path(name)?)))
}

fn is_path(text: &str) -> bool {
    text.contains('/') || text.ends_with(".toml")
}

fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim();
    if context_file::is_endpoint(text) {
        Ok(text.to_owned())
    } else {
        Err("write it as HOST:PORT".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        global: Global,
    }

    fn target(folder: &tempfile::TempDir, args: &str) -> Target {
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "endpoints = ['file:1']\ninsecure = true\ntimeout = '7s'\n").unwrap();
        let args = args.replace("FILE", file.to_str().unwrap());
        let only = Only::try_parse_from(std::iter::once("x").chain(args.split_whitespace())).unwrap();
        only.global.target().unwrap()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_that_over_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let of_file = target(&folder, "-c FILE");
        assert_eq!((of_file.context.endpoints, of_file.timeout.as_secs()), (vec!["file:1".to_owned()], 7));
        assert!(of_file.file.is_some());
        let of_flag = target(&folder, "-c FILE -e flag:1,flag:2 --timeout 2s");
        assert_eq!(of_flag.context.endpoints, ["flag:1", "flag:2"]);
        assert_eq!(of_flag.timeout.as_secs(), 2);
        assert!(of_flag.file.is_none(), "endpoints of a flag are not written to the file");
    }

    #[test]
    fn an_endpoint_must_look_like_one() {
        assert!(Only::try_parse_from(["x", "-e", "nowhere"]).is_err());
    }
}
