//! # Bytes between peers
//!
//! What it is: connections between members, clients and joiners, with a proved identity at each end; calls and streams of
//! frames above them; and the fences through which chance, tasks and the network itself enter, so that the same code runs
//! in a simulation.
//!
//! ## Classes, and who may have them
//!
//! A connection has one class, fixed by the handshake. Each pair of members has one connection a class and direction, so
//! that a snapshot never delays a vote.
//!
//! | class | for | members | clients | strangers |
//! |---|---|---|---|---|
//! | control | votes, heartbeats, reports, small requests | yes | no | no |
//! | append | log entries | yes | no | no |
//! | bulk | snapshots | yes | no | no |
//! | client | requests of clients | yes | yes | no |
//! | join | the one request of a node that joins | as a stranger | as a stranger | yes |
//!
//! The accepting side decides, before anything else is read ([`transport::Class::admits`]). Who may make which *call* on a
//! connection is decided above, by its [`transport::Peer`]; there is no other identity in a request.
//!
//! ## Frames
//!
//! Small calls share one long-lived stream (three times the rate of a stream a call, at a quarter of the CPU); large ones
//! and streams of payloads have their own. The format is in [`rpc`], what goes into the bodies in `proto/`.
//!
//! ## What a broken connection means
//!
//! A call that was not handed to the transport is `NotSent`: it can be made again. One that was is `Lost`: perhaps it was
//! done, and only a retry with an identity of its own may follow. Handlers run to their end whatever happens to the
//! connection. A stream without its end mark is broken, never short. Nothing here retries.
//!
//! A dead machine is noticed after 10 s without a sign of life ([`transport::IDLE_TIMEOUT_MS`]), a restarted member with
//! the next packet it gets. Neither is a judgement about who leads: Raft has time-outs of its own.
//!
//! ## Limits
//!
//! | what | bound |
//! |---|---|
//! | body of a frame; of one that shares a stream | 20 MiB; 256 KiB |
//! | calls in flight, as caller | 8192, and 64 MiB not handed to the transport; then `Busy` |
//! | calls in flight, served, of a connection | 4096 of members, 1024 of clients, 1 of joiners; then nothing is read |
//! | answers not taken, of a connection | at 16 MiB reading stops, at 256 MiB or after 10 s it is closed |
//! | connections; handshakes under way; strangers | 4096; 256; 16; one address at most half |
//! | attempts to connect | 3 s each, then 50 ms to 1 s apart |
//!
//! ## Invariants and what guards each
//!
//! - Nobody has a class of connection that its certificate does not give it, and nobody is taken for another: guarded
//!   by `transport::quic::tests::without_a_certificate_nothing_but_joining`,
//!   `transport::quic::tests::a_client_is_no_member`,
//!   `transport::quic::tests::certificates_of_another_authority_are_refused`,
//!   `transport::quic::tests::members_of_another_cluster_are_refused_even_under_the_same_key`,
//!   `transport::quic::tests::the_wrong_member_is_refused`, `transport::quic::tests::expired_certificates_are_refused`.
//! - Without identities only loopback is served: guarded by
//!   `transport::quic::tests::without_security_only_loopback_and_only_among_themselves`.
//! - Clients make no calls of members, strangers none but joining: guarded by
//!   `kind::tests::every_number_has_one_rule`, `sim_access::every_call_of_everybody_on_every_connection`,
//!   `sim_node::strangers_and_messages_for_nobody_change_nothing`.
//! - No address takes all places, and clients leave room for members: guarded by
//!   `transport::quic::places::tests::one_address_cannot_take_all_handshakes_and_all_cannot_take_more`,
//!   `transport::quic::places::tests::one_address_cannot_take_all_connections_and_clients_leave_room_for_members`.
//! - The simulation keeps the same rules, and a seed decides everything: guarded by
//!   `transport::sim::tests::classes_and_expectations_are_enforced`, `sim_cluster::the_same_seed_is_the_same_run`.
//!
//! Relies on `model` for ids only. Does not: know the shard map, route, retry, judge liveness.

pub mod chance;
pub mod passage;
pub mod trouble;
pub mod exec;
pub mod identity;
pub mod transport;
pub mod rpc;
pub mod peers;
pub mod wire;
pub mod kind;
