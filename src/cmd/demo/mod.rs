//! # `nomad demo`: the guided tour
use crate::cmd::fail::Answer;
use crate::cmd::global::Global;
/// Take the guided tour
#[derive(Debug, clap::Args)]
pub struct Demo {}
impl Demo {
    pub async fn run(self, _global: &Global) -> Answer {
        todo!()
    }
}
