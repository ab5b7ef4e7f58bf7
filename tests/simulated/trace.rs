//! What happened in a run, line by line with its time: what a run that is repeated must repeat to the letter.

use std::cell::{Cell, RefCell};

use tokio::time::Instant;

/// Shows the trace while it is written, on stderr.
const TRACE_VARIABLE: &str = "NOMAD_SIM_TRACE";

pub struct Trace {
    begin: Instant,
    shown: bool,
    /// Whether all lines are kept, or their hash only.
    kept: Cell<bool>,
    text: RefCell<String>,
    hash: RefCell<blake3::Hasher>,
}

impl Trace {
    pub fn new() -> Trace {
        Trace {
            begin: Instant::now(),
            shown: std::env::var_os(TRACE_VARIABLE).is_some(),
            kept: Cell::new(true),
            text: RefCell::default(),
            hash: RefCell::default(),
        }
    }

    /// From now on no line is kept, so that a run can be long.
    pub fn keep_hash_only(&self) {
        self.kept.set(false);
        self.text.take();
    }

    /// Adds a line.
    pub fn note(&self, line: &str) {
        let line = format!("{:?} {line}\n", self.begin.elapsed());
        if self.shown {
            eprint!("{line}");
        }
        self.hash.borrow_mut().update(line.as_bytes());
        if self.kept.get() {
            *self.text.borrow_mut() += &line;
        }
    }

    /// All lines so far, if they are kept.
    pub fn text(&self) -> String {
        self.text.borrow().clone()
    }

    /// The hash of all lines so far.
    pub fn hash(&self) -> String {
        self.hash.borrow().finalize().to_hex().to_string()
    }
}

/// Where two traces part: the first line that is not the same in both, with its number. `None` if they are equal.
pub fn first_difference(one: &str, other: &str) -> Option<String> {
    if one == other {
        return None;
    }
    let same = one.lines().zip(other.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(it ends)").to_owned();
    Some(format!("line {}:\n  one:   {}\n  other: {}", same + 1, line(one), line(other)))
}
