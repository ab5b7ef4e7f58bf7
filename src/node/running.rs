//! A member, running: where its parts are put together.
//!
//! Everything here is the same in the real and in the simulated world; what differs comes in as [`NodeParts`].
//!
//! Order of starting: log, replicas, (bootstrap), the view of the cluster, who answers, then the network's door is opened;
//! then reports, placement and flushing. Stopping goes backwards, leadership first.
//!
//! Before the door is opened for the first time, `member.json` says so. From then on a log that is not there was lost, and
//! with it what this node has voted and acknowledged: it does not start, and is replaced by a node that joins anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::model::id::{NodeId, ShardId};
use crate::model::wire::{AuthorityRecord, NodeRecord};
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::identity::Secrets;
use crate::net::peers::Peers;
use crate::net::rpc::{ServeCounts, ServeLimits, serve};
use crate::net::transport::{Address, Transport};

use super::clock::Clock;
use super::disk::Disk;
use super::flusher::{FlushCounts, Flusher};
use super::handover;
use super::member::{Member, Standing};
use super::meta::admin::Office;
use super::meta::births;
use super::meta::bootstrap::{self, BootstrapError};
use super::meta::controller::Controller;
use super::meta::drive::Driver;
use super::meta::join::Door;
use super::meta::keeper;
use super::meta::records::Records;
use super::meta::reports::Reports;
use super::meta::sizer::Sizer;
use super::meta::steps::Steps;
use super::meta::view::View;
use super::meta::watched::Watched;
use super::metrics::{Metrics, Sources};
use super::pulse::Pulses;
use super::quorum;
use super::raft::pace::Pace;
use super::replica::{self, ReplicaError, ReplicaParts};
use super::request_counts::RequestCounts;
use super::room::Room;
use super::serve::{Front, Requests};
use super::shards::{self, Shards};
use super::stall;
use super::store::StoreOptions;
use super::wal::{FailureHook, GroupId, Wal, WalError, WalOptions};
use super::wall::Wall;

