//! Runs a node until it is told to stop.
//!
//! Promises: `node.json` is written and the ready line printed only once the node serves; the administrator's context
//! follows the members within seconds. Does not: decide (see `options`).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cmd::context_file::{Context, Contexts, DEFAULT};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;
use crate::cmd::serve::options::{Beginning, Decided, Serve};
use crate::cmd::ui::Ui;
use crate::cmd::{log, private_file, session};
use crate::net::transport::Address;
use crate::node::disk::lacks_room;
use crate::node::meta::join::JoinError;
use crate::node::replica::ReplicaError;
use crate::node::running::NodeError;
use crate::node::server::{ReadyInfo, Server, ServerOptions, Start, StartError, Stopped};
use crate::node::wal::WalError;

/// How often contexts are compared with the members.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

impl Serve {
    pub async fn run(self, global: &Global) -> Answer {
        use_small_pages();
        let ui = global.ui();
        let decided = self.decide()?;
        log::start(&ui, decided.log_format, &decided.log_level)?;
        check_directory(&decided)?;
        let mut signals = Signals::listen()?;
        let server = tokio::select! {
            biased;
            // Nobody relies on a node that was not ready: it may end as in a power cut.
            () = signals.next() => return Ok(Exit::Done),
            started = Server::start(server_options(&decided)) => started.map_err(|error| not_started(&decided, &error))?,
        };
        let ready = server.ready_info();
        let contexts = announce(&ui, &decided, ready)?;
        serve_until_told(&server, &contexts, &mut signals).await?;
        tokio::select! {
            biased;
            () = signals.next() => {
                tracing::warn!("told to stop twice: stopping at once");
                Ok(Exit::Interrupted)
            }
            () = server.shutdown() => Ok(Exit::Done),
        }
    }
}

/// Has the kernel give this process the memory it touches and no more. Each replica reserves some MiB for queues that are
/// empty nearly always; in huge pages all of that is resident: 300 idle shards take 650 MiB instead of 115.
fn use_small_pages() {
    // Safe: no memory is handed over. Where the kernel does not know it, things stay as they are.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0)
    };
}

/// Returns when told to stop; fails if the node stops by itself.
async fn serve_until_told(
    server: &Server,
    contexts: &[PathBuf],
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut refresh = tokio::time::interval(REFRESH_EVERY);
    let mut members = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = signals.next() => {
                tracing::info!("told to stop: handing leadership over");
                return Ok(());
            }
            stopped = server.stopped() => {
                let cause = match stopped {
                    Stopped::Disk(cause) => cause,
                    Stopped::Asked => "it was asked to".to_owned(),
                };
                return Err(Failure::new(Exit::Damaged, "the node stopped by itself")
                    .because(cause)
                    .cure("the same again once the disk is well; what was acknowledged is on it"));
            }
            _ = refresh.tick() => {
                let now = server.members();
                if now != members {
                    for file in contexts {
                        if let Ok(context) = Context::read(file) {
                            session::refresh(file, &context, &session::member_endpoints(&now));
                        }
                    }
                    members = now;
                }
            }
        }
    }
}

/// Writes and prints what others need. Returns the context files to keep fresh.
fn announce(ui: &Ui, decided: &Decided, ready: &ReadyInfo) -> Result<Vec<PathBuf>, Failure> {
    let mut contexts = Vec::new();
    let admin_file = decided.data.join("admin.toml");
    if let Some(admin) = administrator(ready) {
        admin.write(&admin_file)?;
        if !decided.no_context {
            // The node runs whether the user's home can be written or not.
            match Contexts::of_user().and_then(|contexts| contexts.save(&admin)) {
                Ok(file) => contexts.push(file),
                Err(failure) => ui.warn(&format!("{}: {}", failure.error, failure.because.join(": "))),
            }
        }
    }
    if admin_file.exists() {
        contexts.push(admin_file);
    }
    let (quic, http) = (ready.quic.to_string(), ready.http.to_string());
    let (node, cluster_id) = (ready.node, ready.cluster_id.clone());
    let line = format!("ready: node {node} quic={quic} http={http} cluster={cluster_id}");
    if decided.insecure {
        ui.warn("this cluster is insecure: whoever reaches it may read and write everything");
    }
    ui.line(&line)?;
    match &ready.join_token {
        Some(token) if !ui.is_quiet() => {
            ui.line("on the next machine:")?;
            ui.line(&format!("  nomad serve --data DIR --join {} --token {token}", ready.quic))?;
        }
        _ => {}
    }
    Ok(contexts)
}

/// The administrator's context, if this node has just made the cluster.
fn administrator(ready: &ReadyInfo) -> Option<Context> {
    let insecure = ready.insecure && ready.bootstrapped;
    if ready.admin.is_none() && !insecure {
        return None;
    }
    let context = Context {
        name: DEFAULT.to_owned(),
        cluster_id: ready.cluster_id.clone(),
        endpoints: vec![ready.quic.to_string()],
        insecure,
        ..Context::default()
    };
    Some(match &ready.admin {
        Some(identity) => session::with_identity(context, identity),
        None => context,
    })
}

