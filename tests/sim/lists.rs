//! Clients that append to lists: each a list of elements kept in one value, read and then swapped for a longer one if it is
//! still what was read, as whoever has no transactions does it. No element is ever appended twice, nothing is tried again.
//!
//! | judged | how |
//! |---|---|
//! | *lists: order* | of any two reads of a list one is the beginning of the other |
//! | *lists: lost* | what was acknowledged, or seen by anybody, is in all reads that began afterwards |
//! | *lists: strange* | no element is there twice, none that nobody appended, none whose append is known to have failed |
//!
//! What is not known to be appended may be there or not. A list that is long is left for a new one, so that as much is
//! remembered as a list holds; all are read once more in the end, and deleted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::client::{Cas, Client, ErrorOutcome, Expected, Value};
use nodenomad::net::chance::Chance;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::simulated::World;

/// Lists at a time, spread over all shards.
const LISTS: usize = 4;
/// A list with so many elements is left.
const LONG: usize = 60;
/// Clients at work.
const HANDS: u32 = 3;
/// Of a hundred operations these are reads and no more.
const READS: u64 = 35;
/// The longest pause of a client, milliseconds.
const PAUSE_MS: u64 = 60;

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Under way, or nobody knows.
    Open,
    Done,
    Failed,
}

/// One list, and all that was told of it.
struct List {
    key: String,
    tried: RefCell<BTreeMap<u64, Outcome>>,
    /// The longest that was seen: all others are beginnings of it.
    longest: RefCell<Vec<u64>>,
    /// So many of it were seen by an operation that is answered.
    sure: Cell<usize>,
}

/// What all of them have been told.
pub struct Lists {
    next: Cell<u64>,
    stop: Cell<bool>,
    pub done: Cell<u64>,
    pub unknown: Cell<u64>,
    /// All of a round; the last [`LISTS`] are those in use.
    lists: RefCell<Vec<Rc<List>>>,
}

struct Hand {
    lists: Rc<Lists>,
    client: Client,
    chance: Chance,
}

impl Lists {
    pub fn new() -> Rc<Lists> {
        let lists = Lists {
            next: Cell::new(0),
            stop: Cell::new(false),
            done: Cell::new(0),
            unknown: Cell::new(0),
            lists: RefCell::default(),
        };
        (0..LISTS).for_each(|_| lists.begin_list());
        Rc::new(lists)
    }

    /// Puts clients to work.
    pub async fn start(self: &Rc<Self>, world: &World) -> Vec<JoinHandle<()>> {
        self.stop.set(false);
        let mut working = Vec::new();
        for number in 0..HANDS {
            let client = world.client(&format!("lists-{number}")).await;
            let hand = Hand { lists: self.clone(), client, chance: world.chance.fork() };
            working.push(tokio::task::spawn_local(hand.run()));
        }
        working
    }

    /// Ends the work: every list is read once more and deleted, and all begin anew.
    pub async fn stop(self: &Rc<Self>, world: &World, working: Vec<JoinHandle<()>>) {
        self.stop.set(true);
        for one in working {
            one.await.expect("clients do not panic");
        }
        let hand =
            Hand { lists: self.clone(), client: world.client("lists").await, chance: world.chance.fork() };
        for list in self.lists.take() {
            assert!(hand.read(&list).await.is_some(), "lists: {} can be read in the end", list.key);
            let deleted = hand.client.delete(list.key.as_bytes()).await;
            deleted.unwrap_or_else(|error| panic!("lists: {} can be deleted in the end: {error}", list.key));
        }
        (0..LISTS).for_each(|_| self.begin_list());
    }

    /// A number that was not there before.
    fn next(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    fn begin_list(&self) {
        let n = self.next();
        let letter = char::from(b'a' + (n * 7 % 26) as u8);
        self.lists.borrow_mut().push(Rc::new(List::new(format!("{letter}/list-{n}"))));
    }

    /// One of those in use; a new one in its place if it is long.
    fn any(&self, chance: &Chance) -> Rc<List> {
        let n = {
            let mut lists = self.lists.borrow_mut();
            let n = lists.len() - LISTS + chance.between(0, LISTS as u64) as usize;
            if lists[n].longest.borrow().len() < LONG {
                return lists[n].clone();
            }
            let in_use = lists.len() - LISTS;
            lists.swap(n, in_use);
            in_use
        };
        self.begin_list();
        self.lists.borrow()[n + LISTS].clone()
    }
}

impl List {
    fn new(key: String) -> List {
        List { key, tried: RefCell::default(), longest: RefCell::default(), sure: Cell::new(0) }
    }

