//! Every limit of a node and of the command line, in one table: `LIMITS.md` is written from here, from the constants
//! themselves, and each row names the test that reaches it.
//!
//! `NODENOMAD_TEST_WRITE=1 cargo test --test limits` writes the file anew.

use std::path::Path;

use nodenomad::cmd::{context_file, lines, private_file};
use nodenomad::model::evaluate::OPERATIONS_MAX;
use nodenomad::model::key::{KEY_MAX_BYTES, VALUE_DEFAULT_MAX_BYTES, VALUE_MAX_BYTES};
use nodenomad::model::time::CLOCK_BOUND_MS;
use nodenomad::model::{migration, plan, repeat, token};
use nodenomad::net::rpc::{self, ServeLimits};
use nodenomad::net::transport::quic::{self, UNKNOWN, room};
use nodenomad::net::transport::{CONNECT_TIMEOUT_MS, Class, IDLE_TIMEOUT_MS};
use nodenomad::net::{identity, peers};
use nodenomad::node::meta::{admin, join};
use nodenomad::node::raft::group::NO_QUORUM_AFTER;
use nodenomad::node::serve::{self, intake};
use nodenomad::node::{http, replica, stall, wal};

const FILE: &str = "LIMITS.md";

const HEAD: &str = "\
# Limits

Everything that comes from outside is bounded before it is stored or decoded, and whatever meets a bound is told so. These
are all the bounds there are. They are constants unless a setting is named (`nomad config ls`); a test writes this table
from them, and each row names the test that reaches it (in `tests/`, or in the room it names).
";

