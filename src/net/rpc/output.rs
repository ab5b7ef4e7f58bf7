//! Counts the answers that the other side has not taken.
//!
//! Promises: what was added is subtracted when its share is dropped, and whoever waits below the mark is woken then. Does
//! not hold the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Output {
    bytes: AtomicUsize,
    /// Somebody waits for a fall: only then is there anybody to wake.
    watched: AtomicBool,
    fell: Notify,
}

/// One answer's part of the count.
pub(super) struct Share {
    output: Arc<Output>,
    bytes: usize,
}

impl Output {
    /// Counts an answer; also returns the new sum.
    pub(super) fn add(self: &Arc<Output>, bytes: usize) -> (Share, usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        (Share { output: Arc::clone(self), bytes }, before + bytes)
    }

    /// Waits while more than this is counted.
    pub(super) async fn below(&self, mark_bytes: usize) {
        if self.bytes.load(Ordering::SeqCst) <= mark_bytes {
            return;
        }
        loop {
            // Both before looking, so that a fall in between is not missed.
            let fell = self.fell.notified();
            self.watched.store(true, Ordering::SeqCst);
            if self.bytes.load(Ordering::SeqCst) <= mark_bytes {
                return;
            }
            fell.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.output.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.output.watched.load(Ordering::SeqCst) && self.output.watched.swap(false, Ordering::SeqCst) {
            self.output.fell.notify_waiters();
        }
    }
}
