//! What this process takes of its machine, as the operating system says.
//!
//! Read when somebody asks and never waited for. What the system does not say is left out. Many nodes of one process (in
//! tests) tell the same.

use std::fs;
use std::path::Path;

/// Taken for the memory there is where the system does not tell (not Linux).
const MEMORY_UNKNOWN_BYTES: u64 = 4 << 30;

/// What the process takes.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of all its threads, since its start, in user and in system mode.
    pub cpu_seconds: Option<f64>,
    /// Memory that is not swapped out or given back.
    pub resident_bytes: Option<u64>,
    /// Files, sockets and the like.
    pub open_fds: Option<u64>,
    /// How many of these it may have.
    pub max_fds: Option<u64>,
}

/// What this process takes now.
pub fn usage() -> Usage {
    // The directory that is being read is one of them.
    let open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1));
    let status = fs::read_to_string("/proc/self/status").ok();
    Usage {
        cpu_seconds: cpu_seconds(),
        resident_bytes: status.as_deref().and_then(resident_bytes),
        open_fds,
        max_fds: max_fds(),
    }
}

/// Memory this process may hope for, in bytes: the machine's, or what its control groups allow.
pub fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(|text| kib(text, "MemTotal:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let allowed = Path::new(group).ancestors().filter_map(|group| {
        let text = fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max")).ok()?;
        text.trim().parse().ok() // or `max`
    });
    machine.into_iter().chain(allowed).min().unwrap_or(MEMORY_UNKNOWN_BYTES)
}

fn resident_bytes(status: &str) -> Option<u64> {
    kib(status, "VmRSS:")
}

/// Bytes that a line of such a text tells in KiB.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim_end().parse().ok()?;
    Some(kib << 10)
}

fn cpu_seconds() -> Option<f64> {
    let mut time = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: it only writes to `time`, and has when it returns 0.
    match unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, time.as_mut_ptr()) } {
        0 => {
            // SAFETY: as above.
            let time = unsafe { time.assume_init() };
            Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
        }
        _ => None,
    }
}

fn max_fds() -> Option<u64> {
    let mut limit = std::mem::MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: it only writes to `limit`, and has when it returns 0.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) } {
        // SAFETY: as above.
        0 => Some(unsafe { limit.assume_init() }.rlim_cur),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_something() {
        let before = usage();
        let files: Vec<_> = (0..10).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let after = usage();
        assert!(after.cpu_seconds.unwrap() > 0.0 && after.cpu_seconds >= before.cpu_seconds);
        assert!(after.max_fds.unwrap() > files.len() as u64);
        if cfg!(target_os = "linux") {
            assert!(after.resident_bytes.unwrap() > 1 << 20 && after.open_fds.unwrap() > files.len() as u64);
            assert!(memory_bytes() > after.resident_bytes.unwrap());
        }
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(resident_bytes("VmRSS: much"), None);
    }
}
