use super::*;
use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::map::{Replica, Role};
use crate::model::wire::{LogId, Member, VoterSet};

const PARENT: [u64; 3] = [1, 2, 3];
const CHILD: [u64; 3] = [11, 12, 13];

fn membership(replicas: [u64; 3], index: u64) -> Membership {
    let members = replicas.iter().zip(1..).map(|(replica, node)| Member { replica: *replica, node });
    Membership {
        log_id: Some(LogId { term: 0, index }),
        configs: vec![VoterSet { replicas: replicas.to_vec() }],
        members: members.collect(),
    }
}

fn job(phase: JobPhase) -> (JobRecord, SplitJob) {
    let split = SplitJob {
        child: 9,
        at: Key::from_name(b"m").unwrap().to_bytes(),
        epoch: 4,
        membership: Some(membership(CHILD, 0)),
        ring_position: 7,
        by_itself: false,
    };
    (
        JobRecord {
            shard: 1,
            phase: phase.into(),
            split: Some(split.clone().into()),
            ..JobRecord::default()
        },
        split,
    )
}

fn seen(epoch: u64, birth: u64) -> Seen {
    let alive = (1..=3).map(NodeId).collect();
    Seen { membership: membership(PARENT, 3), applied_index: 5, epoch, birth, alive, ..Seen::default() }
}

fn child(replicas: &[u64]) -> Shard {
    let replica = |id: &u64| Replica { id: ReplicaId(*id), node: NodeId(1), role: Role::Voter };
    Shard {
        id: ShardId(9),
        range: KeyRange::user(),
        epoch: 5,
        replicas: replicas.iter().map(replica).collect(),
        ring_position: 7,
        by_itself: false,
    }
}

#[test]
fn a_split_goes_its_way() {
    let (learn, split) = job(JobPhase::JobLearn);
    assert_eq!(next(&learn, &split, None, None), Step::Wait(Reason::NoLeader));
    let mut now = seen(4, 0);
    assert_eq!(next(&learn, &split, Some(&now), None), Step::Wait(Reason::Preparing));
    now.now_ms = PREPARE_MAX_MS + 1;
    assert_eq!(
        next(&learn, &split, Some(&now), None),
        Step::Fence,
        "not without: keys would wait for as long"
    );
    (now.now_ms, now.prepared) = (0, true);
    assert_eq!(next(&learn, &split, Some(&now), None), Step::Split);
    assert_eq!(next(&learn, &split, Some(&seen(5, 9)), None), Step::Record { epoch: 5 });
    let (settles, split) = job(JobPhase::JobRemove);
    let mut now = seen(5, 9);
    let waits = Step::Wait(Reason::Making(NodeId(1)));
    assert_eq!(next(&settles, &split, Some(&now), Some(&child(&CHILD))), waits);
    now.made = CHILD.map(ReplicaId).into();
    assert_eq!(next(&settles, &split, Some(&now), Some(&child(&CHILD))), Step::Settle);
    assert_eq!(next(&settles, &split, Some(&seen(5, 0)), Some(&child(&CHILD))), Step::End);
}

#[test]
fn a_split_given_up_cannot_come_late() {
    let (learn, split) = job(JobPhase::JobLearn);
    let mut lost = seen(4, 0);
    lost.damaged.insert(ReplicaId(2));
    assert_eq!(next(&learn, &split, Some(&lost), None), Step::Fence, "its epoch may still come");
    lost.epoch = 5;
    assert_eq!(next(&learn, &split, Some(&lost), None), Step::Abandon(Reason::Changed));
    lost.birth = 9;
    assert_eq!(next(&learn, &split, Some(&lost), None), Step::Record { epoch: 5 }, "it had come before");
    let mut silent = seen(4, 0);
    silent.alive.remove(&NodeId(3));
    assert_eq!(next(&learn, &split, Some(&silent), None), Step::Wait(Reason::Silent(NodeId(3))));
    let late = Seen { now_ms: WAIT_MAX_MS + 1, ..silent };
    assert_eq!(next(&learn, &split, Some(&late), None), Step::Fence, "nothing is waited for too long");
    let changing = Seen { membership: membership(PARENT, 6), ..seen(4, 0) };
    assert_eq!(next(&learn, &split, Some(&changing), None), Step::Wait(Reason::Uncommitted));
}

#[test]
fn a_birth_is_settled_when_nobody_waits_for_it() {
    let (settles, split) = job(JobPhase::JobRemove);
    let mut now = seen(5, 9);
    now.made = [11, 12].map(ReplicaId).into();
    now.damaged.insert(ReplicaId(13));
    assert_eq!(next(&settles, &split, Some(&now), Some(&child(&CHILD))), Step::End, "it is made anew first");
    now.damaged.clear();
    let waits_for = Step::Wait(Reason::Making(NodeId(3)));
    assert_eq!(next(&settles, &split, Some(&now), Some(&child(&CHILD))), waits_for);
    now.now_ms = WAIT_MAX_MS + 1;
    assert_eq!(
        next(&settles, &split, Some(&now), Some(&child(&CHILD))),
        Step::End,
        "others wait for the job"
    );
    let first = membership(CHILD, 0);
    assert_eq!(waits(&first, &now.made, Some(&child(&CHILD))), Some((NodeId(3), ReplicaId(13))));
    assert_eq!(waits(&first, &now.made, Some(&child(&[11, 12, 20]))), None);
}

#[test]
fn the_halves_are_the_whole() {
    let (_, split) = job(JobPhase::JobLearn);
    let parent = ShardRecord {
        shard: 1,
        start: Key::FIRST_USER.to_bytes(),
        epoch: 4,
        replicas: replicas(&membership(PARENT, 3)),
        ring_position: 3,
        ..ShardRecord::default()
    };
    let (lower, upper) = halves(&parent, &split, 5);
    assert_eq!((&lower.start, &lower.end), (&parent.start, &split.at));
    assert_eq!((&upper.start, &upper.end), (&split.at, &parent.end));
    assert_eq!((lower.epoch, upper.epoch, upper.shard), (5, 5, 9));
    let nodes = |record: &ShardRecord| record.replicas.iter().map(|replica| replica.node).collect::<Vec<_>>();
    assert_eq!(nodes(&lower), nodes(&upper));
}
