//! Everything that can be said in a script. The README's tables are written from here.

/// One thing that can be said: how, what it is to the program, what it means to people.
pub struct Row<V> {
    pub form: &'static str,
    pub verb: V,
    pub meaning: &'static str,
}

const fn row<V>(form: &'static str, verb: V, meaning: &'static str) -> Row<V> {
    Row { form, verb, meaning }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Nodes,
    Config,
    Lead,
    Join,
    Leave,
    Do,
    Begin,
    Ended,
    Load,
    EndLoad,
    Count,
    EndCount,
    Flush,
    Partition,
    PartitionOneWay,
    Deafen,
    Heal,
    Slow,
    Reset,
    Kill,
    PowerCut,
    Start,
    Pause,
    Resume,
    Move,
    Hang,
    Eio,
    Full,
    Rot,
    Lose,
    Mend,
    Keep,
    Restore,
    Clock,
    Wait,
    Note,
    Expect,
    Until,
    Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Put,
    Get,
    Delete,
    Cas,
    Incr,
    Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Leader,
    LeadsNothing,
    Voters,
    Whole,
    Equal,
    Stopped,
    Runs,
    CaughtUp,
    NeedsSnapshot,
    GotSnapshot,
    Renewed,
    TermsUnchanged,
    Clocks,
    Writes,
    WritesEvery,
    Increments,
}

