//! The runtime openraft runs on: tokio, with spawning and chance behind our seams.
//!
//! openraft takes its runtime as a type, so what differs between the real and the simulated world is found in a
//! thread-local: a simulated world runs on one thread and calls [`simulate`] there first.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use openraft::OptionalSend;
use openraft_rt::AsyncRuntime;
use openraft_rt_tokio::{TokioInstant, TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime, TokioWatch};
use rand::TryRng;

use crate::net::chance::Chance;

/// The type handed to openraft.
#[derive(Debug)]
pub struct Runtime;

/// Where openraft draws its election time-outs from.
#[derive(Clone)]
pub struct RuntimeRng(Chance);

thread_local! {
    static SIMULATED: RefCell<Option<Chance>> = const { RefCell::new(None) };
    static SYSTEM: Chance = Chance::system();
}

/// From now on openraft's tasks on this thread belong to the `LocalSet` that spawns them and its chance is seeded.
pub fn simulate(chance: Chance) {
    SIMULATED.with(|simulated| *simulated.borrow_mut() = Some(chance));
}

impl TryRng for RuntimeRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.number() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.number())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.number().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = RuntimeRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match SIMULATED.with(|simulated| simulated.borrow().is_some()) {
            true => tokio::task::spawn_local(future),
            false => tokio::task::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        let simulated = SIMULATED.with(|simulated| simulated.borrow().clone());
        RuntimeRng(simulated.unwrap_or_else(|| SYSTEM.with(Chance::clone)))
    }

    fn new(_threads: usize) -> Self {
        Runtime
    }

    fn block_on<F, T>(&mut self, _future: F) -> T
    where
        F: Future<Output = T>,
    {
        unreachable!("openraft is always run inside a runtime of ours")
    }
}
