//! What a receiver believes of what is sent to it: nothing but the whole file that was offered.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;
use crate::net::chance::Chance;
use crate::net::rpc::{ServeLimits, Service, serve};
use crate::net::transport::sim::SimNet;
use crate::net::transport::sim::tests::{address, node, simulated};
use crate::net::transport::{Connection, Transport};
use crate::node::disk::sim::SimDisk;

const EXEC: Exec = Exec::Inline { delay: Duration::ZERO, gate: None };
const DIR: &str = "replica";

/// Receives what is offered and tells how that went.
struct Receiver {
    disk: Arc<dyn Disk>,
    told: mpsc::UnboundedSender<Result<PathBuf, TransferError>>,
}

impl Service for Receiver {
    fn call(&self, _: &Arc<dyn Connection>, _: u16, _: Bytes) -> BoxFuture<'static, Bytes> {
        unreachable!("only streams are opened here")
    }

    fn stream(
        &self,
        _: &Arc<dyn Connection>,
        _: u16,
        head: Bytes,
        mut frames: FrameStream,
    ) -> BoxFuture<'static, ()> {
        let (disk, told) = (self.disk.clone(), self.told.clone());
        Box::pin(async move {
            let offer = wire::SnapshotOffer::decode(head).unwrap();
            told.send(receive(&disk, &EXEC, Path::new(DIR), &offer, &mut frames).await).unwrap();
        })
    }
}

fn content() -> Vec<u8> {
    (0..CHUNK_BYTES * 2 + 1000).map(|n| (n / 7) as u8).collect()
}

/// What an honest sender sends.
fn transfer() -> (wire::SnapshotOffer, Vec<wire::SnapshotChunk>) {
    let (disk, content) = (SimDisk::new(), content());
    let file = disk.open(Path::new("copy"), true).unwrap();
    file.write_at(0, &content).unwrap();
    let offer = wire::SnapshotOffer {
        bytes: content.len() as u64,
        digest: Bytes::copy_from_slice(blake3::hash(&content).as_bytes()),
        ..wire::SnapshotOffer::default()
    };
    let chunk = |at: usize| read_chunk(&*file, at as u64, CHUNK_BYTES.min(content.len() - at)).unwrap();
    (offer, (0..content.len()).step_by(CHUNK_BYTES).map(chunk).collect())
}

/// Sends it; how the receiver took it, and its disk. `ends`: with an end mark.
fn send(
    offer: wire::SnapshotOffer,
    chunks: Vec<wire::SnapshotChunk>,
    ends: bool,
    capacity_bytes: u64,
) -> (Result<PathBuf, TransferError>, SimDisk) {
    let sim = SimDisk::new();
    sim.create_dir(Path::new(DIR)).unwrap();
    sim.set_capacity(capacity_bytes);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let received = simulated(async move {
        let net = SimNet::new(Chance::from_seed(1));
        let (a, b) = (net.transport("a:1", node(1)), net.transport("b:1", node(2)));
        let connection = a.connect(&address("b:1"), Class::Bulk, None).await.unwrap();
        let (told, mut hear) = mpsc::unbounded_channel();
        let accepted = b.accept().await.unwrap();
        let limits = ServeLimits::for_class(Class::Bulk);
        EXEC.spawn(serve(accepted, Arc::new(Receiver { disk, told }), EXEC, limits, Arc::default()));
        let mut stream =
            open_stream(&connection, kind::SNAPSHOT, offer.encode_to_vec().into()).await.unwrap();
        for chunk in chunks {
            // The receiver may have had enough.
            if stream.send(chunk.encode_to_vec().into()).await.is_err() {
                break;
            }
        }
        if ends {
            let _ = stream.finish().await;
        } else {
            // What was sent arrives; a break may overtake it.
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(stream);
        }
        tokio::time::timeout(STALL * 2, hear.recv()).await.unwrap().unwrap()
    });
    (received, sim)
}

#[test]
fn a_file_arrives_whole_and_durable() {
    let (offer, chunks) = transfer();
    let (received, disk) = send(offer, chunks, true, 1 << 40);
    let path = received.unwrap();
    let disk = disk.power_cut(&Chance::from_seed(1));
    let file = disk.open(&path, false).unwrap();
    let mut found = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut found).unwrap();
    assert!(found == content());
}

#[test]
fn anything_but_the_file_offered_is_refused() {
    type Forgery = fn(&mut wire::SnapshotOffer, &mut Vec<wire::SnapshotChunk>);
    let forgeries: [(&str, Forgery); 9] = [
        ("a chunk is missing", |_, chunks| _ = chunks.remove(1)),
        ("the last chunk is missing", |_, chunks| _ = chunks.pop()),
        ("chunks change places", |_, chunks| chunks.swap(0, 1)),
        ("a chunk comes twice", |_, chunks| chunks.insert(1, chunks[0].clone())),
        ("a checksum is wrong", |_, chunks| chunks[1].crc ^= 1),
        ("the content is another", |offer, _| offer.digest = vec![7; 32].into()),
        ("it is longer than offered", |offer, _| offer.bytes -= 1),
        ("a chunk unpacks to more than it may", |_, chunks| chunks[0].bytes = CHUNK_BYTES as u32 + 1),
        ("it is larger than any file", |offer, _| offer.bytes = FILE_MAX_BYTES + 1),
    ];
    for (what, forge) in forgeries {
        let (mut offer, mut chunks) = transfer();
        forge(&mut offer, &mut chunks);
        let (received, _) = send(offer, chunks, true, 1 << 40);
        assert!(matches!(received, Err(TransferError::Malformed(_))), "{what}: {received:?}");
    }
    let (offer, chunks) = transfer();
    let (received, _) = send(offer.clone(), chunks.clone(), false, 1 << 40);
    assert!(matches!(received, Err(TransferError::Stream(_))), "no end: {received:?}");
    let (received, disk) = send(offer, chunks, true, RESERVE_BYTES);
    assert!(matches!(received, Err(TransferError::Stream(_))), "no room: {received:?}");
    assert!(disk.list(Path::new(DIR)).unwrap().is_empty(), "nothing was begun");
}
