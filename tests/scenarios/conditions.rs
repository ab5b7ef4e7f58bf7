//! What can be seen from outside, and how it is told when it is otherwise.

use std::collections::BTreeMap;

use nodenomad::client::ClusterMap;
use nodenomad::model::id::ShardId;

use crate::language::form::Args;
use crate::language::table::Fact;
use crate::stage::{Stage, duration, shards};

/// What a look shows.
pub enum Look {
    So,
    /// What it is instead.
    NotSo(String),
    /// It can never become so.
    Never(String),
}

/// What was when a step began that looks again and again.
pub struct Since {
    writes: u64,
    increments: u64,
    /// The last entry of each shard that anybody has.
    last: BTreeMap<ShardId, u64>,
}

fn so_if(so: bool, found: impl FnOnce() -> String) -> Look {
    if so { Look::So } else { Look::NotSo(found()) }
}

fn name(n: usize) -> String {
    format!("n{}", n + 1)
}

impl Since {
    pub fn now(stage: &Stage) -> Since {
        let mut last = BTreeMap::new();
        for n in running(stage) {
            for replica in stage.world.machine(n).node().shards.all().iter() {
                let has = stage.world.log_of(n, replica.shard).1;
                let known = last.entry(replica.shard).or_insert(has);
                *known = has.max(*known);
            }
        }
        Since { writes: stage.writes(), increments: stage.increments(), last }
    }

    pub async fn look(&self, stage: &Stage, fact: Fact, args: &Args) -> Look {
        let node = || stage.machines(args.words("NODE"))[0];
        let nodes = || stage.machines(args.words("NODES"));
        let number = || args.text("NUMBER").parse::<u64>().unwrap_or(u64::MAX);
        match fact {
            Fact::Leader => leader(stage, args, &nodes()),
            Fact::LeadsNothing => leads_nothing(stage, node()),
            Fact::Voters => voters(stage, args, nodes()).await,
            Fact::Whole => whole(stage).await,
            Fact::Equal => equal(stage).await,
            Fact::Stopped => stopped(stage, node(), args.optional("because")),
            Fact::Runs => so_if(stage.world.machine(node()).is_running(), || "it is down".to_owned()),
            Fact::CaughtUp => self.caught_up(stage, node()),
            Fact::NeedsSnapshot => needs_snapshot(stage, node()),
            Fact::GotSnapshot => got_snapshot(stage, node()),
            Fact::Renewed => renewed(stage, node()),
            Fact::TermsUnchanged => terms_unchanged(stage),
            Fact::Clocks => clocks(stage, &nodes(), args),
            Fact::Writes => {
                let more = stage.writes() - self.writes;
                so_if(more >= number(), || format!("{more} were acknowledged"))
            }
            Fact::WritesEvery => {
                let Some(load) = &stage.load else { return Look::Never("there is no load".to_owned()) };
                let quiet = load.ledger.quiet();
                so_if(quiet <= duration(args.text("TIME")), || format!("none for {quiet:?}"))
            }
            Fact::Increments => {
                let more = stage.increments() - self.increments;
                so_if(more >= number(), || format!("{more} were acknowledged"))
            }
        }
    }

    fn caught_up(&self, stage: &Stage, n: usize) -> Look {
        if !stage.world.machine(n).is_running() {
            return Look::NotSo("it is down".to_owned());
        }
        let replicas = stage.world.machine(n).node().shards.all();
        let behind = replicas.iter().find_map(|replica| {
            let (has, last) = (replica.applied().borrow().index, *self.last.get(&replica.shard)?);
            (has < last).then(|| format!("of {} it has applied {has}, not {last}", replica.shard))
        });
        so_if(behind.is_none() && !replicas.is_empty(), || behind.unwrap_or("it has no shard".to_owned()))
    }
}

impl Stage {
    fn writes(&self) -> u64 {
        self.load.as_ref().map_or(0, |load| load.ledger.acknowledged())
    }