/// Steps, in the order in which a story needs them.
pub const STEPS: &[Row<Verb>] = &[
    row(
        "nodes NUMBER",
        Verb::Nodes,
        "Makes the cluster, of this many nodes, and waits until it is whole. The first step of every story. One node has shards of one replica, more have shards of three.",
    ),
    row("config NAME VALUE", Verb::Config, "Changes a setting of the cluster, as `nomad config set` does."),
    row(
        "lead SHARD NODE",
        Verb::Lead,
        "Has the node lead the shard, or all shards, by handing leadership over.",
    ),
    row("join NODE", Verb::Join, "Adds a node to the cluster. Nodes join in the order of their numbers."),
    row(
        "leave NODE",
        Verb::Leave,
        "Removes the node from the cluster, as `nomad node remove --force` does. It may be down.",
    ),
    row(
        "OPERATION [via NODE | only NODE] -> OUTCOME [within TIME]",
        Verb::Do,
        "A client does something, and this must come of it. `via n1`: a client that stands next to n1 and reaches whatever n1 reaches. `only n1`: one that reaches n1 and nobody else, ever. Otherwise it reaches everybody. Clients give up after 10 s.",
    ),
    row(
        "begin OPERATION [via NODE | only NODE] as NAME",
        Verb::Begin,
        "The same, but the story goes on at once.",
    ),
    row(
        "expect NAME -> OUTCOME [within TIME]",
        Verb::Ended,
        "What was begun under this name ends so. `waiting`: it has not ended yet.",
    ),
    row(
        "load NUMBER [size SIZE] [pause TIME]",
        Verb::Load,
        "Starts so many clients that each write growing numbers to keys of their own, on all shards, and read those of others. Each answer is judged: nothing acknowledged may be missing, nothing may be there that nobody wrote. `size`: values up to this (200B). `pause`: the longest between two operations (40ms).",
    ),
    row(
        "end load",
        Verb::EndLoad,
        "Ends it, then reads all the keys it ever wrote; all must be answered, and right.",
    ),
    row(
        "count NUMBER [pause TIME]",
        Verb::Count,
        "Starts so many clients that increment keys on all shards.",
    ),
    row(
        "end count",
        Verb::EndCount,
        "Ends it, then reads the sums: each must be at least what was acknowledged and at most what was tried without being refused.",
    ),
    row("flush NODES", Verb::Flush, "Writes what is in memory to the data files."),
    row(
        "partition SIDES",
        Verb::Partition,
        "Cuts the links between nodes of different sides, such as `n1 | n2 n3`. Links of nodes that are not named stay.",
    ),
    row(
        "partition NODES -x> NODES",
        Verb::PartitionOneWay,
        "Nothing from the first nodes reaches the others. The way back stays.",
    ),
    row(
        "partition NODES -x> clients",
        Verb::Deafen,
        "Nothing from these nodes reaches any client. The way there stays.",
    ),
    row("heal", Verb::Heal, "Mends the network: all links, at the usual speed."),
    row(
        "slow TIME [to TIME]",
        Verb::Slow,
        "Each piece of what is sent takes this long, or a drawn time up to the second. Until `heal`.",
    ),
    row(
        "reset NODES",
        Verb::Reset,
        "Breaks all connections of these nodes in the middle of whatever they carry.",
    ),
    row(
        "kill NODES",
        Verb::Kill,
        "Kills the processes. Their disks keep all that was written, synced or not.",
    ),
    row(
        "power-cut NODES [losing unsynced | tearing unsynced]",
        Verb::PowerCut,
        "Cuts the power of these nodes in the same instant. `losing`: nothing stays that was not synced. `tearing`: all stays but the end of each file's last write. Otherwise chance decides of each write.",
    ),
    row(
        "start NODES [-> error TEXT]",
        Verb::Start,
        "Starts what is down and waits until it serves. With `error`, it must refuse to, and its reason must contain the text.",
    ),
    row("pause NODES", Verb::Pause, "The processes stand still (SIGSTOP), time does not."),
    row("resume NODES", Verb::Resume, "They go on."),
    row(
        "move NODE [to NODE]",
        Verb::Move,
        "Gives a machine that is down another address: a new one, or the one that the other node had at first.",
    ),
    row(
        "hang NODES",
        Verb::Hang,
        "The disk neither does what it is asked nor says that it failed, until `mend`.",
    ),
    row(
        "eio NODES [read NUMBER | write NUMBER | sync NUMBER]",
        Verb::Eio,
        "The next so many reads, writes or syncs of the disk fail. Without any: all of all three, until `mend`.",
    ),
    row(
        "full NODES [leaving SIZE]",
        Verb::Full,
        "The disk takes no more than it holds, or so much more, until `mend`.",
    ),
    row(
        "rot NODE [log NUMBER | data NUMBER]",
        Verb::Rot,
        "Flips so many bits in each file of the log, or of the shards' data. Without any: three bits in each file of both.",
    ),
    row(
        "lose NODE [log | data]",
        Verb::Lose,
        "Removes the log, or the shards' data, or both, from the disk of a node that is down. Its membership stays.",
    ),
    row("mend NODES", Verb::Mend, "The disk does as it is told again, and has room."),
    row("keep disk NODE", Verb::Keep, "Makes a copy of the disk of a node that is down."),
    row("restore disk NODE", Verb::Restore, "Puts the copy in its place, while the node is down."),
    row(
        "clock NODES OFFSET",
        Verb::Clock,
        "Sets the clocks this far ahead of true time; with a minus, behind. At first they are off by up to 50 ms.",
    ),
    row("wait TIME", Verb::Wait, "Simulated time goes by."),
    row("note terms", Verb::Note, "Remembers who leads each shard in which term."),
    row("expect CONDITION", Verb::Expect, "It is so now."),
    row(
        "until CONDITION [within TIME]",
        Verb::Until,
        "Waits until it is so, 60 s at most unless told otherwise.",
    ),
    row("hold CONDITION for TIME", Verb::Hold, "It is so, and stays so for this time."),
];

