//! What a simulated file holds, in pages; a page of zeros takes no room.

use std::collections::BTreeMap;
use std::io;

const PAGE: usize = 4096;

#[derive(Clone, Default)]
pub struct Content {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    pub len: u64,
}

impl Content {
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset + buffer.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (n, byte_run) in runs(offset, buffer.len()) {
            let target = &mut buffer[byte_run.in_buffer.clone()];
            match self.pages.get(&n) {
                Some(page) => target.copy_from_slice(&page[byte_run.in_page]),
                None => target.fill(0),
            }
        }
        Ok(())
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len() as u64);
        for (n, run) in runs(offset, bytes.len()) {
            let source = &bytes[run.in_buffer];
            if !self.pages.contains_key(&n) && source.iter().all(|byte| *byte == 0) {
                continue; // a page of zeros takes no room
            }
            let page = self.pages.entry(n).or_insert_with(|| Box::new([0; PAGE]));
            page[run.in_page].copy_from_slice(source);
        }
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let first_gone = len.div_ceil(PAGE as u64);
            self.pages.split_off(&first_gone);
            if let Some(page) = self.pages.get_mut(&(len / PAGE as u64)) {
                page[(len % PAGE as u64) as usize..].fill(0);
            }
        }
        self.len = len;
    }
}

struct Run {
    in_buffer: std::ops::Range<usize>,
    in_page: std::ops::Range<usize>,
}

/// The pages that `len` bytes at `offset` touch.
fn runs(offset: u64, len: usize) -> impl Iterator<Item = (u64, Run)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = (at % PAGE as u64) as usize;
        let count = (PAGE - start).min(len - done);
        let run = Run { in_buffer: done..done + count, in_page: start..start + count };
        done += count;
        Some((at / PAGE as u64, run))
    })
}
