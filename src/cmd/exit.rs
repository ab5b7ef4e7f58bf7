//! How the program ends: one number, the same meaning everywhere.
//!
//! Promises: [`Exit::Usage`], [`Exit::Unreachable`], [`Exit::Forbidden`] and [`Exit::Conflict`] are only used where
//! nothing changed; where nobody can know, it is [`Exit::Unknown`]. Does not: end the process (`main` does).

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, yes, found, healthy; also: the reader closed the pipe.
    Done = 0,
    /// The answer is no: absent key, failed condition, unhealthy.
    No = 1,
    /// The command makes no sense as typed. Nothing changed.
    Usage = 2,
    /// Nobody could be reached, or time ran out first. Nothing changed.
    Unreachable = 3,
    /// Not allowed. Nothing changed.
    Forbidden = 4,
    /// Something else got in between; the same again may work. Nothing changed.
    Conflict = 5,
    /// It may or may not have happened, in whole or in part.
    Unknown = 6,
    /// Data or files are damaged.
    Damaged = 7,
    /// A bug of ours.
    Bug = 70,
    /// Somebody pressed ctrl-C.
    Interrupted = 130,
}

/// All of them with what `--help` says about each.
pub const MEANINGS: [(Exit, &str); 10] = [
    (Exit::Done, "done"),
    (Exit::No, "the answer is no: absent key, failed condition, unhealthy"),
    (Exit::Usage, "wrong usage; nothing changed"),
    (Exit::Unreachable, "unreachable or out of time; nothing changed"),
    (Exit::Forbidden, "not allowed; nothing changed"),
    (Exit::Conflict, "conflict, try again; nothing changed"),
    (Exit::Unknown, "outcome unknown: it may or may not have happened"),
    (Exit::Damaged, "damaged data"),
    (Exit::Bug, "a bug of ours"),
    (Exit::Interrupted, "interrupted"),
];

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit of a number from elsewhere (the client library); a number without a meaning is a bug.
    pub fn from_code(code: i64) -> Exit {
        let known = MEANINGS.iter().find(|(exit, _)| i64::from(exit.code()) == code);
        known.map_or(Exit::Bug, |(exit, _)| *exit)
    }

    /// True if this exit promises that nothing changed.
    pub fn promises_no_change(self) -> bool {
        matches!(self, Exit::Usage | Exit::Unreachable | Exit::Forbidden | Exit::Conflict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_contract() {
        let codes: Vec<u8> = MEANINGS.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 70, 130]);
        for code in codes {
            assert_eq!(Exit::from_code(code.into()).code(), code);
        }
        assert_eq!(Exit::from_code(99), Exit::Bug);
        assert_eq!(Exit::from_code(-1), Exit::Bug);
    }
}
