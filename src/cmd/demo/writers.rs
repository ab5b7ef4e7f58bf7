//! Clients that write while something happens.
//!
//! Each puts one new key after the other. Promises: every write is recorded as acknowledged, failed or unknown, before the
//! next of its writer. Does not: retry (the client library does, inside a call).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::client::{Client, PutOptions};
use crate::cmd::demo::ledger::{self, Ledger};
use crate::cmd::demo::stage::Stage;
use crate::cmd::exit::Exit;
use crate::cmd::fail::Failure;
use crate::net::exec::Exec;

/// Pause of a writer after a failure, so that a dead cluster is not hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Those that write now. They go on until they are stopped.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts one for each of `beside`: the loaded keys next to which they write.
    pub async fn start(stage: &Stage, ledger: &Ledger, beside: &[u64]) -> Result<Writers, Failure> {
        let mut writers = Writers { stop: Arc::default(), tasks: Vec::new() };
        for beside in beside {
            let (client, ledger, stop) = (stage.connect().await?, ledger.clone(), writers.stop.clone());
            let writer = ledger.next_writer();
            writers.tasks.push(Exec::Threads.spawn(write_on(client, ledger, stop, (*beside, writer))));
        }
        Ok(writers)
    }

    /// Returns once the last write of each has an outcome.
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            // A writer ends within the time-out of its last call.
            let _ = task.await;
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Writes one key after the other until told to stop.
async fn write_on(client: Client, ledger: Ledger, stop: Arc<AtomicBool>, (beside, writer): (u64, u64)) {
    for nth in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let key = ledger::live_key(beside, writer, nth);
        let written = client.put_with(key.as_bytes(), ledger::value(&key), &PutOptions::default()).await;
        match written {
            Ok(_) => {
                if !ledger.acknowledge(key) {
                    return;
                }
            }
            Err(error) => {
                match Exit::from_code(i64::from(error.exit_code())).promises_no_change() {
                    true => ledger.fail(),
                    false => ledger.unknown(key),
                }
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
