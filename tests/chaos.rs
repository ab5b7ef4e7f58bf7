//! Real processes that are killed, stopped and cut apart while clients work, and a judge of what the clients were told:
//! `nomad bench --check`, as anybody can run it against a cluster of their own.
//!
//! What the simulation cannot show: real QUIC through real sockets that lose everything, silently and for one direction
//! only, and real processes that stand still.

mod support;

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::Cluster;
use support::spaces::Spaces;

const NODES: usize = 3;
/// How long a fault lasts: longer than it takes to elect another leader.
const FAULT: Duration = Duration::from_secs(3);
/// After a fault the next write is answered within this time.
const FIRST_SUCCESS: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    KillTwo,
    Stop,
    Isolate,
    /// One follower no longer hears the leader, which hears it.
    Unheard,
    /// The leader hears nobody, and all hear it.
    Deaf,
}

/// The node that leads the first shard of users.
fn leader(cluster: &Cluster) -> usize {
    let begin = Instant::now();
    while begin.elapsed() < FIRST_SUCCESS {
        let told = cluster.nomad(&["shard", "ls", "-o", "json"]);
        let shards: serde_json::Value = serde_json::from_str(&told).unwrap();
        let shard = shards.as_array().unwrap().iter().find(|shard| shard["id"] == 1).unwrap();
        if let Some(leader) = shard["leader"].as_u64() {
            return cluster.nodes.iter().position(|node| node.id() == leader).unwrap();
        }
    }
    panic!("nobody leads for {FIRST_SUCCESS:?}");
}

fn write(cluster: &Cluster) {
    let timeout = format!("{}s", FIRST_SUCCESS.as_secs());
    cluster.nomad(&["kv", "put", "chaos", "again", "--timeout", &timeout]);
}

fn others(one: usize) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |other| *other != one)
}

/// Does it, lets it last, and ends it.
fn suffer(cluster: &mut Cluster, fault: Fault) {
    let leads = leader(cluster);
    let follows = (leads + 1) % NODES;
    let cut = |cluster: &Cluster, lost: bool| {
        let spaces = cluster.spaces().expect("only what has namespaces is cut apart");
        let pairs: Vec<(usize, usize)> = match fault {
            Fault::Isolate => others(leads).flat_map(|other| [(leads, other), (other, leads)]).collect(),
            Fault::Unheard => vec![(leads, follows)],
            _ => others(leads).map(|other| (other, leads)).collect(),
        };
        pairs.into_iter().for_each(|(from, to)| spaces.cut(from, to, lost));
    };
    match fault {
        Fault::Kill => cluster.nodes[leads].kill(),
        Fault::KillTwo => [leads, follows].into_iter().for_each(|n| cluster.nodes[n].kill()),
        Fault::Stop => cluster.nodes[leads].pause(true),
        Fault::Isolate | Fault::Unheard | Fault::Deaf => cut(cluster, true),
    }
    sleep(FAULT);
    match fault {
        Fault::Kill | Fault::KillTwo => cluster.restart_all(),
        Fault::Stop => cluster.nodes[leads].pause(false),
        Fault::Isolate | Fault::Unheard | Fault::Deaf => cut(cluster, false),
    }
}

/// Clients at work until the time is over, whose history is judged in the end.
fn clients(cluster: &Cluster, time: Duration) -> Child {
    let seconds = time.as_secs().to_string();
    let args =
        ["bench", "mixed", "--check", "--clients", "8", "--keys", "200", "--rate", "1500", "--seconds"];
    let args = [&args[..], &[&seconds, "--warm-up", "0", "--timeout", "5s", "-o", "json"]].concat();
    cluster.command(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn suffer_all(mut cluster: Cluster, faults: &[Fault]) {
    cluster.start_all("");
    let whole = Instant::now();
    while cluster.nomad(&["shard", "ls", "-o", "json"]).matches("\"voter\"").count() < 2 * NODES {
        assert!(whole.elapsed() < Duration::from_secs(60), "every shard has three voters in the end");
        sleep(Duration::from_millis(100));
    }
    let time = (FAULT + Duration::from_secs(3)) * faults.len() as u32;
    let (mut working, begin) = (clients(&cluster, time), Instant::now());
    for fault in faults {
        suffer(&mut cluster, *fault);
        let healed = Instant::now();
        write(&cluster);
        println!("{fault:?} of {FAULT:?}: a write is answered {:?} after its end", healed.elapsed());
    }
    assert!(working.try_wait().unwrap().is_none() || begin.elapsed() > time, "clients work all the time");
    let output = working.wait_with_output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let (ops, unknown) = (told["ops"].as_u64().unwrap(), told["unknown"].as_u64().unwrap());
    println!("{ops} operations, {} errors, {unknown} unknown: {}", told["errors"], told["checked"]);
    assert!(ops > 1000, "{ops} operations are too few to tell");
}

#[test]
fn clients_see_one_history_while_processes_are_killed_stopped_and_cut_apart() {
    let faults = [Fault::Kill, Fault::Stop, Fault::KillTwo];
    match Spaces::new(NODES + 1) {
        Ok(spaces) => {
            let cuts = [Fault::Isolate, Fault::Unheard, Fault::Deaf];
            suffer_all(Cluster::in_spaces(NODES, spaces), &[&faults[..], &cuts].concat());
        }
        Err(why) => {
            eprintln!("NOT SHOWN: processes cut apart; there are no network namespaces here ({why})");
            suffer_all(Cluster::new(NODES), &faults);
        }
    }
}
