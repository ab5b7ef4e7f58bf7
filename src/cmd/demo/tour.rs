//! The tour: its steps in order, and the table of what they showed.
//!
//! Promises: the steps run in this order or the tour fails; the end is always cleaned up. Does not: know how a step works.

use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::demo::failover::fail_over;
use crate::cmd::demo::ledger::{KEYS, Ledger, VALUE_BYTES};
use crate::cmd::demo::load::load;
use crate::cmd::demo::read::{READS, read};
use crate::cmd::demo::stage::Stage;
use crate::cmd::demo::turn_back;
use crate::cmd::demo::verify::verify;
use crate::cmd::demo::wander::{self, Wandered};
use crate::cmd::demo::writers::Writers;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;
use crate::cmd::spell;
use crate::cmd::ui::Ui;

/// Next to these loaded keys it is written while shards move: one in each shard.
const WRITTEN_BESIDE: [u64; 3] = [16_000, 50_000, 83_000];

/// Take the guided tour: local nodes, a load, a kill, shards that move, and proof that nothing was lost
///
/// Runs by itself in under two minutes, in a temporary directory that it removes.
#[derive(Debug, clap::Args)]
pub struct Demo {}

/// A row of the table at the end.
#[derive(Serialize)]
struct StepDone {
    step: &'static str,
    result: String,
    duration_ms: u64,
}

struct Tour<'a> {
    ui: &'a Ui,
    done: Vec<StepDone>,
}

impl Demo {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let what = || "cannot listen for signals".to_owned();
        let mut interrupt = signal(SignalKind::interrupt()).or_fail(what)?;
        let mut terminate = signal(SignalKind::terminate()).or_fail(what)?;
        let mut stage = Stage::build()?;
        let mut tour = Tour { ui: &ui, done: Vec::new() };
        let outcome = tokio::select! {
            biased;
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            outcome = tour.run(&mut stage) => Some(outcome),
        };
        stage.clear().await;
        match outcome {
            None => Ok(Exit::Interrupted),
            Some(Err(failure)) => {
                // The directory goes; what the nodes said last is all that stays.
                stage.logs().iter().for_each(|line| ui.note(&format!("  {line}")));
                Err(failure.cure("nomad demo once more, or nomad up --dir DIR, which keeps the logs"))
            }
            Some(Ok(())) => tour.show().map(|()| Exit::Done),
        }
    }
}

