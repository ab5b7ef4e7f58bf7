//! `nomad man`: the manual pages.

use std::path::{Path, PathBuf};

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;

/// Write the manual pages into a folder
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Where to
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    /// Writes a page for each command of `tree`.
    pub fn run(self, global: &Global, tree: clap::Command) -> Answer {
        let pages = write(&self.dir, tree)?;
        global.ui().note(&format!("{pages} pages in {}", self.dir.display()));
        Ok(Exit::Done)
    }
}

/// Writes all pages; returns how many.
pub fn write(dir: &Path, tree: clap::Command) -> Result<u64, Failure> {
    let what = || format!("cannot write to {}", dir.display());
    std::fs::create_dir_all(dir).or_fail(what)?;
    let mut tree = tree.disable_help_subcommand(true);
    tree.build();
    clap_mangen::generate_to(tree.clone(), dir).or_fail(what)?;
    Ok(pages(&tree))
}

fn pages(tree: &clap::Command) -> u64 {
    1 + tree.get_subcommands().map(pages).sum::<u64>()
}