/// What the world gives a node.
pub struct NodeParts {
    pub disk: Arc<dyn Disk>,
    pub transport: Arc<dyn Transport>,
    pub exec: Exec,
    pub wall: Arc<dyn Wall>,
    pub chance: Chance,
    pub member: Member,
    /// Where others reach it: HOST:PORT.
    pub advertise: String,
    pub zone: String,
    pub weight: u32,
    /// The cluster's CA as tokens pin it; empty on an insecure cluster.
    pub ca_fingerprint: String,
    pub secrets: Secrets,
    /// Only at the bootstrap of a cluster with identities.
    pub authority: Option<AuthorityRecord>,
    pub wal: WalOptions,
    pub store: StoreOptions,
    /// Gives memory that is free back to the system; on a thread for blocking work.
    pub give_back: fn(),
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the write-ahead log cannot be used")]
    Wal(#[from] WalError),
    #[error("a replica cannot be opened")]
    Replica(#[from] ReplicaError),
    #[error("the cluster cannot begin")]
    Bootstrap(#[from] BootstrapError),
    #[error("the replica of the meta shard named in member.json is not the one on disk")]
    OtherMetaReplica,
    /// It must not vote or acknowledge again under its ids.
    #[error("this node has served before, and its write-ahead log is gone")]
    LogGone,
}

/// Why a running node stopped by itself.
#[derive(Clone, Debug)]
pub enum Stopped {
    /// The disk did not do what it was asked.
    Disk(String),
    /// It was told to.
    Asked,
}

/// A running member. Dropping it stops nothing; call [`Node::shutdown`].
pub struct Node {
    pub member: Member,
    pub shards: Shards,
    pub view: View,
    pub metrics: Arc<Metrics>,
    pub reports: Reports,
    pub requests: Arc<Requests>,
    pub wal: Wal,
    transport: Arc<dyn Transport>,
    exec: Exec,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<Option<Stopped>>,
}

/// How long requests under way may take to end at shutdown.
const DRAIN: Duration = Duration::from_millis(500);

impl Node {
    /// Starts a member. Returns when it serves.
    pub async fn start(mut parts: NodeParts) -> Result<Node, NodeError> {
        let clock = Clock::new(parts.wall.clone());
        let started_ms = clock.wall_ms();
        let (stopped_sender, stopped) = watch::channel(None);
        parts.wal.on_failure = Some(on_failure(stopped_sender.clone()));
        parts.disk.create_dir(Path::new("wal")).map_err(WalError::from)?;
        let listed = shards::listed(&*parts.disk).map_err(WalError::from)?;
        // A lost log is told by the replicas that are there; where these are gone too, only this tells.
        if parts.member.opened && listed.is_empty() && !Wal::is_in(&*parts.disk, Path::new("wal"))? {
            return Err(NodeError::LogGone);
        }
        let sole = replica::listed_sole(&*parts.disk).map_err(WalError::from)?;
        parts.wal.sole = sole.iter().map(|(_, replica)| GroupId(replica.0)).collect();
        parts.wal.known = listed.iter().chain(&sole).map(|(_, replica)| GroupId(replica.0)).collect();
        let (disk, exec, options) = (parts.disk.clone(), parts.exec, parts.wal.clone());
        let wal = parts.exec.blocking(move || Wal::open(disk, Path::new("wal"), exec, options)).await?;

        let peers = Peers::new(parts.transport.clone(), parts.exec, parts.chance.fork());
        peers.set_addresses(seed_addresses(&parts.member));
        let (settings_sender, settings) = watch::channel(crate::model::config::Settings::default());
        let replica_parts = ReplicaParts {
            node: parts.member.node,
            disk: parts.disk.clone(),
            wal: wal.clone(),
            peers: peers.clone(),
            clock: clock.clone(),
            exec: parts.exec,
            store: parts.store.clone(),
            settings: settings.clone(),
            pace: Pace::new(settings.clone()),
            roused: Arc::default(),
            raft_counts: Arc::default(),
            counts: Arc::default(),
        };
        let shards = Shards::new(replica_parts);
        shards.open_all().await?;
        let records = Records::new(shards.clone());
        let own = own_record(&parts, clock.wall_ms());
        if let Some(first) = &parts.member.bootstrap {
            let (chance, authority) = (parts.chance.fork(), parts.authority.clone());
            bootstrap::begin(&parts.member, first, &shards, &records, &chance, own, authority).await?;
        }
        let meta = shards.open(ShardId::META, parts.member.meta_replica).await?;
        if meta.is_none() && shards.damaged().iter().all(|damaged| damaged.id != parts.member.meta_replica) {
            return Err(NodeError::OtherMetaReplica);
        }
        if !parts.member.opened {
            // Before the door is opened: from now on others may change what was begun, so it must not be begun again,
            // and count on what is promised here, so it must not be forgotten.
            (parts.member.opened, parts.member.bootstrap) = (true, None);
            parts.member.save(&parts.disk).map_err(WalError::from)?;
        }
        drop(meta);
        let (stop, stopping) = watch::channel(false);
        let view = View::follow(shards.clone(), parts.exec, stop.subscribe());

        let room = Room::new(parts.disk.clone(), wal.clone(), parts.exec, settings.clone())
            .map_err(WalError::from)?;
        parts.exec.spawn(room.clone().watch());
        let request_counts = Arc::<RequestCounts>::default();
        let reports = Reports::new(
            parts.member.node,
            parts.advertise.clone(),
            clock.clone(),
            shards.clone(),
            wal.clone(),
            room.clone(),
            request_counts.clone(),
        );
        let pulses =
            Pulses::new(parts.member.node, parts.chance.number(), shards.clone(), wal.clone(), room.clone());
        let (memory, watched) = (parts.store.memory.clone(), Watched::default());
        let steps = Steps { peers: peers.clone(), shards: shards.clone() };
        let office = Arc::new(office(&parts, &clock, &records, &view, (&reports, &watched, &steps)));
        let requests = Arc::new(Requests {
            shards: shards.clone(),
            clock: clock.clone(),
            disk: parts.disk.clone(),
            exec: parts.exec,
            view: view.clone(),
            records: records.clone(),
            reports: reports.clone(),
            door: door(&parts, &clock, &records, &view),
            office: office.clone(),
            counts: request_counts,
            intake: Arc::default(),
            room: room.clone(),
            memory: memory.clone(),
            pulses: pulses.clone(),
        });
        let (transport, served) = (parts.transport.clone(), Arc::<ServeCounts>::default());
        let front = Front(requests.clone());
        parts.exec.spawn(accept(transport, front, parts.exec, served.clone(), stopping));
        let standing = Arc::new(Standing::new(parts.disk.clone(), parts.member.clone()));
        parts.exec.spawn(reports.clone().run(peers.clone(), standing.clone()));
        parts.exec.spawn(stall::watch(wal.clone(), shards.clone()));
        parts.exec.spawn(quorum::watch(shards.clone()));
        parts.exec.spawn(handover::while_full(room.clone(), shards.clone(), pulses.clone()));
        parts.exec.spawn(pulses.run(peers.clone(), parts.exec, settings));
        parts.exec.spawn(keeper::follow_addresses(
            view.clone(),
            peers.clone(),
            standing.clone(),
            settings_sender,
        ));
        parts.exec.spawn(keeper::follow_seat(reports.seat(), shards.clone(), standing));
        parts.exec.spawn(stop_with(keeper::watch_damage(shards.clone()), stopped_sender.clone()));
        parts.exec.spawn(stop_with(keeper::follow_voters(shards.clone()), stopped_sender.clone()));
        parts.exec.spawn(births::follow(view.clone(), shards.clone(), room.clone(), parts.member.node));
        parts.exec.spawn(keeper::follow_placement(view.clone(), shards.clone(), parts.member.node));
        let sizer = office.sizer.clone();
        let driver =
            Driver { records, steps, reports: reports.clone(), clock: clock.clone(), watched, sizer };
        let controller = Controller::new(view.clone(), reports.clone(), driver, office);
        parts.exec.spawn(controller.run(stop.subscribe()));
        let flushes = Arc::<FlushCounts>::default();
        let flusher = Flusher {
            shards: shards.clone(),
            view: view.clone(),
            counts: flushes.clone(),
            room,
            memory,
            exec: parts.exec,
            give_back: parts.give_back,
        };
        parts.exec.spawn(watch_flusher(flusher, stopped_sender));
        let metrics = Arc::new(Metrics::new(Sources {
            shards: shards.clone(),
            wal: wal.clone(),
            clock,
            view: view.clone(),
            requests: requests.clone(),
            served,
            transport: parts.transport.counts(),
            flushes,
            http_refused: Counter::default(),
            started_ms,
        }));
        Ok(Node {
            member: parts.member,
            shards,
            view,
            metrics,
            reports,
            requests,
            wal,
            transport: parts.transport,
            exec: parts.exec,
            stop,
            stopped,
        })
    }

    /// Serves HTTP as well; returns where.
    pub async fn serve_http(&self, listen: SocketAddr) -> std::io::Result<SocketAddr> {
        let (shards, wal, metrics) = (self.shards.clone(), self.wal.clone(), self.metrics.clone());
        super::http::serve(listen, self.exec, shards, wal, metrics, self.stop.subscribe()).await
    }

    /// Returns when the node has stopped by itself.
    pub async fn stopped(&self) -> Stopped {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(why) => why.clone().expect("waited for"),
            Err(_) => Stopped::Asked,
        }
    }

    /// Hands leadership over, ends what is under way, flushes, closes.
    pub async fn shutdown(&self) {
        self.reports.set_leaving();
        self.stop.send_replace(true);
        handover::all(&self.shards).await;
        tokio::time::sleep(DRAIN).await;
        self.transport.close().await;
        let room = &self.requests.room;
        // The reserve is for the next start; the log has what is not flushed.
        self.shards.close_all(async |bytes| room.check().is_ok() && room.fits_flush(bytes).await).await;
        self.wal.close().await;
    }
}

fn on_failure(stopped: watch::Sender<Option<Stopped>>) -> FailureHook {
    Arc::new(move |error| {
        tracing::error!(%error, "the write-ahead log failed; this node stops");
        stopped.send_replace(Some(Stopped::Disk(error.to_string())));
    })
}

/// Where to find members before the map is there.
fn seed_addresses(member: &Member) -> BTreeMap<NodeId, Address> {
    let others = member.seeds.iter().filter(|seed| seed.node != member.node);
    others.map(|seed| (seed.node, Address(seed.quic.clone()))).collect()
}

fn own_record(parts: &NodeParts, now_ms: u64) -> NodeRecord {
    NodeRecord {
        node: parts.member.node.0,
        quic: parts.advertise.clone(),
        http: String::new(),
        zone: parts.zone.clone(),
        weight: parts.weight,
        joined_at_ms: now_ms,
        state: "member".to_owned(),
        meta_replica: parts.member.meta_replica.0,
    }
}

fn door(parts: &NodeParts, clock: &Clock, records: &Records, view: &View) -> Door {
    Door {
        records: records.clone(),
        view: view.clone(),
        clock: clock.clone(),
        cluster_id: parts.member.cluster_id.clone(),
        insecure: parts.member.insecure,
    }
}

fn office(
    parts: &NodeParts,
    clock: &Clock,
    records: &Records,
    view: &View,
    (reports, watched, steps): (&Reports, &Watched, &Steps),
) -> Office {
    Office {
        records: records.clone(),
        view: view.clone(),
        clock: clock.clone(),
        reports: reports.clone(),
        watched: watched.clone(),
        sizer: Sizer::default(),
        steps: steps.clone(),
        ca_fingerprint: parts.ca_fingerprint.clone(),
        secrets: parts.secrets.clone(),
        chance: parts.chance.fork(),
    }
}

/// Takes connections until told to stop.
async fn accept(
    transport: Arc<dyn Transport>,
    front: Front,
    exec: Exec,
    counts: Arc<ServeCounts>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let connection = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            connection = transport.accept() => connection,
        };
        let Some(connection) = connection else { return };
        let limits = ServeLimits::for_class(connection.class());
        exec.spawn(serve(connection, Arc::new(front.clone()), exec, limits, counts.clone()));
    }
}

/// Stops the node once there is a reason to.
async fn stop_with(reason: impl Future<Output = String>, stopped: watch::Sender<Option<Stopped>>) {
    let why = reason.await;
    tracing::error!(why, "this node cannot go on");
    stopped.send_replace(Some(Stopped::Disk(why)));
}

async fn watch_flusher(flusher: Flusher, stopped: watch::Sender<Option<Stopped>>) {
    let error = flusher.run().await;
    tracing::error!(%error, "a flush failed; this node stops");
    stopped.send_replace(Some(Stopped::Disk(error.to_string())));
}
