//! Plans: what would move if something happened. Nothing does.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::client::Client;
use crate::cmd::fail::Failure;
use crate::cmd::ui::Ui;
use crate::cmd::{session, spell, table};
use crate::model::id::{NodeId, ShardId};
use crate::net::wire::admin_request::Body;
use crate::net::wire::{Plan, PlanGet, PlannedChange, plan_get};

const HEADER: [&str; 6] = ["SHARD", "FROM", "TO", ">BYTES", ">MAY FAIL", "WHY"];
/// How fast a node is taken to copy where nothing bounds it, in bytes a second.
const USUAL_BYTES_PER_S: u64 = 100 << 20;
/// What a move takes beside copying: its stages, each looked at a few times a second.
const USUAL_MOVE_S: f64 = 2.0;

/// A plan as it is shown.
#[derive(Debug, PartialEq, Serialize)]
pub struct PlanView {
    /// Says where everything is: the plan can be applied as long as that stays so.
    pub made_for: String,
    /// In order.
    pub changes: Vec<ChangeView>,
    /// Of the nodes that something goes to.
    pub room: Vec<RoomView>,
    /// What is copied, in all.
    pub bytes: u64,
    /// How long that takes, about.
    pub seconds: u64,
}

/// One replica that moves, is made or is given up.
#[derive(Debug, PartialEq, Serialize)]
pub struct ChangeView {
    pub shard: u64,
    /// `None`: there will be one replica more.
    pub source: Option<u64>,
    /// `None`: there will be one less.
    pub target: Option<u64>,
    pub bytes: u64,
    /// How many voters may still fail at every moment of it without stopping the shard.
    pub may_fail: u64,
    pub reason: String,
}

/// The disk of a node that something goes to.
#[derive(Debug, PartialEq, Serialize)]
pub struct RoomView {
    pub node: u64,
    pub needed_bytes: u64,
    /// What is not kept free.
    pub free_bytes: u64,
}

/// Asks what would be done.
pub async fn ask(
    client: &Client,
    what: plan_get::What,
    failed: impl FnOnce() -> String,
) -> Result<PlanView, Failure> {
    let body = Body::PlanGet(PlanGet { what: Some(what) });
    let answer = session::admin(client, body, failed).await?;
    Ok(PlanView::new(&answer.plan.unwrap_or_default()))
}

impl PlanView {
    pub fn new(plan: &Plan) -> PlanView {
        let some = |node: u64| Some(node).filter(|node| *node != 0);
        let change = |change: &PlannedChange| ChangeView {
            shard: change.shard,
            source: some(change.from_node),
            target: some(change.to_node),
            bytes: change.bytes,
            may_fail: change.margin,
            reason: change.reason.clone(),
        };
        let room = plan.room.iter().map(|room| RoomView {
            node: room.node,
            needed_bytes: room.needed_bytes,
            free_bytes: room.free_bytes,
        });
        PlanView {
            made_for: plan.made_for.clone(),
            changes: plan.changes.iter().map(change).collect(),
            room: room.collect(),
            bytes: plan.changes.iter().map(|change| change.bytes).sum(),
            seconds: seconds(plan),
        }
    }

    /// Prints it.
    pub fn show(&self, ui: &Ui) -> Result<(), Failure> {
        let raw = || self.changes.iter().map(|change| format!("s{}\n", change.shard)).collect();
        ui.show(self, || self.page(ui.columns()), raw)
    }

    fn page(&self, columns: Option<u16>) -> String {
        if self.changes.is_empty() {
            return "nothing would move".to_owned();
        }
        let rows = self.changes.iter().map(row).collect();
        let mut page = table::render(columns, &HEADER, rows);
        page.push_str(&format!("\n{}\n", self.sum()));
        for room in &self.room {
            let (node, short) = (NodeId(room.node), room.needed_bytes > room.free_bytes);
            let (needed, free) = (spell::size(room.needed_bytes), spell::size(room.free_bytes));
            let verdict = if short { ": not enough" } else { "" };
            page.push_str(&format!("{node} gets {needed} and has room for {free}{verdict}\n"));
        }
        page
    }

    /// It in one line.
    pub fn sum(&self) -> String {
        let count = self.changes.len();
        let (noun, bytes) = (if count == 1 { "change" } else { "changes" }, spell::size(self.bytes));
        format!("{count} {noun}, {bytes} to copy, about {}", spell::span(self.seconds * 1000))
    }
}

fn row(change: &ChangeView) -> Vec<String> {
    let node = |node: Option<u64>| node.map_or("-".to_owned(), |node| NodeId(node).to_string());
    vec![
        ShardId(change.shard).to_string(),
        node(change.source),
        node(change.target),
        spell::size(change.bytes),
        change.may_fail.to_string(),
        change.reason.clone(),
    ]
}

/// An estimate: the busiest node copies all that it sends and receives, and so many moves at a time go through their stages.
fn seconds(plan: &Plan) -> u64 {
    let per_s = if plan.bytes_per_s == 0 { USUAL_BYTES_PER_S } else { plan.bytes_per_s };
    let mut busy: BTreeMap<u64, u64> = BTreeMap::new();
    for change in plan.changes.iter().filter(|change| change.to_node != 0) {
        for node in [change.from_node, change.to_node] {
            *busy.entry(node).or_default() += change.bytes;
        }
    }
    let copying = busy.values().max().copied().unwrap_or(0) as f64 / per_s as f64;
    let rounds = plan.changes.len().div_ceil(plan.concurrent.max(1) as usize);
    (copying + rounds as f64 * USUAL_MOVE_S).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::wire::NodeRoom;

    fn plan(changes: &[(u64, u64, u64, u64)]) -> Plan {
        let change = |(shard, from_node, to_node, bytes): &(u64, u64, u64, u64)| PlannedChange {
            shard: *shard,
            from_node: *from_node,
            to_node: *to_node,
            reason: "drain".to_owned(),
            bytes: *bytes,
            margin: 1,
        };
        Plan {
            changes: changes.iter().map(change).collect(),
            room: vec![NodeRoom { node: 4, free_bytes: 1 << 30, needed_bytes: 2 << 30 }],
            bytes_per_s: 0,
            concurrent: 8,
            made_for: String::new(),
        }
    }

    #[test]
    fn a_plan_says_how_long_it_takes() {
        assert_eq!(PlanView::new(&plan(&[])).seconds, 0);
        assert_eq!(PlanView::new(&plan(&[(1, 2, 4, 0)])).seconds, 2);
        let many: Vec<_> = (0..9).map(|shard| (shard, 2, 4, 200 << 20)).collect();
        assert_eq!(PlanView::new(&plan(&many)).seconds, 18 + 4, "nine times two seconds, and two rounds");
        let slow = Plan { bytes_per_s: 10 << 20, ..plan(&[(1, 2, 4, 200 << 20)]) };
        assert_eq!(PlanView::new(&slow).seconds, 22);
    }

    #[test]
    fn a_plan_says_where_room_is_short() {
        let page = PlanView::new(&plan(&[(1, 2, 4, 2 << 30), (2, 2, 0, 0)])).page(Some(80));
        assert!(page.contains("n4 gets 2.0 GiB and has room for 1.0 GiB: not enough"), "{page}");
        assert!(page.contains("2 changes, 2.0 GiB to copy"), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        assert_eq!(PlanView::new(&plan(&[])).page(Some(80)), "nothing would move");
    }
}
