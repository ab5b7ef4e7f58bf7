//! # Consensus
//!
//! One Raft group a shard, on openraft, behind a facade ([`group::Group`]) that nothing above looks through.
//!
//! ## What is durable when
//!
//! | step | before it is answered |
//! |---|---|
//! | a vote is given | the vote is on disk (write-ahead log, same queue as entries) |
//! | entries are acknowledged to the leader | they are on disk |
//! | the leader counts itself | its own copy is on disk (openraft is told by the log's callback) |
//! | an entry is applied | it is committed: on disk on a majority. Applying is in memory |
//! | the log is purged | all of it is in a flushed file, with its log id, in one transaction |
//!
//! ## Why each crash is safe
//!
//! - Before the log's sync: nothing was acknowledged, the tail is cut or kept; Raft decides.
//! - After the sync, before applying: the entry is in the log and is applied again after it is known to be committed.
//! - Between apply and flush: as above; the file says up to where it holds the log, and replay begins behind that.
//! - Between flush and purge: the log merely still has what the file has, and replay skips it.
//! - Between the installation of a snapshot and the purge of the log below it: the file's log id is beyond the log's
//!   end; the start purges the log up to it before openraft looks (see [`crate::node::replica`]).
//! - All members at once: every acknowledged entry is on a majority's disks, so any leader elected afterwards has it.
//!   Nothing is read before that leader has committed an entry of its own term.
//!
//! ## Replica ids
//!
//! openraft's member id is the replica id: fresh for every placement, never used again, so that a member that comes back
//! with an old or an empty disk can never count twice. Messages name shard and replica; to anybody else they are
//! undeliverable, and undeliverable messages create nothing.
//!
//! ## Sleep
//!
//! The ticks of an idle group are off ([`crate::node::pulse`]): it neither heartbeats nor elects. That changes when things
//! are said, never what is answered. Heartbeats of groups that are awake go one by one; asleep there are none to gather.
//!
//! ## Silence
//!
//! A seat whose node's disk hangs is silent ([`crate::node::stall`]), and so is a leader that no majority answers
//! ([`crate::node::quorum`]): to the others it is cut off, and it is safe as that is.
//!
//! ## Want of room
//!
//! A replica whose log has no room ([`crate::node::room`]) takes no entries: proposals are refused, and so are appends, which
//! its leader tries again later ([`patience`]). It votes and answers heartbeats, so it does not stand for election, and
//! takes in the blank entry of a new leader if it has all that comes before.
//!
//! ## Invariants and what guards each
//!
//! - A silent seat leads nobody, sends nothing and answers what is certain: guarded by
//!   `sim_disk::a_node_whose_disk_hangs_serves_nobody_and_comes_back_by_itself`.
//! - No vote and no entry that was answered is lost, whoever crashes; nothing is read before the new leader has
//!   committed in its own term: guarded by `sim_cluster::a_power_cut_of_all_loses_nothing`,
//!   `sim_cluster::any_two_come_back_without_the_third`.
//! - The log is purged only as far as a flushed file reaches: guarded by
//!   `sim_cluster::a_log_that_was_never_flushed_is_not_forgotten`,
//!   `node::replica::tests::what_lost_its_file_or_its_log_is_refused`, and at every start in `node::replica::align`.
//! - A file that is ahead of the log after an installation is believed, whatever the log still holds: guarded by
//!   `node::replica::tests::a_log_behind_its_file_goes_on_behind_it`.
//! - What a follower lacks and nobody's log holds comes as a file: guarded by
//!   `sim_cluster::a_node_that_missed_the_log_gets_a_snapshot`.
//! - What a new replica is sent is paced and held, whether it comes as a file or by the log: guarded by
//!   `sim_migration::a_limit_holds_for_what_is_in_the_log`, `pace::tests::all_together_are_as_fast_as_allowed`.
//! - Leadership that is given away goes to the heir alone, and writes wait no longer for it than it takes: guarded by
//!   `sim_balance::a_leader_that_gives_its_place_away_says_who_has_it`.
//! - An id is handed out once, and retired with the end of its placement: guarded by
//!   `model::system::tests::counters_never_hand_out_an_id_twice`,
//!   `model::job::tests::a_successor_completes_what_any_crash_left`.
//! - An id that has served never comes back empty: guarded by `sim_node::a_node_whose_data_is_gone_does_not_start`,
//!   `sim_node::a_replica_is_removed_only_once_its_retirement_is_on_this_disk`, `sim_node::a_joiner_gets_its_ids_once`,
//!   `node::meta::keeper::tests::only_what_never_voted_is_opened`.
//! - A message for a replica that is not here creates nothing; one from a client is no message: guarded by
//!   `sim_node::strangers_and_messages_for_nobody_change_nothing`.
//! - Appends reach a follower in the order of the log; one that was overtaken is no sign of a lost log: guarded by
//!   `pipeline::tests::what_is_large_goes_alone_and_nothing_overtakes`,
//!   `pipeline::tests::a_conflict_below_what_was_confirmed_is_not_for_openraft`.
//! - An answer counts for no request that was made after it: guarded by
//!   `pipeline::tests::an_answer_is_withheld_if_a_later_request_leads_to_the_same_place`,
//!   `pipeline::tests::what_was_never_sent_is_answered_by_what_came_behind_it`.
//! - Stored votes, entries and memberships are read as they were written: guarded by
//!   `types::tests::a_vote_survives_being_written_down`, `types::tests::entries_survive_being_written_down`,
//!   `types::tests::garbage_is_refused`.
//!
//! Relies on: the write-ahead log's order and sync, the store's atomic flush. Does not: decide who should be a member, or
//! when an idle group sleeps.

pub mod counts;
pub mod runtime;
pub mod types;
pub mod log;
pub mod machine;
pub mod pace;
pub mod sending;
pub mod catch_up;
pub mod snapshot;
pub mod pipeline;
pub mod news;
pub mod silence;
pub mod patience;
pub mod network;
pub mod group;
