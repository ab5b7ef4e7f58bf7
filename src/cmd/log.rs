//! Log lines: for people on a terminal, JSON for machines; always on stderr.
//!
//! Promises: set up once, before anything can log. Does not: rotate or ship files.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::cmd::fail::Failure;
use crate::cmd::ui::Ui;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// Starts logging at `level`: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,nodenomad::net=debug`.
pub fn start(ui: &Ui, format: LogFormat, level: &str) -> Result<(), Failure> {
    // The consensus library narrates; a bare level is meant for us.
    let directives = match level.contains([',', '=']) {
        true => level.to_owned(),
        false => format!("{level},openraft=error"),
    };
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::usage(format!("`{level}` is not a log level"))
            .caused_by(&error)
            .cure("--log-level error, warn, info, debug or trace")
    })?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ui.is_coloured());
    // The second of two calls loses; only tests call twice.
    let _ = match format {
        LogFormat::Human => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    Ok(())
}

/// Starts logging for an ordinary command: nothing, unless `-v` asks for it.
pub fn start_for_command(ui: &Ui, verbose: u8) -> Result<(), Failure> {
    match verbose {
        0 => Ok(()),
        1 => start(ui, LogFormat::Human, "info,nodenomad=debug"),
        _ => start(ui, LogFormat::Human, "debug,nodenomad=trace"),
    }
}
