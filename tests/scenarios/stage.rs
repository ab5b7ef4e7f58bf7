//! Where a story is played: the world, who speaks to it, and what the story has said so far.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use nodenomad::model::id::{ReplicaId, ShardId};
use nodenomad::net::identity::JoinToken;
use nodenomad::net::wire::{NodeOrder, NodeOrderKind, admin_request};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::clients::{Clients, Links, perform};
use crate::conditions::{Look, Since};
use crate::language::form::{Args, Token, node};
use crate::language::outcome::Outcome;
use crate::language::table::Verb;
use crate::language::{Step, time_ms};
use crate::load::{Counting, Load};
use crate::simulated::World;
use crate::simulated::world::SPLIT_AT;

/// How long things may take about which a script says nothing.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// How soon the process of a node that has stopped is gone.
const SUPERVISE_EVERY: Duration = Duration::from_millis(50);

/// What came out otherwise than a step wants it.
pub struct Wrong {
    pub expected: String,
    pub found: String,
}

pub fn wrong<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { expected: expected.into(), found: found.into() })
}

/// The replicas of a machine that is down, and their last entries.
pub type Had = BTreeMap<ShardId, (ReplicaId, u64)>;

/// What is remembered of machines whose processes have ended.
#[derive(Default)]
pub struct Past {
    /// Why each stopped by itself, since it was last started.
    pub stopped: RefCell<BTreeMap<usize, String>>,
    pub had: RefCell<BTreeMap<usize, Had>>,
}

pub struct Stage {
    pub world: Rc<World>,
    pub clients: Clients,
    pub links: Links,
    pub past: Rc<Past>,
    pub load: Option<Load>,
    pub counting: Option<Counting>,
    /// Who led each shard in which term at `note terms`.
    pub noted: BTreeMap<ShardId, (u64, usize)>,
    pub copies: BTreeMap<usize, nodenomad::node::disk::sim::SimDisk>,
    token: JoinToken,
    begun: BTreeMap<String, JoinHandle<Outcome>>,
}

/// The machines that a hole names.
pub fn machines(words: &[Token], count: usize) -> Vec<usize> {
    match words {
        [all] if all.is("all") => (0..count).collect(),
        _ => words.iter().filter_map(|word| node(&word.text)).map(|n| n - 1).collect(),
    }
}

/// The shards that a hole names.
pub fn shards(words: &[Token]) -> Vec<ShardId> {
    match words[0].text.as_str() {
        "all" => (0..SPLIT_AT.len() as u64 + 2).map(ShardId).collect(),
        "meta" => vec![ShardId::META],
        text => vec![ShardId(text[1..].parse().expect("a shard has a number"))],
    }
}

pub fn duration(text: &str) -> Duration {
    Duration::from_millis(time_ms(text).expect("the parser has seen it") as u64)
}

impl Stage {
    /// Makes the cluster of a story's first step.
    pub async fn set(world: Rc<World>, nodes: usize) -> Stage {
        match nodes {
            1 => drop(world.alone().await),
            _ => drop(world.whole(nodes).await),
        }
        let past = Rc::new(Past::default());
        tokio::task::spawn_local(supervise(world.clone(), past.clone()));
        let mut links = Links::default();
        let clients = Clients::new(&world, &mut links).await;
        let token = world.token().await;
        Stage {
            world,
            clients,
            links,
            past,
            load: None,
            counting: None,
            noted: BTreeMap::new(),
            copies: BTreeMap::new(),
            token,
            begun: BTreeMap::new(),
        }
    }

    pub fn machines(&self, words: &[Token]) -> Vec<usize> {
        machines(words, self.world.count())
    }