/// What is bounded, by how much, what happens past it, which test reaches it.
type Row = (&'static str, String, &'static str, &'static str);

fn bytes(bytes: impl TryInto<u64>) -> String {
    let bytes = bytes.try_into().unwrap_or(u64::MAX);
    match bytes {
        _ if bytes != 0 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes != 0 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

fn ms(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(86_400_000) => format!("{} days", ms / 86_400_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

fn data() -> Vec<Row> {
    const RULES: &str = "sim_access::requests_that_break_the_rules_are_answered_and_change_nothing";
    const PIECES: &str = "sim_access::what_is_asked_for_beyond_a_bound_comes_in_pieces_or_is_refused";
    let value = format!(
        "{}; setting `value_max_bytes`, up to {}",
        bytes(VALUE_DEFAULT_MAX_BYTES),
        bytes(VALUE_MAX_BYTES)
    );
    vec![
        ("a key", bytes(KEY_MAX_BYTES), "refused", RULES),
        ("a value", value, "refused", RULES),
        ("operations of one write", OPERATIONS_MAX.to_string(), "refused", RULES),
        ("bytes of one write", bytes(serve::WRITE_MAX_BYTES), "refused", RULES),
        ("rows of one page", serve::PAGE_MAX_ROWS.to_string(), "comes in pieces", PIECES),
        ("bytes of one page", bytes(serve::PAGE_MAX_BYTES), "comes in pieces", PIECES),
        (
            "a clock ahead of a node's own",
            ms(CLOCK_BOUND_MS),
            "its message is refused",
            "model::time::the_far_future_is_refused",
        ),
        (
            "clients whose retries a shard recognises",
            repeat::CLIENTS_MAX.to_string(),
            "the one silent longest is forgotten; its retry is answered unknown",
            "model::repeat::a_forgotten_client_is_answered_unknown_and_a_new_one_is_not",
        ),
        (
            "writes of one client that await their answer",
            repeat::WINDOW_MAX.to_string(),
            "the oldest is refused",
            "model::repeat::the_window_is_bounded",
        ),
    ]
}

fn node() -> Vec<Row> {
    const BUSY: &str = "answered busy; the client tries again";
    const SHARD: &str = "sim_access::a_shard_with_too_much_to_do_says_so";
    vec![
        (
            "requests of clients under way",
            intake::REQUESTS_MAX.to_string(),
            BUSY,
            "sim_access::a_node_with_too_much_to_do_says_so_and_serves_again",
        ),
        (
            "bytes of them",
            bytes(intake::REQUESTS_MAX_BYTES),
            BUSY,
            "node::serve::intake::bytes_are_counted_and_the_next_is_refused",
        ),
        (
            "bytes of large answers not taken",
            bytes(intake::ANSWERS_MAX_BYTES),
            BUSY,
            "node::serve::intake::large_answers_are_counted_until_they_are_gone",
        ),
        ("writes waiting for one shard", replica::QUEUE_MAX.to_string(), BUSY, SHARD),
        ("reads waiting for one shard", replica::READERS_MAX.to_string(), BUSY, SHARD),
        (
            "bytes of the log that wait for the disk",
            bytes(wal::BACKLOG_MAX_BYTES),
            "what follows waits",
            "node::wal::a_log_that_hangs_holds_a_bounded_backlog_and_goes_on",
        ),
        (
            "starts on a disk that others fill to the last byte each time",
            wal::STARTS_WITHOUT_ROOM.to_string(),
            "refused until there is room; nothing is lost",
            "node::wal::tests::ballast::a_log_opens_without_a_byte_free",
        ),
        (
            "time in which no majority acknowledges a leader that is awake",
            ms(NO_QUORUM_AFTER.as_millis() as u64),
            "it says nothing for as long, so that others may lead",
            "node::raft::group::whoever_is_acknowledged_speaks_and_whoever_is_not_falls_silent_for_a_while",
        ),
        (
            "time in which the disk finishes nothing",
            ms(stall::STALL_AFTER.as_millis() as u64),
            "the node gives up what it leads until the disk goes on",
            "sim_disk::a_disk_that_hangs_under_leaders_costs_seconds_and_no_write",
        ),
        (
            "time of one request, whatever it asks for",
            ms(serve::TIMEOUT_MAX.as_millis() as u64),
            "answered out of time, or unknown",
            "sim_access::a_request_does_not_wait_for_ever",
        ),
    ]
}

fn connections() -> Vec<Row> {
    const PLACES: &str = "net::transport::quic::places::\
        one_address_cannot_take_all_connections_and_clients_leave_room_for_members";
    vec![
        ("connections", quic::CONNECTIONS_MAX.to_string(), "refused", PLACES),
        (
            "connections of one address (IPv6: of one /64)",
            quic::CONNECTIONS_PER_ADDRESS_MAX.to_string(),
            "refused",
            PLACES,
        ),
        ("connections of clients", quic::CLIENTS_MAX.to_string(), "refused; the rest is for members", PLACES),
        (
            "connections without an identity",
            quic::STRANGERS_MAX.to_string(),
            "refused",
            "net::transport::quic::strangers_are_few",
        ),
        (
            "handshakes under way",
            quic::HANDSHAKES_MAX.to_string(),
            "refused",
            "net::transport::quic::places::one_address_cannot_take_all_handshakes_and_all_cannot_take_more",
        ),
        (
            "handshakes of one address",
            quic::HANDSHAKES_PER_ADDRESS_MAX.to_string(),
            "refused",
            "hostile::a_cluster_among_strangers",
        ),
        (
            "handshakes with unproved addresses, in all and of one",
            format!("{}; {}", quic::HANDSHAKES_UNCHECKED_MAX, quic::HANDSHAKES_UNCHECKED_PER_ADDRESS_MAX),
            "the address must be proved first",
            "net::transport::quic::places::an_address_must_be_proved_when_it_or_everybody_has_many_handshakes",
        ),
        ("a handshake", ms(quic::HANDSHAKE_TIMEOUT_MS), "given up", "hostile::a_cluster_among_strangers"),
        (
            "a connection without a sign of life",
            ms(IDLE_TIMEOUT_MS),
            "gone",
            "net::transport::sim::a_death_is_noticed_after_the_idle_time_out",
        ),
        (
            "an attempt to connect",
            format!(
                "{}, then {} to {} of pause",
                ms(CONNECT_TIMEOUT_MS),
                ms(peers::BACKOFF_MIN_MS),
                ms(peers::BACKOFF_MAX_MS)
            ),
            "tried again",
            "net::peers::after_a_failure_everybody_fails_fast_until_the_next_attempt",
        ),
    ]
}

fn streams() -> Vec<Row> {
    let of = |show: fn(&ServeLimits) -> usize| {
        let each =
            [Class::Control, Class::Client, Class::Join].map(|class| show(&ServeLimits::for_class(class)));
        format!("{} of members, {} of clients, {} of joiners", each[0], each[1], each[2])
    };
    let usual = ServeLimits::for_class(Class::Client);
    let windows = format!(
        "{} unknown, {} clients, {} members, {} of these for bulk",
        bytes(UNKNOWN.window_bytes),
        bytes(room(Class::Client).window_bytes),
        bytes(room(Class::Control).window_bytes),
        bytes(room(Class::Bulk).window_bytes)
    );
    vec![
        (
            "a frame; one that shares a stream; one of a joiner",
            format!(
                "{}; {}; {}",
                bytes(rpc::FRAME_MAX_BYTES),
                bytes(rpc::INLINE_MAX_BYTES),
                bytes(ServeLimits::for_class(Class::Join).frame_max_bytes)
            ),
            "the connection is closed",
            "net::rpc::garbage_costs_the_connection",
        ),
        (
            "memory for what was only announced",
            "none".to_owned(),
            "taken as bytes come",
            "net::rpc::memory_is_taken_only_for_bytes_that_came",
        ),
        (
            "calls under way",
            of(|limits| limits.calls_in_flight),
            "nothing more is read",
            "net::rpc::tests::limits::calls_of_a_connection_are_counted_and_the_next_waits",
        ),
        (
            "large calls under way",
            of(|limits| limits.large_calls),
            "the next waits",
            "net::rpc::tests::limits::large_calls_of_a_connection_are_counted_and_the_next_waits",
        ),
        (
            "streams",
            of(|limits| limits.streams),
            "the next waits",
            "net::rpc::tests::limits::streams_of_a_connection_are_counted_and_the_next_waits",
        ),
        (
            "bytes that came and nobody has read",
            windows,
            "the sender waits",
            "hostile::a_cluster_among_strangers",
        ),
        (
            "bytes of answers not taken",
            format!("{}, {}", bytes(usual.output_pause_bytes), bytes(usual.output_max_bytes)),
            "nothing more is read; the connection is closed",
            "net::rpc::too_many_bytes_of_answers_cut_the_connection_off",
        ),
        (
            "an answer of which nothing is taken",
            ms(usual.stall_ms),
            "the connection is closed",
            "net::rpc::whoever_takes_no_answers_is_cut_off",
        ),
        (
            "a joiner's connection",
            ms(ServeLimits::for_class(Class::Join).lifetime_ms),
            "closed",
            "net::rpc::connections_of_joiners_end_by_themselves",
        ),
        (
            "calls of one caller without an answer; bytes of them not sent",
            format!("{}; {}", rpc::CALLS_IN_FLIGHT_MAX, bytes(rpc::CALLS_QUEUED_MAX_BYTES)),
            "refused at once, not sent",
            "net::rpc::what_waits_is_bounded_in_bytes",
        ),
    ]
}

fn web() -> Vec<Row> {
    vec![
        (
            "connections; of one address",
            format!("{}; {}", http::CONNECTIONS_MAX, http::CONNECTIONS_PER_ADDRESS_MAX),
            "answered 503",
            "node::http::guests_are_counted_in_all_and_by_address",
        ),
        (
            "the head of a request: bytes; lines",
            format!("{}; {}", bytes(http::HEAD_MAX_BYTES), http::HEADERS_MAX),
            "answered 431",
            "node::http::heads_are_bounded_and_garbage_is_answered",
        ),
        (
            "time for it",
            ms(http::HEAD_TIMEOUT_MS),
            "closed",
            "node::http::slow_heads_take_no_more_than_their_places_and_their_time",
        ),
        (
            "time of a connection, which carries one request",
            ms(http::CONNECTION_TIMEOUT_MS),
            "closed",
            "node::http::a_reader_that_never_reads_is_out_of_time",
        ),
    ]
}

fn joining() -> Vec<Row> {
    const TOKENS: &str = "sim_access::tokens_are_bounded_in_number_uses_and_time";
    vec![
        ("tokens", admin::TOKENS_MAX.to_string(), "refused", TOKENS),
        ("uses of one", token::USES_MAX.to_string(), "refused", TOKENS),
        ("life of one", ms(admin::TOKEN_MAX_MS), "refused", TOKENS),
        (
            "names in a request to join; the certificate request",
            format!(
                "{}; {}, signed up to {}",
                bytes(join::NAME_MAX_BYTES),
                bytes(join::CSR_MAX_BYTES),
                bytes(identity::authority::REQUEST_MAX_BYTES)
            ),
            "refused",
            "sim_access::nobody_speaks_for_another",
        ),
    ]
}

fn moves() -> Vec<Row> {
    vec![
        (
            "moves under way, those included that can still be undone",
            migration::MOVES_MAX.to_string(),
            "refused",
            "model::migration::moves_at_a_time_are_bounded",
        ),
        (
            "moves of one plan that is applied",
            plan::MOVES_MAX.to_string(),
            "refused",
            "model::plan::what_a_plan_was_made_for",
        ),
    ]
}

fn typed() -> Vec<Row> {
    vec![
        (
            "a line of `nomad kv batch`",
            bytes(lines::LINE_MAX_BYTES),
            "refused by its number",
            "cmd::lines::a_line_without_end_is_refused_by_its_number",
        ),
        (
            "a context file",
            bytes(private_file::FILE_MAX_BYTES),
            "refused",
            "cmd::private_file::a_huge_file_is_refused",
        ),
        (
            "endpoints it names",
            context_file::ENDPOINTS_MAX.to_string(),
            "refused",
            "cmd::context_file::endpoints_follow_the_members_but_not_off_the_map",
        ),
    ]
}

fn table() -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("Data", data()),
        ("A node", node()),
        ("Its connections (QUIC)", connections()),
        ("One connection", streams()),
        ("HTTP", web()),
        ("Joining", joining()),
        ("Moves", moves()),
        ("The command line", typed()),
    ]
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, rows) in table() {
        page += &format!("\n## {title}\n\n| what | at most | past it | reached by |\n|---|---|---|---|\n");
        for (what, bound, past, test) in rows {
            page += &format!("| {what} | {bound} | {past} | `{test}` |\n");
        }
    }
    page
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_is_up_to_date() {
    let file = root().join(FILE);
    if std::env::var_os("NODENOMAD_TEST_WRITE").is_some() {
        std::fs::write(&file, page()).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == page(),
        "{FILE} differs; refresh with NODENOMAD_TEST_WRITE=1 cargo test --test limits"
    );
}

fn sources(dir: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            None if path.is_dir() => sources(&path, texts),
            Some(extension) if extension == "rs" => {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                texts.push((name, std::fs::read_to_string(&path).unwrap()));
            }
            _ => {}
        }
    }
}

#[test]
fn each_limit_is_reached_by_a_test_that_exists() {
    let mut texts = Vec::new();
    sources(&root().join("src"), &mut texts);
    sources(&root().join("tests"), &mut texts);
    let rows = table().into_iter().flat_map(|(_, rows)| rows);
    let missing: Vec<&str> = rows
        .map(|(_, _, _, test)| test)
        .filter(|test| {
            let (room, name) = test.rsplit_once("::").unwrap();
            let room = room.replace("::", "/");
            let function = format!("fn {name}(");
            !texts.iter().any(|(path, text)| path.contains(&room) && text.contains(&function))
        })
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
