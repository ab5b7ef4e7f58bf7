//! Network namespaces, joined by a bridge: each node's process in one of its own, so that they can be cut apart.
//!
//! Needs root, and a kernel with namespaces and bridges. What is lost between two of them is lost silently: the sender is
//! told a hardware address at which nobody is.

use std::process::{Command, Stdio};

/// Nobody has it.
const NOWHERE: &str = "02:00:00:00:00:01";

/// Gone, with all that runs on them, when dropped.
pub struct Spaces {
    tag: String,
    count: usize,
}

impl Spaces {
    /// `count` namespaces that reach one another. An error says why there are none.
    pub fn new(count: usize) -> Result<Spaces, String> {
        // From here on dropping it removes what was made.
        let spaces = Spaces { tag: format!("nomad-test-{}", std::process::id()), count };
        let hub = spaces.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "hub0", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "hub0", "up"])?;
        for n in 0..count {
            let (space, port, address) =
                (spaces.name(n), format!("port{n}"), format!("{}/24", spaces.address(n)));
            ip(&["netns", "add", &space])?;
            ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "hub0"])?;
            ip(&["-n", &hub, "link", "set", &port, "up"])?;
            ip(&["-n", &space, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
        }
        Ok(spaces)
    }

    /// The address of one; the same on every machine, since nothing outside sees it.
    pub fn address(&self, n: usize) -> String {
        format!("10.77.0.{}", n + 1)
    }

    /// A command that runs in one.
    pub fn command(&self, n: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(n), program]);
        command
    }

    /// Whether what `from` sends to `to` is lost.
    pub fn cut(&self, from: usize, to: usize, lost: bool) {
        let (space, address) = (self.name(from), self.address(to));
        let done = match lost {
            true => {
                let place = ["lladdr", NOWHERE, "dev", "eth0", "nud", "permanent"];
                ip(&[&["-n", &space, "neigh", "replace", &address], &place[..]].concat())
            }
            false => ip(&["-n", &space, "neigh", "del", &address, "dev", "eth0"]),
        };
        done.expect("a namespace that was made can be changed");
    }

    fn name(&self, n: usize) -> String {
        format!("{}-{n}", self.tag)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.tag)
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for name in (0..self.count).map(|n| self.name(n)).chain([self.hub()]) {
            // It may not have come so far.
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let told = |why: String| format!("ip {}: {why}", args.join(" "));
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| told(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(told(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