    /// Plays one step; then nobody who works in the background may have found anything wrong.
    pub async fn play(&mut self, step: &Step) -> Result<(), Wrong> {
        let args = &step.args;
        match step.verb {
            Verb::Nodes => {}
            Verb::Do => self.ask(step).await?,
            Verb::Begin => {
                let (act, operation) = step.operation.clone().expect("the form has one");
                let client = self.clients.of(args).clone();
                let task = tokio::task::spawn_local(async move { perform(&client, act, &operation).await });
                self.begun.insert(args.text("NAME").to_owned(), task);
            }
            Verb::Ended => self.ended(step).await?,
            Verb::Expect | Verb::Until | Verb::Hold => self.look(step).await?,
            Verb::Config => {
                let (name, value) = (args.text("NAME"), args.text("VALUE"));
                self.world.configure(&self.clients.any, name, value).await;
            }
            Verb::Lead => {
                self.lead(&shards(args.words("SHARD")), self.machines(args.words("NODE"))[0]).await?
            }
            Verb::Join => self.join().await,
            Verb::Leave => self.leave(self.machines(args.words("NODE"))[0]).await?,
            Verb::Load => self.load = Some(Load::start(&self.world, &mut self.links, args).await),
            Verb::EndLoad => match self.load.take() {
                Some(load) => load.end(&self.clients.any).await?,
                None => return wrong("a load", "there is none"),
            },
            Verb::Count => self.counting = Some(Counting::start(&self.world, &mut self.links, args).await),
            Verb::EndCount => match self.counting.take() {
                Some(counting) => counting.end(&self.clients.any).await?,
                None => return wrong("somebody who counts", "there is nobody"),
            },
            Verb::Wait => sleep(duration(args.text("TIME"))).await,
            Verb::Note => self.noted = self.terms(),
            _ => self.harm(step).await?,
        }
        self.background()
    }

    /// What whoever works in the background has found wrong.
    fn background(&self) -> Result<(), Wrong> {
        match self.load.as_ref().and_then(|load| load.found_wrong()) {
            Some(found) => wrong("nothing that the load reads is wrong", found),
            None => Ok(()),
        }
    }

    async fn ask(&self, step: &Step) -> Result<(), Wrong> {
        let (act, operation) = step.operation.as_ref().expect("the form has one");
        let begin = Instant::now();
        let found = perform(self.clients.of(&step.args), *act, operation).await;
        judge(step, &found, begin.elapsed())
    }

    async fn ended(&mut self, step: &Step) -> Result<(), Wrong> {
        let name = step.args.text("NAME");
        let Some(mut task) = self.begun.remove(name) else {
            return wrong("an operation under way", "its end was seen above");
        };
        if step.outcomes.contains(&Outcome::Waiting) && !task.is_finished() {
            self.begun.insert(name.to_owned(), task);
            return Ok(());
        }
        let (begin, limit) = (Instant::now(), step.args.optional("within").map_or(LIMIT, duration));
        match timeout(limit, &mut task).await {
            Ok(found) => judge(step, &found.expect("clients do not panic"), begin.elapsed()),
            Err(_) => wrong(outcomes(step), format!("nothing yet, after {limit:?}")),
        }
    }

