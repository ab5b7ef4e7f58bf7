//! Where secrets are drawn from: the operating system.
//!
//! A simulated cluster draws them from its seed instead. They protect nothing there, and they end up in logs and files, whose
//! bytes a run that is repeated must repeat.

use crate::net::chance::Chance;

/// A source of secrets. Cheap to clone.
#[derive(Clone)]
pub enum Secrets {
    /// The operating system.
    System,
    /// Of a simulated cluster. Whoever knows the seed knows them.
    Simulated(Chance),
}

impl Secrets {
    pub(super) fn fill(&self, bytes: &mut [u8]) {
        match self {
            Secrets::System => getrandom::fill(bytes).expect("the operating system has randomness"),
            Secrets::Simulated(chance) => bytes.fill_with(|| chance.number() as u8),
        }
    }
}