impl Tour<'_> {
    async fn run(&mut self, stage: &mut Stage) -> Result<(), Failure> {
        let ui = self.ui;
        let ledger = Ledger::default();

        let started = self.step(&format!("Starting three nodes in {}", stage.path().display()));
        let client = stage.start(|told| ui.note(&format!("  {told}"))).await?;
        let shards = stage.spread(&client).await?;
        let result = format!("3 nodes, {} shards of 3 replicas, mutual TLS", shards.len());
        self.finish("start", result, started.elapsed());

        self.step(&format!("Loading {} keys, each on disk on a majority", spell::count(KEYS)));
        let took = load(ui, &client).await?;
        let rate = KEYS as f64 / took.as_secs_f64().max(0.001);
        let result =
            format!("{} keys of {VALUE_BYTES} B, {} a second", spell::count(KEYS), spell::count(rate as u64));
        self.finish("load", result, took);

        self.step("Reading single keys and a range across two shards");
        let reads = read(&client).await?;
        reads
            .rows
            .iter()
            .for_each(|(key, at)| ui.note(&format!("  {key} = {VALUE_BYTES} B, after {}", ms(*at))));
        let (count, median, p99) = (spell::count(READS), ms(reads.median), ms(reads.p99));
        self.finish("read", format!("{count} linearizable gets: p50 {median}, p99 {p99}"), reads.took);

        let started = self.step("Killing the leader of a shard (SIGKILL) under writes");
        let kill = fail_over(ui, stage, &client, &ledger).await?;
        let (shard, killed) = (kill.shard, kill.killed);
        let result = format!("n{killed} led s{shard}; writes paused for {}", ms(kill.pause));
        self.finish("fail over", result, started.elapsed());

        let started = self.step(&format!("Restarting n{killed}"));
        let node = stage.node(killed)?;
        node.spawn(&[], None)?;
        node.ready().await?;
        stage.spread(&client).await?;
        self.finish("restart", format!("n{killed} is back and follows"), started.elapsed());
        self.tell_writes(&ledger, (0, 0, 0));

        let (before, writers) = (ledger.counts(), Writers::start(stage, &ledger, &WRITTEN_BESIDE).await?);
        self.wander(stage, &client).await?;
        writers.stop().await;
        self.tell_writes(&ledger, before);
        let shards = stage.spread(&client).await?;

        let started = self.step("Verifying every acknowledged write on every replica");
        let verified = verify(ui, &client, &shards, &ledger).await?;
        let (keys, replicas) = (spell::count(verified.keys), verified.replicas);
        ui.note(&format!("  of unknown outcome, and there: {}", verified.unknown_found));
        self.finish("verify", format!("{keys} keys found, {replicas} replicas equal"), started.elapsed());

        stage.close().await;
        Ok(())
    }

    /// Moves shards to and fro, while others write.
    async fn wander(&mut self, stage: &mut Stage, client: &Client) -> Result<(), Failure> {
        let ui = self.ui;
        let started = self.step("A fourth node joins, while clients write");
        let joined = wander::join(ui, stage, client).await?;
        let Wandered { node, moves, bytes, longest_pause } = joined;
        let (bytes, pause) = (spell::size(bytes), ms(longest_pause));
        let noun = if moves == 1 { "replica" } else { "replicas" };
        self.finish(
            "join",
            format!("{moves} {noun} of {bytes} went to {node}; writes waited at most {pause}"),
            started.elapsed(),
        );

        let started = self.step("Giving up a move half-way (nomad migrate cancel)");
        let back = turn_back::cancel(ui, client).await?;
        let copied = format!("{} of {}", spell::size(back.bytes_done), spell::size(back.bytes_total));
        let result = format!("{} stayed on {}; {copied} were copied to {}", back.shard, back.from, back.to);
        self.finish("cancel", result, started.elapsed());

        let started = self.step("Moving a shard, and taking that back (nomad migrate undo)");
        let back = turn_back::undo(ui, client).await?;
        let (took, pause) = (ms(back.took), ms(back.longest_pause));
        let result =
            format!("{} is on {} again after {took}; writes waited at most {pause}", back.shard, back.from);
        self.finish("undo", result, started.elapsed());

        let started = self.step(&format!("Draining {node}, which then leaves"));
        wander::drain(ui, stage, client, node).await?;
        self.finish("drain", format!("{node} has given everything away, and is gone"), started.elapsed());
        Ok(())
    }

    /// Says how writes came out since there were so many of each.
    fn tell_writes(&self, ledger: &Ledger, before: (u64, u64, u64)) {
        let (acknowledged, unknown, failed) = ledger.counts();
        self.ui.note(&format!(
            "  {} writes meanwhile: {} failed, {} of unknown outcome",
            spell::count(acknowledged - before.0),
            failed - before.2,
            unknown - before.1,
        ));
    }

    fn step(&self, what: &str) -> Instant {
        self.ui.note(&format!("{}. {what}", self.done.len() + 1));
        Instant::now()
    }

    fn finish(&mut self, step: &'static str, result: String, took: Duration) {
        self.ui.note(&format!("  {result}"));
        self.done.push(StepDone { step, result, duration_ms: took.as_millis() as u64 });
    }

    fn show(&self) -> Result<(), Failure> {
        self.ui.note("");
        let row =
            |step: &StepDone| vec![step.step.to_owned(), step.result.clone(), spell::span(step.duration_ms)];
        self.ui.list(&self.done, &["STEP", "RESULT", ">TOOK"], row, |step| {
            format!("{}\t{}", step.step, step.result)
        })?;
        self.ui.note("\nNothing acknowledged was lost. Next: nomad up");
        Ok(())
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}
