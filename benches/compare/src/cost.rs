//! What an operation costs nomad's servers: processor time, bytes, allocations, wake-ups.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::machine::Servers;
use crate::{Result, Work, nomad};

/// Functions of the servers' allocator that take memory.
const ALLOCATORS: [&str; 3] = ["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"];
/// Bytes, as Linux counts what devices do.
const SECTOR: u64 = 512;

/// Counted since the start, of all servers together.
struct Counted {
    cpu_seconds: f64,
    /// By all disks of the machine: what is told of a process is too much where a part of a large page was written.
    written_bytes: u64,
    /// Over the loopback interface, by everybody: the load generator's, too.
    carried_bytes: u64,
    /// By the servers, as they count it; `None` where they do not.
    sent_bytes: Option<u64>,
    /// Times a thread went on after it had waited for something.
    wake_ups: u64,
}

/// Measures each piece of work, and again for the allocations: counting them makes everything slower.
pub async fn run(nomad: &nomad::Cluster, works: &[Work]) -> Result<()> {
    println!(
        "| work, clients | nomad/s | CPU us/op | B written/op | B sent/op | with clients' | wake-ups/op | allocations/op |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for work in works {
        nomad.load(work.keys, work.value_bytes)?;
        let before = count(nomad)?;
        let measured = nomad.measure(work).await?;
        let after = count(nomad)?;
        let of_one = |after: u64, before: u64| (after - before) as f64 / measured.ops;
        let allocations = match allocations(nomad, work).await {
            Ok(allocations) => format!("{allocations:.1}"),
            Err(error) => {
                eprintln!("allocations cannot be counted: {error}");
                "-".to_owned()
            }
        };
        let sent = match (after.sent_bytes, before.sent_bytes) {
            (Some(after), Some(before)) => format!("{:.0}", of_one(after, before)),
            _ => "-".to_owned(),
        };
        println!(
            "| {} | {:.0} | {:.1} | {:.0} | {sent} | {:.0} | {:.2} | {allocations} |",
            work.name(),
            measured.per_second,
            (after.cpu_seconds - before.cpu_seconds) * 1e6 / measured.ops,
            of_one(after.written_bytes, before.written_bytes),
            of_one(after.carried_bytes, before.carried_bytes),
            of_one(after.wake_ups, before.wake_ups),
        );
    }
    Ok(())
}

/// Of one operation.
async fn allocations(nomad: &nomad::Cluster, work: &Work) -> Result<f64> {
    let counter = Counter::start(&nomad.servers)?;
    let ops = nomad.measure(work).await?.ops;
    Ok(counter.stop()? as f64 / ops)
}

fn count(nomad: &nomad::Cluster) -> Result<Counted> {
    let sent: Option<Vec<u64>> = nomad.http_addresses()?.iter().map(|http| sent_bytes(http)).collect();
    let mut counted = Counted {
        cpu_seconds: nomad.servers.cpu_seconds(),
        written_bytes: written_bytes()?,
        carried_bytes: carried_bytes()?,
        sent_bytes: sent.map(|all| all.iter().sum()),
        wake_ups: 0,
    };
    for pid in &nomad.servers.pids {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // It may have ended meanwhile.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            counted.wake_ups += number_behind(&status, "voluntary_ctxt_switches:");
        }
    }
    Ok(counted)
}

/// The number on the line that begins so; 0 if there is none.
fn number_behind(text: &str, begin: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(begin));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
}

/// The seventh number that each disk tells.
fn written_bytes() -> Result<u64> {
    let mut sectors = 0;
    for device in fs::read_dir("/sys/block")? {
        let device = device?.path();
        // Others, such as loop devices, write to these.
        if device.join("device").exists() {
            let stat = fs::read_to_string(device.join("stat"))?;
            sectors +=
                stat.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sectors * SECTOR)
}

/// What a node says it has sent.
fn sent_bytes(http: &str) -> Option<u64> {
    let mut node = TcpStream::connect(http).ok()?;
    node.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    node.read_to_string(&mut text).ok()?;
    let sent = "nodenomad_network_bytes_total{direction=\"sent\"}";
    text.contains(sent).then(|| number_behind(&text, sent))
}

/// The ninth number of an interface's line.
fn carried_bytes() -> Result<u64> {
    let all = fs::read_to_string("/proc/net/dev")?;
    let line = all.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    let field = line.and_then(|line| line.split_whitespace().nth(8));
    Ok(field.ok_or("there is no loopback interface")?.parse()?)
}

/// Counts calls of the allocator in the servers, by perf.
struct Counter(Child);

impl Counter {
    fn start(servers: &Servers) -> Result<Counter> {
        let program = format!("/proc/{}/exe", servers.pids.first().ok_or("no server")?);
        let program = fs::read_link(program)?.display().to_string();
        // Those from before lie where an older build had these functions, and count nothing.
        let mut forget = Command::new("perf");
        forget.args(["probe", "-q", "-d", "probe_nomad:*"]).stderr(Stdio::null()).status()?;
        for name in ALLOCATORS {
            let mut add = Command::new("perf");
            add.args(["probe", "-q", "-x", &program, name]).stderr(Stdio::null()).status()?;
        }
        let events = ALLOCATORS.map(|name| format!("probe_nomad:{name}")).join(",");
        let pids: Vec<String> = servers.pids.iter().map(u32::to_string).collect();
        let perf = Command::new("perf")
            .args(["stat", "-x", ",", "-e", &events, "-p", &pids.join(",")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Counter(perf))
    }

    fn stop(self) -> Result<u64> {
        // SAFETY: sends a signal to a process that this program started.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        let said = String::from_utf8(self.0.wait_with_output()?.stderr)?;
        let counts: Vec<u64> = said.lines().filter_map(|line| line.split(',').next()?.parse().ok()).collect();
        match counts.is_empty() {
            true => Err(said.into()),
            false => Ok(counts.iter().sum()),
        }
    }
}
