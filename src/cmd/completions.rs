//! `nomad completions`: what a shell needs to complete our commands.

use clap_complete::Shell;

use crate::cmd::exit::Exit;
use crate::cmd::fail::Answer;
use crate::cmd::global::Global;

/// Print the completion script of a shell
///
/// For instance: nomad completions bash > ~/.local/share/bash-completion/completions/nomad
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Writes the script for the whole `tree`.
    pub fn run(self, global: &Global, tree: clap::Command) -> Answer {
        global.ui().bytes(&script(self.shell, tree))?;
        Ok(Exit::Done)
    }
}

/// The script of a shell.
pub fn script(shell: Shell, mut tree: clap::Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, "nomad", &mut script);
    script
}
