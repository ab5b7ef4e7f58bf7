//! What goes wrong in a story, and how it is put right. Harm that cannot be done, because whoever it is for is down or up,
//! is a fault of the script: a story in which nothing happened proves nothing.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nodenomad::node::disk::sim::{Act, Loss};
use nodenomad::node::running::NodeError;
use nodenomad::node::store::FILE_NAME;
use tokio::time::timeout;

use crate::language::form::Args;
use crate::language::table::Verb;
use crate::language::{Step, size_bytes, time_ms};
use crate::stage::{Stage, Wrong, duration, remember, wrong};

/// How long a node may take to serve.
const START_LIMIT: Duration = Duration::from_secs(120);
/// The usual latency.
const USUAL: (Duration, Duration) = (Duration::from_micros(50), Duration::from_micros(500));

impl Stage {
    /// Does harm, or puts it right.
    pub async fn harm(&mut self, step: &Step) -> Result<(), Wrong> {
        let args = &step.args;
        let nodes = match args.words("NODES") {
            [] => self.machines(args.words("NODE")),
            words => self.machines(words),
        };
        match step.verb {
            Verb::Start => return self.start(&nodes, args).await,
            Verb::Flush => return self.flush(&nodes).await,
            Verb::Partition
            | Verb::PartitionOneWay
            | Verb::Deafen
            | Verb::Heal
            | Verb::Slow
            | Verb::Reset => {
                return self.harm_network(step.verb, &nodes, args);
            }
            _ => {}
        }
        for n in &nodes {
            let must_run = match step.verb {
                Verb::Kill | Verb::PowerCut | Verb::Pause | Verb::Resume => true,
                Verb::Move | Verb::Lose | Verb::Keep | Verb::Restore => false,
                _ => continue,
            };
            if self.world.machine(*n).is_running() != must_run {
                let state = |runs| if runs { "runs" } else { "is down" };
                return wrong(format!("n{} {}", n + 1, state(must_run)), format!("it {}", state(!must_run)));
            }
        }
        let loss = match (args.has("losing"), args.has("tearing")) {
            (true, _) => Loss::All,
            (_, true) => Loss::Torn,
            _ => Loss::Drawn,
        };
        for n in nodes {
            let machine = self.world.machine(n);
            match step.verb {
                Verb::Kill | Verb::PowerCut => {
                    remember(&self.world, &self.past, n);
                    match step.verb {
                        Verb::Kill => machine.die(),
                        _ => machine.cut_with(loss),
                    }
                }
                Verb::Pause => machine.pause(),
                Verb::Resume => machine.resume(),
                Verb::Move => self.relocate(n, args),
                Verb::Clock => {
                    machine.wall.set_offset_ms(time_ms(args.text("OFFSET")).expect("the parser has seen it"));
                }
                _ => self.harm_disk(step.verb, n, args)?,
            }
        }
        Ok(())
    }

    fn harm_network(&mut self, verb: Verb, nodes: &[usize], args: &Args) -> Result<(), Wrong> {
        match verb {
            Verb::Partition => {
                let sides = args.words("SIDES").split(|word| word.is("|"));
                let sides: Vec<Vec<usize>> = sides.map(|side| self.machines(side)).collect();
                for (side, from) in sides.iter().enumerate() {
                    let others = sides.iter().enumerate().filter(|(other, _)| *other != side);
                    let pairs =
                        others.flat_map(|(_, to)| to).flat_map(|to| from.iter().map(|from| (*from, *to)));
                    self.links.blocked.extend(pairs);
                }
            }
            Verb::PartitionOneWay => {
                let to = self.machines(args.nth("NODES", 1));
                self.links.blocked.extend(nodes.iter().flat_map(|n| to.iter().map(|to| (*n, *to))));
            }
            Verb::Deafen => self.links.unheard.extend(nodes),
            Verb::Heal => {
                self.links.blocked.clear();
                self.links.unheard.clear();
                self.world.net.set_latency(USUAL.0, USUAL.1);
            }
            Verb::Slow => {
                let least = duration(args.text("TIME"));
                self.world.net.set_latency(least, args.optional("to").map_or(least, duration));
            }
            _ => nodes.iter().for_each(|n| self.world.net.reset(&self.world.machine(*n).address)),
        }
        self.links.apply(&self.world);
        Ok(())
    }

