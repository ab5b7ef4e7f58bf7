//! The command: the order of things.
//!
//! Promises: ctrl-C ends the run and shows what was measured, a second one ends the command; whatever was written is told
//! by the exit code. Does not: know how an operation is done.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::{BatchOperation, Client, ReadOptions};
use crate::cmd::bench::choice::Growth;
use crate::cmd::bench::history::{Checked, History};
use crate::cmd::bench::keys::{Family, Keys};
use crate::cmd::bench::ledger::Ledger;
use crate::cmd::bench::live::Line;
use crate::cmd::bench::load::{Loaded, load};
use crate::cmd::bench::operate::{Live, Operator, Shared};
use crate::cmd::bench::options::Bench;
use crate::cmd::bench::pace::Pace;
use crate::cmd::bench::report::Report;
use crate::cmd::bench::tally::Tally;
use crate::cmd::bench::value::Values;
use crate::cmd::bench::verify::verify;
use crate::cmd::bench::workload::Kind;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;
use crate::cmd::ui::Ui;
use crate::cmd::{escape, log, session, spell};
use crate::model::key::KeyRange;
use crate::net::chance::Chance;
use crate::net::exec::Exec;

/// Between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Shards asked at a time before a run.
const GREETINGS_AT_ONCE: usize = 64;

/// What is there before a run.
struct Ground {
    clients: Vec<Client>,
    keys: Keys,
    values: Values,
    /// Keys that are there for sure.
    loaded: u64,
    /// True if they were loaded just now.
    has_written: bool,
    run: u32,
}

