//! Nodes as child processes of this one, for `up` and `demo`.
//!
//! A child is `nomad serve` of this very executable with a data directory of its own, free ports on loopback, its log
//! in a file beside the directory. Children are in process groups of their own, so that ctrl-C reaches only us and each
//! is asked to stop once; the kernel kills them if we die.
//!
//! Promises: no child outlives its [`LocalNode`]. Relies on being used from the main thread only: the kernel takes the
//! death of the *thread* that made a child for the death of the parent. Does not: restart what died.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::node_file::NodeFile;
use crate::net::exec::Exec;

/// How long a node may take from start to ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of a log is shown when its node failed, in lines and bytes.
const TAIL_LINES: usize = 6;
const TAIL_BYTES: u64 = 16 * 1024;

/// One node on this machine.
pub struct LocalNode {
    name: String,
    data_dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl LocalNode {
    /// The node called `name` (`n1`, ...) below `dir`. Not started.
    pub fn new(dir: &Path, number: u64) -> LocalNode {
        let name = format!("n{number}");
        LocalNode { data_dir: dir.join(&name), log: dir.join(format!("{name}.log")), name, child: None }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// True if it was ready once.
    pub fn has_lived(&self) -> bool {
        NodeFile::path(&self.data_dir).exists()
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts the process. It is not ready yet. A token to join with goes by the environment, which, other than
    /// arguments, only its owner can read.
    pub fn spawn(&mut self, args: &[&str], token: Option<&str>) -> Result<(), Failure> {
        assert!(self.child.is_none(), "a node is started once at a time");
        let what = || format!("cannot start the node {}", self.name);
        let exe = std::env::current_exe().or_fail(what)?;
        let log = std::fs::OpenOptions::new().append(true).create(true).open(&self.log).or_fail(what)?;
        let mut command = Command::new(exe);
        command.arg("serve").arg("--data").arg(&self.data_dir);
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--no-context"]).args(args);
        // What is in our environment is for us, not for every node.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NODENOMAD_"))
        {
            command.env_remove(name);
        }
        if let Some(token) = token {
            command.env("NODENOMAD_TOKEN", token);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0).kill_on_drop(true);
        die_with_parent(&mut command);
        self.child = Some(command.spawn().or_fail(what)?);
        Ok(())
    }

    /// Waits until the node says that it is ready.
    pub async fn ready(&mut self) -> Result<NodeFile, Failure> {
        let child = self.child.as_mut().expect("the node was started");
        let Some(stdout) = child.stdout.take() else { return self.file() };
        let mut lines = BufReader::new(stdout).lines();
        let said = tokio::time::timeout(READY_TIMEOUT, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("ready:") {
                    return true;
                }
            }
            false
        });
        match said.await {
            Ok(true) => {
                // A pipe that nobody reads would stop the node in the end.
                Exec::Threads.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                self.file()
            }
            Ok(false) => Err(self.failed("stopped before it was ready")),
            Err(_) => Err(self.failed("is not ready after a minute")),
        }
    }

    /// Ends the process as a power cut would.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }

    /// Asks the process to stop, and waits until it has.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id() {
            terminate(pid);
        }
        if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    /// Returns once the process has ended by itself; never if it does not run.
    pub async fn ended(&mut self) -> ExitStatus {
        match &mut self.child {
            Some(child) => match child.wait().await {
                Ok(status) => status,
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// Takes note that the process has ended.
    pub fn forget(&mut self) {
        self.child = None;
    }

    /// A failure of this node, with the end of its log.
    pub fn failed(&self, what: &str) -> Failure {
        let mut failure = Failure::new(Exit::Unreachable, format!("the node {} {what}", self.name));
        for line in self.last_lines() {
            failure = failure.because(line);
        }
        failure.cure(format!("read {}", self.log.display()))
    }

    /// The end of its log, fit for a terminal.
    pub fn last_lines(&self) -> Vec<String> {
        tail(&self.log).iter().map(|line| crate::cmd::escape::cell(line.as_bytes())).collect()
    }

    fn file(&self) -> Result<NodeFile, Failure> {
        NodeFile::read(&self.data_dir).ok_or_else(|| self.failed("is ready but its node.json cannot be read"))
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = std::fs::File::open(log) else { return Vec::new() };
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let mut end = Vec::new();
    let read = file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)));
    if read.and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut end)).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Sends SIGTERM to a child that has not been waited for.
fn terminate(pid: u32) {
    // SAFETY: a plain system call; the process is our child and not yet reaped, so the number is its.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

/// Makes the kernel kill the child when we die, however we die.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: both are plain system calls, allowed between fork and exec; they touch no memory of ours.
        let (asked, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        match asked == 0 && now as u32 == parent {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}