/// What a client can do.
pub const OPERATIONS: &[Row<Act>] = &[
    row("put KEY VALUE [ttl TIME]", Act::Put, "Comes out as `ok`."),
    row(
        "get KEY [stale | session]",
        Act::Get,
        "Comes out as the value, or `absent`. Linearizable unless told otherwise.",
    ),
    row("delete KEY", Act::Delete, "Comes out as `ok` if the key was there, as `absent` if not."),
    row(
        "cas KEY VALUE VALUE",
        Act::Cas,
        "Writes the second value if the key holds the first (`absent`: if it is not there). Comes out as `ok`, or `found` and what is there instead.",
    ),
    row("incr KEY [NUMBER]", Act::Incr, "Adds 1, or the number. Comes out as the sum."),
    row(
        "scan KEY KEY",
        Act::Scan,
        "All keys from the first up to but without the second. Comes out as `key=value` for each, or `nothing`.",
    ),
];

/// What can be looked at from outside.
pub const CONDITIONS: &[Row<Fact>] = &[
    row(
        "leader of SHARD in NODES",
        Fact::Leader,
        "One of these leads the shard (`all`: each shard has one of these), by the highest term in which a running node says so.",
    ),
    row(
        "NODE leads nothing",
        Fact::LeadsNothing,
        "Every shard is led by another node, in a higher term if it thinks otherwise.",
    ),
    row("voters of SHARD are NODES", Fact::Voters, "As the cluster's map has it."),
    row(
        "whole",
        Fact::Whole,
        "Every shard has the voters it should have, all of them members, and no other replicas.",
    ),
    row(
        "equal replicas",
        Fact::Equal,
        "All replicas of every shard have applied the same entries and hold the same, by their digests. If they differ at one index, waiting ends at once.",
    ),
    row(
        "NODE stopped [because TEXT]",
        Fact::Stopped,
        "It has ended by itself since it was started, and its reason contains the text.",
    ),
    row("NODE runs", Fact::Runs, "Its process serves."),
    row("NODE caught up", Fact::CaughtUp, "It has applied what the shards' leaders have in their logs."),
    row(
        "NODE needs snapshot",
        Fact::NeedsSnapshot,
        "It is down, and all others have forgotten entries, of some shard, that it never had.",
    ),
    row("NODE got snapshot", Fact::GotSnapshot, "Since it was started it was sent a shard as a file."),
    row(
        "NODE has new replicas",
        Fact::Renewed,
        "A replica that it had when it last went down was replaced by one with another id, and none is missing.",
    ),
    row("terms unchanged", Fact::TermsUnchanged, "Everybody who led at `note terms` leads in the same term."),
    row(
        "clocks of NODES within TIME",
        Fact::Clocks,
        "What these nodes take for the present, by the timestamps they give, is this close to true time.",
    ),
    row("NUMBER writes", Fact::Writes, "So many writes of the load were acknowledged since this step began."),
    row(
        "writes every TIME",
        Fact::WritesEvery,
        "The load's last acknowledged write is no longer ago than this.",
    ),
    row("NUMBER increments", Fact::Increments, "As with writes."),
];

/// What can be written into holes that do not explain themselves.
pub const HOLES: &[(&str, &str)] = &[
    ("NODE, NODES", "`n1`; `n1 n3`, or `all`"),
    ("SHARD", "`s1` holds the keys below `h`, `s2` those below `q`, `s3` the rest; `meta`; or `all`"),
    ("KEY, NAME", "a word"),
    (
        "VALUE, TEXT",
        "a word; or words in double quotes, as they must be if they would mean something else. A TEXT is always quoted",
    ),
    ("TIME, OFFSET", "`150ms`, `3s`, `2m`, `1h`; an OFFSET may begin with `-` or `+`"),
    ("SIZE", "`100B`, `64KiB`, `1MiB`"),
    (
        "OUTCOME",
        "`ok`, a value, `absent`, `found v`, `found absent`, `a=1 b=2`, `nothing`; `unknown`: nobody can tell whether it was done; `error`: nothing changed and nothing will; `error full`: for this reason (`unreachable`, `timeout`, `conflict`, `forbidden`, `invalid`, `full`, `missing`, `old`, `damaged`, `internal`); `waiting`; several with `or` between them",
    ),
];
