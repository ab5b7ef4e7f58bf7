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
    // `help` would repeat every page.
    let mut tree = tree.disable_help_subcommand(true);
    tree.build();
    let mut pages = 0;
    let mut left = vec![tree];
    while let Some(command) = left.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let file = dir.join(format!("{name}.1"));
        let mut page = Vec::new();
        let manual = clap_mangen::Man::new(command.clone().name(name)).manual("NodeNomad Manual");
        manual.render(&mut page).or_fail(what)?;
        std::fs::write(file, page).or_fail(what)?;
        pages += 1;
        left.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
    }
    Ok(pages)
}
