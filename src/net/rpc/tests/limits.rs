//! What one connection may have open at once, whoever it is.

use super::*;

/// Handlers under way at the other side.
struct Busy {
    now: Mutex<usize>,
    most: Mutex<usize>,
}

impl Busy {
    fn one(self: &Arc<Busy>) -> Leaving {
        let mut now = self.now.lock();
        *now += 1;
        let mut most = self.most.lock();
        *most = (*most).max(*now);
        Leaving(Arc::clone(self))
    }
}

struct Leaving(Arc<Busy>);

impl Drop for Leaving {
    fn drop(&mut self) {
        *self.0.now.lock() -= 1;
    }
}

/// Everything takes a second.
struct Slow(Arc<Busy>);

impl Service for Slow {
    fn call(&self, _: &Arc<dyn Connection>, _: u16, _: Bytes) -> BoxFuture<'static, Bytes> {
        let busy = Arc::clone(&self.0);
        Box::pin(async move {
            let _one = busy.one();
            sleep(Duration::from_secs(1)).await;
            byte(1)
        })
    }

    fn stream(
        &self,
        _: &Arc<dyn Connection>,
        _: u16,
        _: Bytes,
        mut frames: FrameStream,
    ) -> BoxFuture<'static, ()> {
        let busy = Arc::clone(&self.0);
        Box::pin(async move {
            let _one = busy.one();
            sleep(Duration::from_secs(1)).await;
            let _ = frames.finish().await;
        })
    }
}

/// The most that was under way at once, of work that an accepted connection of this class does.
async fn most_at_once<F: Future<Output = ()>>(
    class: Class,
    work: impl FnOnce(Arc<dyn Connection>, Caller) -> F,
) -> usize {
    let net = SimNet::new(Chance::from_seed(1));
    let (a, b) = (net.transport("a:1", node(1)), net.transport("b:1", node(2)));
    let connection = a.connect(&address("b:1"), class, None).await.unwrap();
    let busy = Arc::new(Busy { now: Mutex::default(), most: Mutex::default() });
    let accepted = b.accept().await.unwrap();
    EXEC.spawn(serve(
        accepted,
        Arc::new(Slow(Arc::clone(&busy))),
        EXEC,
        ServeLimits::for_class(class),
        Arc::default(),
    ));
    let caller = Caller::open(Arc::clone(&connection), EXEC).await.unwrap();
    work(connection, caller).await;
    *busy.most.lock()
}

#[test]
fn streams_of_a_connection_are_counted_and_the_next_waits() {
    for class in [Class::Bulk, Class::Client] {
        simulated(async {
            let limit = ServeLimits::for_class(class).streams;
            let most = most_at_once(class, async |connection, _caller| {
                let streams = (0..limit + 10).map(async |_| {
                    let mut stream = open_stream(&connection, 1, Bytes::new()).await.unwrap();
                    assert_eq!(stream.recv().await.unwrap(), None, "it has its turn");
                });
                join_all(streams).await;
            });
            // One is the stream of calls.
            assert_eq!(most.await, limit - 1);
        });
    }
}

#[test]
fn large_calls_of_a_connection_are_counted_and_the_next_waits() {
    for class in [Class::Bulk, Class::Client] {
        simulated(async {
            let limit = ServeLimits::for_class(class).large_calls;
            let most = most_at_once(class, async |_connection, caller| {
                let body = Bytes::from(vec![0; INLINE_MAX_BYTES + 1]);
                let calls = (0..LARGE_CALLS_MAX).map(async |_| caller.call(1, body.clone()).await.unwrap());
                join_all(calls).await;
            });
            assert_eq!(most.await, limit);
        });
    }
}

#[test]
fn calls_of_a_connection_are_counted_and_the_next_waits() {
    for class in [Class::Control, Class::Client, Class::Join] {
        simulated(async {
            let limit = ServeLimits::for_class(class).calls_in_flight;
            let most = most_at_once(class, async |_connection, caller| {
                join_all((0..limit + 10).map(async |_| caller.call(1, byte(1)).await.unwrap())).await;
            });
            assert_eq!(most.await, limit);
        });
    }
}