impl Bench {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        log::start_for_command(&ui, global.verbose)?;
        self.check()?;
        let mut interrupt =
            signal(SignalKind::interrupt()).or_fail(|| "cannot listen for signals".to_owned())?;
        let ground = tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
            ground = self.prepare(&ui, global) => ground?,
        };
        if self.load_only {
            return Ok(Exit::Done);
        }
        let (client, loaded, has_written) = (ground.clients[0].clone(), ground.loaded, ground.has_written);
        let shared = Arc::new(self.shared(&ground.keys, ground.values, loaded, ground.run));
        let Some(tally) =
            measure(&ui, &ground.clients, &shared, self.clients, self.seed, &mut interrupt).await
        else {
            return Ok(Exit::Interrupted);
        };
        let after = tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
            after = self.conclude(&ui, &client, &shared, loaded, &tally) => after,
        };
        let (report, failed) = after;
        ui.show(&report, || report.text(ui.columns()), || report.total.ops_per_s.to_string())?;
        let answered = shared.live.answered.load(Ordering::Relaxed) > 0;
        match failed {
            Some(failure) => Err(failure.after_changes()),
            None => verdict(&ui, &report, &tally, &shared, has_written || answered),
        }
    }

    /// Connects, and loads what must be there.
    async fn prepare(&self, ui: &Ui, global: &Global) -> Result<Ground, Failure> {
        let mut keys = Keys::new(self.prefix.as_bytes())?;
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(session::connect(global).await?);
        }
        let chance = Chance::system();
        let (run, values) = (chance.number() as u32, Values::new(self.value_bytes as usize, &chance));
        let (loaded, has_written) = match self.check {
            // Keys that held nothing before, so that all is known of them.
            true => {
                keys = keys.below(&format!("check-{run:08x}/"))?;
                (0, false)
            }
            false => self.load(ui, &clients[0], &keys, &values, run).await?,
        };
        greet(&clients, &keys).await;
        ui.note(&whereabouts(&clients[0], &keys, self.keys));
        Ok(Ground { clients, keys, values, loaded, has_written, run })
    }

    /// Loads the keys if the workload needs them and they are not there. Returns how many are, and whether it did.
    async fn load(
        &self,
        ui: &Ui,
        client: &Client,
        keys: &Keys,
        values: &Values,
        run: u32,
    ) -> Result<(u64, bool), Failure> {
        let wanted = Loaded { keys: self.keys, value_bytes: self.value_bytes as usize };
        let found = Loaded::read(client, keys).await?;
        let fits = |found: &Loaded| found.value_bytes == wanted.value_bytes;
        if let Some(there) = found.filter(|found| fits(found) && found.keys >= wanted.keys) {
            return Ok((there.keys, false));
        }
        if self.load_only || self.workload.needs_keys() || self.workload.has(Kind::Insert) {
            load(ui, client, keys, values, run, wanted).await?;
            return Ok((wanted.keys, true));
        }
        match found {
            // What is written now is of another size than the marker says.
            Some(there) if !fits(&there) && self.workload.has(Kind::Put) => {
                Loaded::forget(client, keys).await.map(|()| (0, true))
            }
            found => Ok((found.map_or(0, |there| there.keys), false)),
        }
    }

    fn shared(&self, keys: &Keys, values: Values, loaded: u64, run: u32) -> Shared {
        Shared {
            workload: self.workload,
            keys: keys.clone(),
            key_count: self.keys,
            values,
            growth: Growth::new(loaded.max(self.keys)),
            loaded: loaded >= self.keys,
            pace: Pace::begin(self.warm_up, self.seconds, self.rate),
            reading: ReadOptions { consistency: self.consistency.into(), at: None },
            scan_length: self.scan_length,
            ledger: self.has_ledger().then(Ledger::default),
            history: self.check.then(|| History::begin(run)),
            run,
            live: Live::default(),
        }
    }

    /// Writes down what was inserted, verifies if asked to, and sums up. A failure of either does not lose the report.
    async fn conclude(
        &self,
        ui: &Ui,
        client: &Client,
        shared: &Arc<Shared>,
        loaded: u64,
        tally: &Tally,
    ) -> (Report, Option<Failure>) {
        let mut report = Report::new(self.setting(), shared.pace.measured().as_secs_f64(), tally);
        report.cut_short = shared.pace.was_cut_short();
        report.not_begun = self.rate.map(|_| shared.pace.not_begun());
        let mut failed = None;
        let there = Loaded { keys: shared.growth.there(), value_bytes: self.value_bytes as usize };
        if self.workload.has(Kind::Insert) && there.keys > loaded {
            failed = there.write(client, &shared.keys).await.err();
        }
        if let Some(ledger) = shared.ledger.as_ref().filter(|_| self.verify) {
            let answers = shared.live.wrong();
            let verified = verify(ui, client, &shared.keys, ledger, shared.run, loaded, answers).await;
            match verified {
                Ok(verified) => report.verified = Some(verified),
                Err(failure) => failed = Some(failure),
            }
        }
        if shared.history.is_some() {
            let (judge, judging) = (Arc::clone(shared), ui.clone());
            let checked =
                Exec::Threads.blocking(move || judge.history.as_ref().map(|all| all.check(&judging)));
            report.checked = checked.await;
            let clean = |checked: &Checked| checked.wrong == 0 && checked.undecided == 0;
            if failed.is_none() && report.checked.as_ref().is_some_and(clean) {
                failed = remove(client, &shared.keys, self.keys).await.err();
            }
        }
        (report, failed)
    }
}

/// Removes the keys of a run that was checked.
async fn remove(client: &Client, keys: &Keys, count: u64) -> Result<(), Failure> {
    let what = || "cannot remove the keys that were checked".to_owned();
    let mut batcher = client.batcher();
    for family in [Family::Values, Family::Numbers] {
        for number in 0..count {
            let key = keys.key(family, number);
            batcher.push(BatchOperation::Delete { key }).await.or_fail(what)?;
        }
    }
    batcher.finish().await.or_fail(what)?;
    Ok(())
}