    fn harm_disk(&mut self, verb: Verb, n: usize, args: &Args) -> Result<(), Wrong> {
        let machine = self.world.machine(n);
        let disk = machine.disk.borrow().clone();
        let count = |name| args.optional(name).and_then(|count| count.parse::<u32>().ok());
        match verb {
            Verb::Hang => machine.gate.close(),
            Verb::Eio => {
                let acts = [("read", Act::Read), ("write", Act::Write), ("sync", Act::Sync)];
                let all = acts.iter().all(|(name, _)| count(name).is_none());
                for (name, act) in acts {
                    if let Some(count) = count(name).or(all.then_some(u32::MAX)) {
                        disk.fail(act, count);
                    }
                }
            }
            Verb::Full => disk.leave_free(args.optional("leaving").and_then(size_bytes).unwrap_or(0)),
            Verb::Rot => return self.rot(n, count("log"), count("data")),
            Verb::Lose => {
                let all = !args.has("log") && !args.has("data");
                for (name, dir) in [("log", "wal"), ("data", "replicas")] {
                    if all || args.has(name) {
                        machine.disk().remove_dir(Path::new(dir)).expect("a disk that works");
                    }
                }
            }
            Verb::Mend => {
                machine.gate.open();
                [Act::Read, Act::Write, Act::Sync].into_iter().for_each(|act| disk.fail(act, 0));
                disk.set_capacity(u64::MAX);
            }
            Verb::Keep => _ = self.copies.insert(n, disk.copy_of()),
            Verb::Restore => match self.copies.get(&n) {
                Some(copy) => _ = machine.disk.replace(copy.copy_of()),
                None => return wrong("a copy of its disk", "none was kept"),
            },
            _ => unreachable!("all others were done"),
        }
        Ok(())
    }

    fn rot(&self, n: usize, log: Option<u32>, data: Option<u32>) -> Result<(), Wrong> {
        let machine = self.world.machine(n);
        let usual = if log.or(data).is_none() { Some(3) } else { None };
        let segments = machine.files("wal").into_iter();
        let segments = segments.filter(|path| path.extension().is_some_and(|kind| kind == "seg"));
        let shards = machine.files("replicas").into_iter().map(|dir| dir.join(FILE_NAME));
        let all: Vec<(PathBuf, u32)> = segments
            .flat_map(|path| log.or(usual).map(|count| (path, count)))
            .chain(shards.flat_map(|path| data.or(usual).map(|count| (path, count))))
            .collect();
        let mut rotten = 0;
        for (path, count) in all {
            let Ok(file) = machine.disk().open(&path, false) else { continue };
            let mut bytes = vec![0; file.len().unwrap_or(0) as usize];
            if file.read_at(0, &mut bytes).is_ok() && bytes.iter().any(|byte| *byte != 0) {
                machine.rot(&path, u64::from(count), &self.world.chance);
                rotten += 1;
            }
        }
        if rotten == 0 { wrong("files with something in them", "there is none") } else { Ok(()) }
    }

    async fn flush(&self, nodes: &[usize]) -> Result<(), Wrong> {
        for n in nodes {
            for replica in self.world.machine(*n).node().shards.all().iter() {
                if let Err(error) = replica.flush().await {
                    return wrong(format!("{} is flushed", replica.shard), error.to_string());
                }
            }
        }
        Ok(())
    }

    fn relocate(&mut self, n: usize, args: &Args) {
        let address = match self.machines(args.words("to")) {
            to if to.is_empty() => format!("10.0.3.{}:7300", n + 1),
            to => format!("10.0.0.{}:7300", to[0] + 1),
        };
        let moved = Rc::new(self.world.machine(n).moved(address));
        self.world.machines.borrow_mut()[n] = moved;
        self.links.apply(&self.world);
    }

    /// Starts those of them that are down, all at once.
    async fn start(&self, nodes: &[usize], args: &Args) -> Result<(), Wrong> {
        let down: Vec<usize> = nodes.iter().copied().filter(|n| self.world.machine(*n).is_down()).collect();
        if down.is_empty() {
            return wrong("somebody is down", "they all run");
        }
        let starts = down.iter().map(|n| {
            self.past.stopped.borrow_mut().remove(n);
            let machine = self.world.machine(*n);
            (*n, tokio::task::spawn_local(async move { machine.try_start().await }))
        });
        for (n, start) in starts.collect::<Vec<_>>() {
            let name = format!("n{}", n + 1);
            let Ok(started) = timeout(START_LIMIT, start).await else {
                return wrong(format!("{name} serves"), format!("not after {START_LIMIT:?}"));
            };
            match (started.expect("starting does not panic"), args.optional("error")) {
                (Ok(true), None) => {}
                (Ok(true), Some(_)) => return wrong(format!("{name} refuses to start"), "it serves"),
                (Ok(false), _) => return wrong(format!("{name} serves"), "it was killed before"),
                (Err(error), Some(text)) if chain(&error).contains(text) => {}
                (Err(error), Some(text)) => return wrong(format!("because of `{text}`"), chain(&error)),
                (Err(error), None) => return wrong(format!("{name} serves"), chain(&error)),
            }
        }
        Ok(())
    }
}

/// An error and what it comes from.
fn chain(error: &NodeError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
