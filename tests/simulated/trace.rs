//! What happened in a run, line by line with its time: what a run that is repeated must repeat to the letter.

use std::cell::RefCell;

use tokio::time::Instant;

/// Shows the trace while it is written, on stderr.
const TRACE_VARIABLE: &str = "NOMAD_SIM_TRACE";

pub struct Trace {
    begin: Instant,
    shown: bool,
    text: RefCell<String>,
}

impl Trace {
    pub fn new() -> Trace {
        let shown = std::env::var_os(TRACE_VARIABLE).is_some();
        Trace { begin: Instant::now(), shown, text: RefCell::default() }
    }

    /// Adds a line.
    pub fn note(&self, line: &str) {
        let line = format!("{:?} {line}\n", self.begin.elapsed());
        if self.shown {
            eprint!("{line}");
        }
        *self.text.borrow_mut() += &line;
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        self.text.borrow().clone()
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