/// Lets the clients work. `None`: interrupted twice.
async fn measure(
    ui: &Ui,
    clients: &[Client],
    shared: &Arc<Shared>,
    count: u64,
    seed: u64,
    interrupt: &mut Signal,
) -> Option<Tally> {
    let chance = Chance::from_seed(seed);
    let pacing = Arc::clone(shared);
    let pacer =
        Exec::Threads.spawn(async move { Exec::Threads.blocking(move || pacing.pace.release()).await });
    let working = (0..count).map(|writer| {
        let client = clients[writer as usize % clients.len()].clone();
        let operator = Operator::new(client, Arc::clone(shared), chance.fork(), writer as u16);
        Exec::Threads.spawn(operator.work())
    });
    let working = working.collect::<Vec<_>>();
    let mut ended = std::pin::pin!(join_all(working));
    let mut line = Line::start(ui, shared);
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut interrupted = false;
    let tallies = loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {
                if std::mem::replace(&mut interrupted, true) {
                    line.finish();
                    return None;
                }
                shared.pace.stop();
            }
            tallies = &mut ended => break tallies,
            _ = look.tick() => line.show(shared),
        }
    };
    line.finish();
    // It ends with the run.
    let _ = pacer.await;
    let mut tally = Tally::default();
    for one in tallies {
        tally.add(one.expect("a client that panics ends the process"));
    }
    Some(tally)
}

/// How the command ends, the report being out. `changed`: something was written for sure, also before the measurement.
fn verdict(ui: &Ui, report: &Report, tally: &Tally, shared: &Shared, changed: bool) -> Answer {
    let (errors, unknown) = (report.total.errors, report.total.unknown);
    if let Some(verified) = report.verified.as_ref().filter(|verified| verified.wrong > 0) {
        let what = format!("{} keys or answers are not as acknowledged", spell::count(verified.wrong));
        let failure = Failure::new(Exit::Damaged, what).cure("nomad status; keep the cluster as it is");
        return Err(failure.because(verified.first_wrong.clone().unwrap_or_default()));
    }
    if let Some(checked) = report.checked.as_ref().filter(|checked| checked.wrong > 0) {
        let what = format!("{} keys are not linearizable", spell::count(checked.wrong));
        let failure = Failure::new(Exit::Damaged, what).cure(format!(
            "nomad range --prefix {}; keep the cluster as it is",
            escape::short(shared.keys.prefix(), 60)
        ));
        return Err(failure.because(checked.first_wrong.clone().unwrap_or_default()));
    }
    if let Some(checked) = report.checked.as_ref().filter(|checked| checked.undecided > 0) {
        let what = format!("{} keys could not be checked", spell::count(checked.undecided));
        return Err(Failure::new(Exit::No, what).cure("the same with more --keys, or fewer --seconds"));
    }
    if let Some(trouble) = tally.trouble() {
        let first = trouble.because.join(": ");
        if report.total.ops == 0 {
            let failure = Failure::new(trouble.exit, "nothing was answered");
            let failure = Failure { because: trouble.because.clone(), ..failure };
            return Err(if changed || unknown > 0 { failure.after_changes() } else { failure });
        }
        let (errors, unknown) = (spell::count(errors), spell::count(unknown));
        ui.warn(&format!("{errors} operations failed, {unknown} are of unknown outcome; one: {first}"));
    }
    match report.cut_short {
        true if shared.is_full() => {
            ui.warn("the run was ended early: it did as much as can be kept account of");
            Ok(Exit::Done)
        }
        true => Ok(Exit::Interrupted),
        false => Ok(Exit::Done),
    }
}

/// Has every connection opened and every leader found before time is taken: a handshake is not an operation. Who does not
/// answer now is met in the run.
async fn greet(clients: &[Client], keys: &Keys) {
    for client in clients {
        let greet = |part: KeyRange| async move { drop(client.get(part.start.name()).await) };
        stream::iter(parts(client, keys)).for_each_concurrent(GREETINGS_AT_ONCE, greet).await;
    }
}

/// The part of the keys that each shard has.
fn parts(client: &Client, keys: &Keys) -> Vec<KeyRange> {
    let (all, map) = (keys.all(Family::Values), client.map());
    let parts = map.shards().map(|route| route.range.intersection(&all));
    parts.filter(|part| !part.is_empty()).collect()
}

/// Where the keys are: in how many shards the load is spread decides much.
fn whereabouts(client: &Client, keys: &Keys, count: u64) -> String {
    let shards = parts(client, keys).len();
    let plural = if shards == 1 { "" } else { "s" };
    let prefix = escape::short(keys.prefix(), 40);
    format!("{} keys below {prefix}, in {shards} shard{plural}", spell::count(count))
}
