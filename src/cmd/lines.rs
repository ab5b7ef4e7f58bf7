//! Lines of input, each with its number, each of bounded length.
//!
//! Promises: never holds more than [`LINE_MAX_BYTES`] of one line. Does not: look inside.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::cmd::fail::{Failure, OrFail};

/// The longest line, in bytes: the largest value in base64 and its key with room to spare.
pub const LINE_MAX_BYTES: usize = 32 << 20;

/// A reader of lines.
pub struct Lines<R> {
    source: R,
    max_bytes: usize,
    number: u64,
    bytes: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub fn new(source: R) -> Lines<R> {
        Lines::bounded(source, LINE_MAX_BYTES)
    }

    fn bounded(source: R, max_bytes: usize) -> Lines<R> {
        Lines { source, max_bytes, number: 0, bytes: 0 }
    }

    /// The number of the line read last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How much was read so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line without its end; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        self.number += 1;
        loop {
            let what = || format!("cannot read line {}", self.number);
            let chunk = self.source.fill_buf().await.or_fail(what)?;
            if chunk.is_empty() {
                return Ok(Some(line).filter(|line| !line.is_empty()));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            if line.len() + taken > self.max_bytes {
                return Err(Failure::usage(format!("line {} is too long", self.number))
                    .because(format!("lines have at most {} bytes", self.max_bytes)));
            }
            line.extend_from_slice(&chunk[..taken]);
            let consumed = taken + usize::from(end.is_some());
            self.source.consume(consumed);
            self.bytes += consumed as u64;
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_have_numbers_and_ends_do_not_matter() {
        let mut lines = Lines::new(&b"a\n\nlast"[..]);
        for (number, line) in [(1, "a"), (2, ""), (3, "last")] {
            assert_eq!(lines.next().await.unwrap().unwrap(), line.as_bytes());
            assert_eq!(lines.number(), number);
        }
        assert_eq!(lines.next().await.unwrap(), None);
        assert_eq!(lines.bytes(), 7);
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused_by_its_number() {
        let source = tokio::io::BufReader::with_capacity(3, &b"ok\n123456789"[..]);
        let mut lines = Lines::bounded(source, 8);
        assert!(lines.next().await.is_ok());
        let failure = lines.next().await.unwrap_err();
        assert!(failure.error.contains("line 2"), "{}", failure.error);
    }
}