/// A directory that was never used, and nothing that says how to begin.
fn check_directory(decided: &Decided) -> Result<(), Failure> {
    let dir = decided.data.display();
    private_file::make_folder(&decided.data).or_fail(|| format!("cannot use {dir}"))?;
    let mut entries = std::fs::read_dir(&decided.data).or_fail(|| format!("cannot use {dir}"))?;
    if decided.beginning == Beginning::Resume && entries.next().is_none() {
        return Err(Failure::usage(format!("there is no node in {dir}"))
            .because("the directory is empty, and nothing says whether to make a cluster or to join one")
            .cure(format!("nomad serve --data {dir} --bootstrap, or with --join HOST:PORT --token T")));
    }
    Ok(())
}

fn server_options(decided: &Decided) -> ServerOptions {
    ServerOptions {
        data_dir: decided.data.clone(),
        start: match &decided.beginning {
            Beginning::Resume => Start::Resume,
            Beginning::Bootstrap => Start::Bootstrap { split_at: decided.split_at.clone() },
            Beginning::Join { members, token } => Start::Join {
                addresses: members.iter().cloned().map(Address).collect(),
                token: token.clone(),
            },
        },
        listen: decided.listen,
        http_listen: Some(decided.http),
        advertise: decided.advertise.clone(),
        zone: decided.zone.clone(),
        weight: decided.weight,
        insecure: decided.insecure,
    }
}

fn not_started(decided: &Decided, error: &StartError) -> Failure {
    let (exit, cure) = meaning(error);
    Failure::new(exit, format!("cannot start the node in {}", decided.data.display()))
        .caused_by(error)
        .cure(cure)
}

/// What a failed start means to a script, and what to type now.
fn meaning(error: &StartError) -> (Exit, &'static str) {
    const AGAIN: &str = "the same once the cause above is gone";
    const DAMAGED: &str =
        "keep the directory; the other replicas have the data: join again with an empty one";
    const LOST: &str =
        "nomad debug shard DIR shows what is left; keep the directory, no other node has what it lost";
    const FULL: &str = "the same once there is room on its disk; nothing is lost";
    if is_full(error) {
        return (Exit::Unreachable, FULL);
    }
    match error {
        StartError::NotInitialised { .. } => {
            (Exit::Usage, "the same with --bootstrap, or with --join and --token")
        }
        StartError::Directory { source, .. } => match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                (Exit::Damaged, DAMAGED)
            }
            io::ErrorKind::PermissionDenied => (Exit::Forbidden, "the same as a user who may use it"),
            _ => (Exit::Usage, "the same once no other process uses it, or with another --data"),
        },
        StartError::Token(_) => (Exit::Usage, "the whole token, as nomad token new -o raw prints it"),
        StartError::Identity(_) => (Exit::Damaged, DAMAGED),
        StartError::Listen { .. } => {
            (Exit::Usage, "the same with another --listen or --http (port 0 picks a free one)")
        }
        StartError::Join(JoinError::Refused(_)) => {
            (Exit::Forbidden, "the same with a fresh token (nomad token new)")
        }
        StartError::Join(JoinError::Foreign { .. }) => (
            Exit::Forbidden,
            "the same with a token of that cluster (nomad token new), or --join of the token's",
        ),
        StartError::Join(JoinError::Unreachable { .. }) => {
            (Exit::Unreachable, "the same with --join naming members that run")
        }
        StartError::InsecureAddress { .. } => (Exit::Usage, "the same with --listen 127.0.0.1:7300"),
        StartError::Node(NodeError::Bootstrap(_)) => (Exit::Unreachable, AGAIN),
        StartError::Node(NodeError::Wal(WalError::Lost(_))) => (Exit::Damaged, LOST),
        StartError::Node(NodeError::Replica(ReplicaError::Sole { .. })) => (Exit::Damaged, LOST),
        StartError::Node(_) => (Exit::Damaged, DAMAGED),
        StartError::FirstToken(_) => (Exit::Unreachable, AGAIN),
    }
}

/// True if what it comes from is a disk without room.
fn is_full(error: &StartError) -> bool {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let mut causes = chain.filter_map(|error| error.downcast_ref::<io::Error>());
    causes.any(lacks_room)
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, Failure> {
        let what = || "cannot listen for signals".to_owned();
        let interrupt = signal(SignalKind::interrupt()).or_fail(what)?;
        Ok(Signals { interrupt, terminate: signal(SignalKind::terminate()).or_fail(what)? })
    }

    /// Returns when one arrives.
    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_needs_a_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new");
        let serve = Serve { data: Some(data.clone()), ..Serve::default() };
        let failure = check_directory(&serve.clone().decide().unwrap()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        std::fs::write(data.join("something"), "").unwrap();
        assert!(check_directory(&serve.decide().unwrap()).is_ok());
    }

    #[test]
    fn a_start_without_room_is_no_damage() {
        let failed =
            |kind: io::ErrorKind| StartError::Node(NodeError::Wal(WalError::from(io::Error::from(kind))));
        let (exit, cure) = meaning(&failed(io::ErrorKind::StorageFull));
        assert!(exit == Exit::Unreachable && cure.contains("room"), "{cure}");
        assert_eq!(meaning(&failed(io::ErrorKind::InvalidData)).0, Exit::Damaged);
    }
}