    async fn look(&self, step: &Step) -> Result<(), Wrong> {
        let (fact, args) = step.condition.as_ref().expect("the form has one");
        let since = Since::now(self);
        let look = || since.look(self, *fact, args);
        let begin = Instant::now();
        let limit = |name, usual| step.args.optional(name).map_or(usual, duration);
        match step.verb {
            Verb::Expect => match look().await {
                Look::So => Ok(()),
                Look::NotSo(found) | Look::Never(found) => wrong("it is so now", found),
            },
            Verb::Hold => {
                let long = Duration::from_millis(time_ms(step.args.text("TIME")).unwrap_or(0) as u64);
                while begin.elapsed() < long {
                    self.background()?;
                    if let Look::NotSo(found) | Look::Never(found) = look().await {
                        return wrong("it stays so", format!("after {:?}: {found}", begin.elapsed()));
                    }
                    sleep(LOOK_EVERY).await;
                }
                Ok(())
            }
            _ => {
                let within = limit("within", LIMIT);
                let mut last = String::from("no answer to what was asked");
                loop {
                    self.background()?;
                    let left = within.saturating_sub(begin.elapsed());
                    match timeout(left, look()).await {
                        Ok(Look::So) => return Ok(()),
                        Ok(Look::NotSo(found)) => last = found,
                        Ok(Look::Never(found)) => return wrong("it comes to be so", found),
                        Err(_) => {}
                    }
                    if begin.elapsed() >= within {
                        return wrong(format!("it is so within {within:?}"), last);
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// Hands leadership over until it is there.
    async fn lead(&self, shards: &[ShardId], n: usize) -> Result<(), Wrong> {
        for shard in shards {
            let begin = Instant::now();
            while self.world.leader_of(*shard) != Some(n) {
                if begin.elapsed() > LIMIT {
                    return wrong(format!("n{} leads {shard}", n + 1), "it does not come to it");
                }
                if let (Some(leader), Some(to)) =
                    (self.world.leader_of(*shard), self.world.machine(n).node().shards.get(*shard))
                    && let Some(replica) = self.world.machine(leader).node().shards.get(*shard)
                {
                    replica.group.transfer_leadership(to.id, Duration::from_secs(3)).await;
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    async fn join(&mut self) {
        self.world.join(&self.token).await;
        self.clients.add(&self.world, &mut self.links).await;
    }

    async fn leave(&self, n: usize) -> Result<(), Wrong> {
        let node = self.world.machine(n).id().0;
        let order = NodeOrder { node, order: NodeOrderKind::NodeRemove.into(), force: true, dry_run: false };
        match self.clients.any.admin(admin_request::Body::NodeOrder(order)).await {
            Ok(_) => Ok(()),
            Err(error) => wrong("it leaves", format!("{error}: {}", error.trouble())),
        }
    }

    /// Who leads each shard now, in which term.
    pub fn terms(&self) -> BTreeMap<ShardId, (u64, usize)> {
        let all = (0..SPLIT_AT.len() as u64 + 2).map(ShardId);
        let term = |n: usize, shard| {
            self.world.machine(n).node().shards.get(shard).map(|replica| replica.group.leadership().term)
        };
        all.filter_map(|shard| {
            let leader = self.world.leader_of(shard)?;
            Some((shard, (term(leader, shard)?, leader)))
        })
        .collect()
    }
}

/// What a step wants to come out.
fn outcomes(step: &Step) -> String {
    let all: Vec<String> = step.outcomes.iter().map(Outcome::to_string).collect();
    all.join(" or ")
}

fn judge(step: &Step, found: &Outcome, took: Duration) -> Result<(), Wrong> {
    if !step.outcomes.iter().any(|outcome| outcome.allows(found)) {
        return wrong(outcomes(step), format!("{found}, after {took:?}"));
    }
    let limit = limit_of(&step.args);
    match limit.filter(|limit| took > *limit) {
        Some(limit) => {
            wrong(format!("{} within {limit:?}", outcomes(step)), format!("{found}, after {took:?}"))
        }
        None => Ok(()),
    }
}

fn limit_of(args: &Args) -> Option<Duration> {
    args.optional("within").map(duration)
}

/// What a process that is about to end has.
pub fn remember(world: &World, past: &Past, n: usize) {
    if !world.machine(n).is_running() {
        return;
    }
    let replicas = world.machine(n).node().shards.all();
    let had = replicas.iter().map(|replica| (replica.shard, (replica.id, world.log_of(n, replica.shard).1)));
    past.had.borrow_mut().insert(n, had.collect());
}

/// A node that has stopped ends its process, as the program does.
async fn supervise(world: Rc<World>, past: Rc<Past>) {
    loop {
        sleep(SUPERVISE_EVERY).await;
        for n in 0..world.count() {
            let machine = world.machine(n);
            if !machine.is_running() {
                continue;
            }
            if let Some(why) = machine.node().stopped().now_or_never() {
                remember(&world, &past, n);
                past.stopped.borrow_mut().insert(n, format!("{why:?}"));
                machine.die();
            }
        }
    }
}