    fn increments(&self) -> u64 {
        self.counting.as_ref().map_or(0, |counting| counting.acknowledged())
    }
}

fn running(stage: &Stage) -> impl Iterator<Item = usize> {
    (0..stage.world.count()).filter(|n| stage.world.machine(*n).is_running())
}

fn leader(stage: &Stage, args: &Args, nodes: &[usize]) -> Look {
    for shard in shards(args.words("SHARD")) {
        match stage.world.leader_of(shard) {
            None => return Look::NotSo(format!("nobody leads {shard}")),
            Some(leader) if !nodes.contains(&leader) => {
                return Look::NotSo(format!("{} leads {shard}", name(leader)));
            }
            Some(_) => {}
        }
    }
    Look::So
}

fn leads_nothing(stage: &Stage, n: usize) -> Look {
    for (shard, leader) in stage.terms().into_iter().map(|(shard, (_, leader))| (shard, leader)) {
        if leader == n {
            return Look::NotSo(format!("it leads {shard}"));
        }
    }
    let led = stage.terms().len();
    so_if(led == 4, || format!("only {led} of 4 shards are led by anybody"))
}

async fn voters(stage: &Stage, args: &Args, wanted: Vec<usize>) -> Look {
    let Ok(map) = stage.clients.any.refresh().await else {
        return Look::NotSo("nobody tells the map".to_owned());
    };
    for shard in shards(args.words("SHARD")) {
        let mut found: Vec<usize> = map.shard(shard).map_or(Vec::new(), |route| {
            let voters = route.replicas.iter().filter(|replica| replica.voter);
            voters.map(|replica| stage.world.number(replica.node)).collect()
        });
        found.sort_unstable();
        if found != wanted {
            let names: Vec<String> = found.into_iter().map(name).collect();
            return Look::NotSo(format!("of {shard} they are {}", names.join(" ")));
        }
    }
    Look::So
}

async fn whole(stage: &Stage) -> Look {
    match stage.clients.any.refresh().await {
        Err(error) => Look::NotSo(format!("nobody tells the map: {error}")),
        Ok(map) => match missing(&map) {
            None => Look::So,
            Some(found) => Look::NotSo(found),
        },
    }
}

/// What a map lacks.
fn missing(map: &ClusterMap) -> Option<String> {
    let members: Vec<_> = map.members().map(|(node, _)| node).collect();
    let wanted = |most: usize| [5, 3, 1].into_iter().find(|n| *n <= most && *n <= members.len()).unwrap_or(1);
    map.shards().find_map(|route| {
        let voters = route.replicas.iter().filter(|replica| replica.voter).count();
        let (voters_wanted, wanted) = match route.shard {
            ShardId::META => (wanted(5), members.len()),
            _ => (wanted(3), wanted(3)),
        };
        let strangers = route.replicas.iter().filter(|replica| !members.contains(&replica.node)).count();
        let good = voters == voters_wanted && route.replicas.len() == wanted && strangers == 0;
        (!good).then(|| {
            let replicas = route.replicas.len();
            format!(
                "{} has {replicas} replicas, {voters} of which vote, {strangers} with strangers; it should have \
                 {wanted}, {voters_wanted} of which vote",
                route.shard
            )
        })
    })
}

async fn equal(stage: &Stage) -> Look {
    let client = &stage.clients.any;
    let Ok(map) = client.refresh().await else { return Look::NotSo("nobody tells the map".to_owned()) };
    for route in map.shards() {
        let mut told: Vec<(usize, u64, Vec<u8>)> = Vec::new();
        for replica in &route.replicas {
            let n = stage.world.number(replica.node);
            match client.digest(replica.node, route.shard).await {
                Ok(digest) => told.push((n, digest.applied_index, digest.digest.to_vec())),
                Err(error) => return Look::NotSo(format!("{} tells no digest: {error}", name(n))),
            }
        }
        for (n, index, digest) in &told {
            let (first, first_index, first_digest) = &told[0];
            if index != first_index {
                return Look::NotSo(format!(
                    "{} has applied {index} of {}, {} {first_index}",
                    name(*n),
                    route.shard,
                    name(*first)
                ));
            }
            if digest != first_digest {
                let (one, other) = (name(*first), name(*n));
                return Look::Never(format!("{one} and {other} differ at entry {index} of {}", route.shard));
            }
        }
    }
    Look::So
}