    /// Judges what an operation has seen that began when `floor` elements were sure.
    fn see(&self, seen: &[u64], floor: usize) {
        let (key, mut longest) = (&self.key, self.longest.borrow_mut());
        let both = seen.len().min(longest.len());
        assert!(
            seen[..both] == longest[..both],
            "lists: order: {key} is {seen:?} to one and {longest:?} to another"
        );
        assert!(
            seen.len() >= floor,
            "lists: lost: {floor} elements were in {key}, {:?}, and now they are {seen:?}",
            &longest[..floor]
        );
        for element in &seen[both..] {
            assert!(!longest.contains(element), "lists: strange: {element} is in {key} twice: {seen:?}");
            let outcome = self.tried.borrow().get(element).copied();
            assert!(
                matches!(outcome, Some(Outcome::Open | Outcome::Done)),
                "lists: strange: {element} is in {key}, {seen:?}; appending it: {outcome:?}"
            );
            longest.push(*element);
        }
        self.sure.set(self.sure.get().max(seen.len()));
    }

    /// Notes how an append came out.
    fn settle(&self, element: u64, outcome: Outcome) {
        let there = self.longest.borrow().contains(&element);
        assert!(
            outcome != Outcome::Failed || !there,
            "lists: strange: appending {element} to {} has failed, and it is there",
            self.key
        );
        self.tried.borrow_mut().insert(element, outcome);
    }
}

/// A list as it is stored: how many, then each.
fn text_of(list: &[u64]) -> String {
    let elements: Vec<String> = list.iter().map(u64::to_string).collect();
    format!("{}:{}", list.len(), elements.join(","))
}

fn list_of(key: &str, value: Option<&Value>) -> Vec<u64> {
    let Some(value) = value else { return Vec::new() };
    let text = std::str::from_utf8(&value.value).expect("only text was written");
    let (count, elements) = text.split_once(':').expect("it begins with how many there are");
    let list: Vec<u64> = elements.split(',').map(|one| one.parse().expect("elements are numbers")).collect();
    assert_eq!(count, list.len().to_string(), "lists: torn: {key} is {text}");
    list
}

impl Hand {
    async fn run(self) {
        while !self.lists.stop.get() {
            let list = self.lists.any(&self.chance);
            match self.chance.between(0, 100) {
                0..READS => _ = self.read(&list).await,
                _ => self.append(&list).await,
            }
            sleep(Duration::from_millis(self.chance.between(0, PAUSE_MS))).await;
        }
    }

    fn count(count: &Cell<u64>) {
        count.set(count.get() + 1);
    }

    /// What is there; `None` if nobody says.
    async fn read(&self, list: &List) -> Option<Vec<u64>> {
        let floor = list.sure.get();
        let found = self.client.get(list.key.as_bytes()).await.ok()?;
        let seen = list_of(&list.key, found.as_ref());
        list.see(&seen, floor);
        Self::count(&self.lists.done);
        Some(seen)
    }

    async fn append(&self, list: &List) {
        let Some(before) = self.read(list).await else { return };
        let element = self.lists.next();
        list.settle(element, Outcome::Open);
        let mut after = before.clone();
        after.push(element);
        let expected = match before.is_empty() {
            true => Expected::Absent,
            false => Expected::Value(text_of(&before).into()),
        };
        let floor = list.sure.get();
        match self.client.cas(list.key.as_bytes(), expected, text_of(&after)).await {
            Ok(Cas::Done { .. }) => {
                list.settle(element, Outcome::Done);
                list.see(&after, floor);
                Self::count(&self.lists.done);
            }
            Ok(Cas::Failed { found }) => {
                list.settle(element, Outcome::Failed);
                list.see(&list_of(&list.key, found.as_ref()), floor);
                Self::count(&self.lists.done);
            }
            Err(error) if error.outcome() == ErrorOutcome::Unknown => Self::count(&self.lists.unknown),
            Err(_) => list.settle(element, Outcome::Failed),
        }
    }
}
