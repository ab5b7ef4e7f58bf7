//! `nomad version`: what this program is.

use serde::Serialize;

use crate::cmd::exit::Exit;
use crate::cmd::fail::Answer;
use crate::cmd::global::Global;

/// Print the version
#[derive(Debug, clap::Args)]
pub struct Version {}

#[derive(Serialize)]
struct VersionView {
    name: &'static str,
    version: &'static str,
}

impl Version {
    pub fn run(self, global: &Global) -> Answer {
        let view = VersionView { name: "NodeNomad", version: env!("CARGO_PKG_VERSION") };
        let text = || format!("{} {}", view.name, view.version);
        global.ui().show(&view, text, || view.version.to_owned())?;
        Ok(Exit::Done)
    }
}
