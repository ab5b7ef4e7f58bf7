//! Moving shards from the command line, against one real cluster: what scripts rely on, and what is refused.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nodenomad::model::id::ShardId;
use nodenomad::model::migration::Stage;
use serde_json::Value;
use support::Cluster;
use support::answers::{assert_has, done, fails, feed, fields, run};

const EVENT: &str = "migration shard source target stage state bytes_done bytes_total bytes_per_s seconds_left write_pause_us";

/// A move that was undone is over by then.
const END_LIMIT: Duration = Duration::from_secs(30);

/// A user shard, the nodes that hold it, and one that does not.
async fn a_shard(cluster: &Cluster) -> (u64, Vec<u64>, u64) {
    let map = cluster.client().await.map();
    // Not one that can still be undone: it is on all of them.
    let route = map.shards().find(|route| route.shard != ShardId::META && route.replicas.len() == 3).unwrap();
    let here: Vec<u64> = route.replicas.iter().map(|replica| replica.node.0).collect();
    let free = map.members().map(|(node, _)| node.0).find(|node| !here.contains(node)).unwrap();
    (route.shard.0, here, free)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_scripts_rely_on() {
    let mut cluster = Cluster::new(4);
    // What moves is what is told to.
    cluster.start_all_set("h,q", &[("rebalance", "0")]);
    let client = cluster.client().await;
    cluster.wait_until_whole(&client, 3).await;
    for n in 0..200 {
        client.put(format!("k{n:03}").as_bytes(), vec![b'v'; 1000]).await.unwrap();
    }
    moves(&cluster).await;
    mistakes(&cluster).await;
    killed_while_watching(&cluster).await;
    the_meta_shard(&cluster).await;
    plans(&cluster);
    leads_and_reasons(&cluster).await;
    splits(&cluster).await;
    carried_out(&cluster);
    nodes(&cluster);
    cluster.equal_digests(&client, Duration::from_secs(30)).await;
}

async fn moves(c: &Cluster) {
    let (shard, here, to) = a_shard(c).await;
    let asked = format!("migrate --shard {shard} --from {} --to {to} --keep-p99 10ms -o jsonl", here[0]);
    let moved = done(c, &asked);
    let events = moved.lines();
    events.iter().for_each(|event| assert_has(event, EVENT));
    let last = events.last().unwrap();
    assert_eq!((&last["state"], &last["stage"]), (&"done".into(), &"cleanup".into()), "{last}");
    assert_eq!((last["source"].as_u64(), last["target"].as_u64()), (Some(here[0]), Some(to)));
    assert!(last["write_pause_us"].as_u64().is_some(), "{last}");
    assert_has(last, "keep_p99_us p99_before_us p99_during_us p99_after_us");
    assert_eq!(last["keep_p99_us"], 10_000, "{last}");
    let id = last["migration"].as_u64().unwrap();
    let all = done(c, "migrate ls -o json").json();
    let listed = all.as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
    assert!(fields(listed).contains("undo_left_ms") && listed["state"] == "done", "{listed}");

    let undone = done(c, &format!("migrate undo m{id}"));
    assert!(undone.text().contains(&format!("s{shard} is on n{} again", here[0])), "{undone:?}");
    let shown = done(c, &format!("migrate show m{id}"));
    assert!(shown.text().contains("undone"), "{shown:?}");

    // The same once more, not watched; then it stands still, goes on or is over already, and is given up or not any more.
    let id = begun(c, &format!("migrate --shard {shard} --from {} --to {to}", here[0])).await;
    run(c, &format!("migrate pause {id}"));
    run(c, &format!("migrate resume {id}"));
    let watched = run(c, &format!("migrate show {id} --watch"));
    assert!(matches!(watched.code, 0 | 1), "{watched:?}");
    done(c, "migrate limit 50MiB/s");
    assert_eq!(done(c, "config get migration_bytes_per_s -o raw").text().trim(), "52428800");
    done(c, "migrate limit none");
}

/// Begins a move and does not watch it, once the one before it has ended; its id.
async fn begun(c: &Cluster, asked: &str) -> String {
    let begin = Instant::now();
    loop {
        let begun = run(c, &format!("{asked} --detach -o raw"));
        if begun.code == 0 {
            return begun.text().trim().to_owned();
        }
        assert!(begun.code == 3 && begun.err.contains("is about to end"), "{begun:?}");
        assert!(begin.elapsed() < END_LIMIT, "{begun:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Who began a move and watches it is killed in each of its stages: it goes on, and ends as any other.
async fn killed_while_watching(c: &Cluster) {
    let (shard, here, to) = a_shard(c).await;
    for stage in Stage::ALL {
        let id = begun(c, &format!("migrate --shard {shard} --from {} --to {to}", here[0])).await;
        let watch = ["migrate", "show", &id, "--watch", "-o", "jsonl"];
        let mut watching = c.command(&watch).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let told = BufReader::new(watching.stdout.take().unwrap()).lines();
        let events = told.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        // Stages that are over at once are not seen; the next one is.
        let reached =
            |event: &Value| Stage::ALL.iter().find(|one| one.to_string() == event["stage"]).copied();
        let _ = events.into_iter().find(|event| reached(event) >= Some(stage));
        watching.kill().unwrap();
        watching.wait().unwrap();
        assert_eq!(
            done(c, &format!("migrate show {id} --watch -o jsonl")).lines().pop().unwrap()["state"],
            "done"
        );
        done(c, &format!("migrate undo {id}"));
    }
}

/// Of the meta shard a vote moves, and comes back.
async fn the_meta_shard(c: &Cluster) {
    let map = c.client().await.map();
    let meta = map.shard(ShardId::META).unwrap();
    let from = meta.replicas.iter().find(|replica| replica.voter).unwrap().node;
    let to = meta.replicas.iter().find(|replica| !replica.voter).unwrap().node;
    let moved = done(c, &format!("migrate --shard 0 --from {from} --to {to} -o jsonl"));
    let last = moved.lines().pop().unwrap();
    assert_eq!((&last["state"], &last["bytes_total"]), (&"done".into(), &0.into()), "{last}");
    let undone = done(c, &format!("migrate undo m{}", last["migration"]));
    assert!(undone.text().contains(&format!("{from} votes on s0 again")), "{undone:?}");
    assert!(fails(c, &format!("migrate plan --shard 0 --to {to}"), 2).err.contains("only a vote moves"));
}

async fn mistakes(c: &Cluster) {
    let (shard, here, free) = a_shard(c).await;
    assert!(fails(c, &format!("migrate --shard {shard} --to {free}"), 2).err.contains("say which one moves"));
    assert!(fails(c, "migrate --shard 999 --to 1", 1).err.contains("there is no shard s999"));
    assert!(fails(c, &format!("migrate --shard {shard} --to 99"), 1).err.contains("there is no node n99"));
    let there = format!("migrate --shard {shard} --from {} --to {}", here[0], here[1]);
    assert!(fails(c, &there, 2).err.contains("already"));
    assert!(fails(c, "migrate show m999", 1).err.contains("there is no migration m999"));
    assert!(fails(c, "migrate undo m999", 1).err.contains("there is no migration m999"));
}

fn plans(c: &Cluster) {
    let plan = done(c, "migrate plan --drain n4 -o json").json();
    assert_has(&plan, "changes room bytes seconds");
    let changes = plan["changes"].as_array().unwrap();
    let of_four = |change: &&Value| change["source"] == 4 && change["reason"] == "drain";
    assert!(changes.iter().filter(of_four).all(|change| change["may_fail"].as_u64() >= Some(1)), "{plan}");
    changes.iter().for_each(|change| assert_has(change, "shard source target bytes may_fail reason"));
    let dry = done(c, "node drain n4 --dry-run -o json").json();
    assert_eq!(dry["changes"], plan["changes"], "both say the same");
    assert_eq!(done(c, "node show n4 -o json").json()["state"], "up", "and nothing happens");
    done(c, "migrate plan --rebalance");
    fails(c, "migrate plan", 2);
    assert!(fails(c, "migrate plan --join n99", 1).err.contains("there is no node n99"));
}

async fn leads_and_reasons(c: &Cluster) {
    let (shard, here, free) = a_shard(c).await;
    for to in [here[1], here[2], here[2]] {
        let led = done(c, &format!("shard lead s{shard} --to n{to} -o json")).json();
        assert_has(&led, "shard before leader write_pause_us");
        assert_eq!((&led["shard"], &led["leader"]), (&shard.into(), &to.into()), "{led}");
        assert_eq!(
            done(c, &format!("shard show {shard} -o json")).json()["leader"],
            to,
            "it is seen at once"
        );
    }
    let again = done(c, &format!("shard lead {shard} --to {}", here[2]));
    assert!(again.text().contains("already"), "{again:?}");
    let elsewhere = fails(c, &format!("shard lead {shard} --to {free}"), 2);
    assert!(elsewhere.err.contains("those that can lead it are on"), "{elsewhere:?}");
    assert!(fails(c, "shard lead 999 --to 1", 1).err.contains("there is no shard s999"));

    let why = done(c, &format!("why shard {shard}"));
    assert!(why.text().contains(&format!("is led from n{}", here[2])), "{why:?}");
    let why = done(c, &format!("why node n{free} -o json")).json();
    assert!(why["sentences"].as_array().is_some_and(|all| all.len() >= 3), "{why}");
    let first = done(c, "migrate ls -o raw").text().lines().next().unwrap().to_owned();
    assert!(done(c, &format!("why migration {first}")).text().contains(&first));
    for nothing in ["shard 999", "node 99", "migration 999"] {
        assert!(fails(c, &format!("why {nothing}"), 1).err.contains("there is no"));
    }
}

async fn splits(c: &Cluster) {
    let shard = 2; // from h to q
    for (wrong, code, why) in [
        ("999", 1, "there is no shard s999"),
        ("0", 2, "stays whole"),
        (&format!("{shard} --at zz"), 2, "must be one of"),
    ] {
        let refused = fails(c, &format!("shard split {wrong}"), code);
        assert!(refused.err.contains(why), "{refused:?}");
    }
    // What is moved there may yet be undone; that makes way first.
    let begin = Instant::now();
    let answer = loop {
        let answer = run(c, &format!("shard split s{shard} --at k100 -o json"));
        if answer.code == 0 {
            break answer.json();
        }
        assert!(answer.code == 3 && begin.elapsed() < END_LIMIT, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_has(&answer, "shard child key took_ms");
    assert_eq!((&answer["shard"], &answer["key"]), (&shard.into(), &"k100".into()), "{answer}");
    let child = answer["child"].as_u64().unwrap();
    assert_eq!(done(c, "kv get k150 -o raw").text().len(), 1000, "it is served by the new one");
    let all = done(c, "shard ls -o json").json();
    let of = |id: u64| all.as_array().unwrap().iter().find(|one| one["id"] == id).unwrap().clone();
    assert_eq!((&of(shard)["end"], &of(child)["start"]), (&"k100".into(), &"k100".into()), "{all}");
    let again = done(c, &format!("shard split {child}"));
    assert!(again.text().contains(&format!("s{child} ends before k1")), "{again:?}");
}

fn carried_out(c: &Cluster) {
    let plan = done(c, "migrate plan --drain n4 -o json");
    let count = plan.json()["changes"].as_array().unwrap().len() as u64;
    let fed = |words: &str| feed(c, words, &plan.out);
    let applied = fed("migrate apply - -o jsonl");
    assert_eq!(applied.code, 0, "{applied:?}");
    let last = applied.lines().pop().unwrap();
    assert_has(&last, "plan moves moved under_way state reason started_at_ms ended_at_ms");
    assert_eq!((&last["state"], &last["moved"]), (&"done".into(), &count.into()), "{last}");
    let again = fed("migrate apply -");
    assert!(again.code == 4 && again.err.contains("\ntry: "), "{again:?}");
    assert_eq!(feed(c, "migrate apply -", b"{}").code, 2);
    fails(c, "migrate apply /nowhere", 2);
    let plans = done(c, "migrate plans -o json").json();
    assert_eq!(plans.as_array().unwrap().len(), 1, "{plans}");
    let stopped = done(c, &format!("migrate stop p{} -o json", last["plan"])).json();
    assert!(matches!(stopped["state"].as_str(), Some("done" | "stopping" | "stopped")), "{stopped}");
    assert!(fails(c, "migrate stop p999", 1).err.contains("there is no plan p999"));
}

fn nodes(c: &Cluster) {
    let holds = fails(c, "node remove n2 --yes", 4);
    assert!(holds.err.contains("still holds") && holds.err.contains("nomad node drain n2"), "{holds:?}");
    assert!(fails(c, "node drain n99", 1).err.contains("there is no node n99"));
    done(c, "node drain n4 --wait");
    let four = done(c, "node show n4 -o json").json();
    assert_eq!(
        (&four["state"], &four["replicas"]),
        (&"draining".into(), &1.into()),
        "that of the meta shard"
    );
    let fewer = fails(c, "node drain n3", 4);
    assert!(fewer.err.contains("2 nodes for the 3 copies"), "{fewer:?}");
    let asks = run(c, "node remove n4");
    assert_eq!(asks.code, 2, "nobody is here to answer: {asks:?}");
    done(c, "node undrain n4");
    assert_eq!(done(c, "node show n4 -o json").json()["state"], "up");
    done(c, "node drain n4");
    done(c, "node drain n4 --wait");
    done(c, "node remove n4 --dry-run");
    done(c, "node remove n4 --yes");
    let left = done(c, "node ls -o json").json();
    assert_eq!(left.as_array().unwrap().len(), 3, "{left}");
    assert!(fails(c, "node undrain n4", 1).err.contains("has left"));
}