fn stopped(stage: &Stage, n: usize, because: Option<&str>) -> Look {
    match stage.past.stopped.borrow().get(&n) {
        None => Look::NotSo("it has not stopped".to_owned()),
        Some(why) => so_if(because.is_none_or(|text| why.contains(text)), || format!("it stopped: {why}")),
    }
}

fn needs_snapshot(stage: &Stage, n: usize) -> Look {
    let had = stage.past.had.borrow();
    let Some(had) = had.get(&n).filter(|_| stage.world.machine(n).is_down()) else {
        return Look::Never("it has not gone down".to_owned());
    };
    let forgotten = had.iter().any(|(shard, (_, last))| {
        let mut others =
            running(stage).filter(|other| stage.world.machine(*other).node().shards.get(*shard).is_some());
        others.all(|other| stage.world.log_of(other, *shard).0 > *last)
    });
    so_if(forgotten, || {
        let lacks: Vec<String> = had
            .iter()
            .map(|(shard, (_, last))| {
                let begins = running(stage).map(|other| stage.world.log_of(other, *shard).0 + 1);
                format!("{shard} ends at {last}, others have it from {:?}", begins.collect::<Vec<_>>())
            })
            .collect();
        lacks.join("; ")
    })
}

fn got_snapshot(stage: &Stage, n: usize) -> Look {
    if !stage.world.machine(n).is_running() {
        return Look::NotSo("it is down".to_owned());
    }
    let node = stage.world.machine(n).node();
    so_if(node.shards.raft_counts().received.bytes.get() > 0, || "no file came".to_owned())
}

fn renewed(stage: &Stage, n: usize) -> Look {
    let had = stage.past.had.borrow();
    let Some(had) = had.get(&n) else { return Look::Never("it has not gone down".to_owned()) };
    if !stage.world.machine(n).is_running() {
        return Look::NotSo("it is down".to_owned());
    }
    let shards = &stage.world.machine(n).node().shards;
    let now: BTreeMap<ShardId, _> = shards.all().iter().map(|one| (one.shard, one.id)).collect();
    let fresh = had.iter().filter(|(shard, (id, _))| now.get(shard).is_some_and(|now| now != id)).count();
    let there = had.keys().all(|shard| now.contains_key(shard)) && shards.damaged().is_empty();
    so_if(fresh > 0 && there, || format!("it had {had:?} and has {now:?}"))
}

fn terms_unchanged(stage: &Stage) -> Look {
    if stage.noted.is_empty() {
        return Look::Never("there is no `note terms` above".to_owned());
    }
    let now = stage.terms();
    let changed = stage.noted.iter().find_map(|(shard, noted)| {
        let found = now.get(shard);
        (found != Some(noted)).then(|| {
            let tell = |(term, n): &(u64, usize)| format!("{} in term {term}", name(*n));
            let found = found.map_or("nobody".to_owned(), tell);
            format!("{shard} was led by {}, is led by {found}", tell(noted))
        })
    });
    so_if(changed.is_none(), || changed.unwrap_or_default())
}

fn clocks(stage: &Stage, nodes: &[usize], args: &Args) -> Look {
    let bound_ms = duration(args.text("TIME")).as_millis() as u64;
    for n in nodes {
        if !stage.world.machine(*n).is_running() {
            return Look::NotSo(format!("{} is down", name(*n)));
        }
        let told_ms = stage.world.machine(*n).node().requests.clock.now().ms();
        let off_ms = told_ms.abs_diff(stage.world.now_ms());
        if off_ms > bound_ms {
            return Look::NotSo(format!("{} is off by {off_ms} ms", name(*n)));
        }
    }
    Look::So
}
