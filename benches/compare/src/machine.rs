//! Processes as the system sees them, and what machine this is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// The servers of one system; stopped for good when this is dropped.
pub struct Servers {
    /// What was started here.
    pub started: Vec<Child>,
    /// What serves: these, or their children.
    pub pids: Vec<u32>,
}

impl Servers {
    /// Nothing of them runs until [`Servers::resume`].
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        for pid in self.pids.iter().chain(self.started.iter().map(Child::id).collect::<Vec<_>>().iter()) {
            // SAFETY: sends a signal to a process that this program started.
            unsafe { libc::kill(*pid as i32, signal) };
        }
    }

    /// Processor time used so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        // SAFETY: asks the system for a constant.
        let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        let ticks: u64 = self.pids.iter().filter_map(|pid| ticks(*pid)).sum();
        ticks as f64 / ticks_per_second
    }

    /// Resident memory, in MiB.
    pub fn rss_mib(&self) -> f64 {
        let kib: u64 = self.pids.iter().filter_map(|pid| rss_kib(*pid)).sum();
        kib as f64 / 1024.0
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.resume();
        self.signal(libc::SIGTERM);
        for child in &mut self.started {
            let _ = child.wait();
        }
    }
}

/// User and system time: fields 14 and 15, counted behind the name, which may hold anything.
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 2..].split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Lets servers that were stopped elect their leaders again: longer than the election time-outs of both.
pub async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// What the files below a directory take on disk, in MiB.
pub fn disk_mib(dir: &Path) -> f64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0.0 };
    let of_one = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_mib(&entry.path()),
        // Linux counts blocks of 512 bytes.
        Ok(metadata) => metadata.blocks() as f64 / 2048.0,
        Err(_) => 0.0,
    };
    entries.flatten().map(of_one).sum()
}

/// One line about this machine.
pub fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> = cpuinfo.lines().filter(|line| line.starts_with("model name")).collect();
    let model = models.first().and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} x {model}, Linux {}", models.len(), kernel.trim())
}
