//! What a node is told: flags, environment, file, defaults, in this order.
//!
//! Promises: every setting has one name in all three places; a word in the file that means nothing is an error. Does not
//! touch the data directory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use serde::Deserialize;

use crate::cmd::context_file::is_endpoint;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::log::LogFormat;
use crate::cmd::private_file;
use crate::model::map::{WEIGHT_DEFAULT, WEIGHT_MAX};

/// Where a node listens unless told.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7300);
/// The longest zone's name, in bytes.
const ZONE_MAX_BYTES: usize = 64;

/// Run one node of a cluster
///
/// The first node makes the cluster: `nomad serve --data DIR --bootstrap`. It prints the line to paste on the others:
/// `nomad serve --data DIR --join HOST:PORT --token T`. On a directory that was used before neither is needed, and both
/// do nothing.
///
/// A flag wins over the environment, that over the file of --config, that over the default. The file is TOML with the
/// names of the flags: `listen = "10.0.0.1:7300"`, `split-at = ["g", "t"]`, `bootstrap = true`. What says how to begin
/// (bootstrap, or join) is taken from the first of them that says anything about it.
///
/// When ready, it writes DIR/node.json and prints one line. SIGTERM hands leadership over, drains and ends with 0; a
/// second signal ends it at once.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Node options")]
pub struct Serve {
    /// Where the node keeps its data
    #[arg(long, value_name = "DIR", env = "NODENOMAD_DATA", hide_env_values = true)]
    pub data: Option<PathBuf>,

    /// Make a new cluster with this as its first node
    #[arg(long, env = "NODENOMAD_BOOTSTRAP", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub bootstrap: bool,

    /// Join a cluster through these members; needs --token
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "NODENOMAD_JOIN",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub join: Vec<String>,

    /// The token made by `nomad token new` or printed by the first node
    #[arg(long, env = "NODENOMAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Where to listen for nodes and clients (UDP); port 0 picks one and keeps it [default: 127.0.0.1:7300]
    #[arg(long, value_name = "IP:PORT", env = "NODENOMAD_LISTEN", hide_env_values = true)]
    pub listen: Option<SocketAddr>,

    /// Where to listen for health checks and metrics (TCP) [default: as --listen]
    #[arg(long, value_name = "IP:PORT", env = "NODENOMAD_HTTP", hide_env_values = true)]
    pub http: Option<SocketAddr>,

    /// Where others reach it, if not at the address it listens on
    #[arg(long, value_name = "HOST:PORT", env = "NODENOMAD_ADVERTISE", hide_env_values = true)]
    pub advertise: Option<String>,

    /// Name of what may fail together, such as a rack; replicas are spread over zones
    #[arg(long, value_name = "NAME", env = "NODENOMAD_ZONE", hide_env_values = true)]
    pub zone: Option<String>,

    /// How much it holds compared to others [default: 100]
    #[arg(long, value_name = "N", env = "NODENOMAD_WEIGHT", hide_env_values = true)]
    pub weight: Option<u32>,

    /// With --bootstrap: keys at which the key space is split into shards
    #[arg(
        long,
        value_name = "KEY",
        env = "NODENOMAD_SPLIT_AT",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub split_at: Vec<String>,

    /// No identities, no encryption; only on loopback
    #[arg(long, env = "NODENOMAD_INSECURE", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub insecure: bool,

    /// Leave the user's own contexts alone
    #[arg(long, env = "NODENOMAD_NO_CONTEXT", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub no_context: bool,

    /// A file with the same settings
    #[arg(long, value_name = "FILE", env = "NODENOMAD_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// How log lines look [default: human]
    #[arg(long, value_name = "FORMAT", env = "NODENOMAD_LOG_FORMAT", hide_env_values = true)]
    pub log_format: Option<LogFormat>,

    /// What is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", env = "NODENOMAD_LOG_LEVEL", hide_env_values = true)]
    pub log_level: Option<String>,
}

/// The same settings in a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct SettingsFile {
    data: Option<PathBuf>,
    bootstrap: bool,
    join: Vec<String>,
    token: Option<String>,
    listen: Option<SocketAddr>,
    http: Option<SocketAddr>,
    advertise: Option<String>,
    zone: Option<String>,
    weight: Option<u32>,
    split_at: Vec<String>,
    insecure: bool,
    no_context: bool,
    log_format: Option<LogFormat>,
    log_level: Option<String>,
}

/// How a node begins where the directory does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The directory must have been used before.
    Resume,
    Bootstrap,
    Join {
        members: Vec<String>,
        token: String,
    },
}

/// Everything decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub data: PathBuf,
    pub beginning: Beginning,
    pub listen: SocketAddr,
    pub http: SocketAddr,
    pub advertise: Option<String>,
    pub zone: String,
    pub weight: u32,
    pub split_at: Vec<Vec<u8>>,
    pub insecure: bool,
    pub no_context: bool,
    pub log_format: LogFormat,
    pub log_level: String,
}

impl Serve {
    /// Reads the file, if there is one, and decides.
    pub fn decide(self) -> Result<Decided, Failure> {
        let file = match &self.config {
            None => SettingsFile::default(),
            Some(path) => {
                let shown = path.display();
                let text =
                    private_file::read(path).or_fail(|| format!("cannot read the settings in {shown}"))?;
                toml::from_str(&text).map_err(|error| {
                    Failure::usage(format!("cannot understand the settings in {shown}"))
                        .because(error.message().to_owned())
                        .cure("nomad serve --help names all settings")
                })?
            }
        };
        self.over(file)
    }

    /// These options over a file over the defaults.
    fn over(self, file: SettingsFile) -> Result<Decided, Failure> {
        let says_how = self.bootstrap || !self.join.is_empty();
        let (bootstrap, join) =
            if says_how { (self.bootstrap, self.join) } else { (file.bootstrap, file.join) };
        let beginning = beginning(bootstrap, join, self.token.or(file.token))?;
        let data = self.data.or(file.data).ok_or_else(|| {
            Failure::usage("the node does not know where to keep its data").cure("nomad serve --data DIR ...")
        })?;
        let listen = self.listen.or(file.listen).unwrap_or(LISTEN_DEFAULT);
        let mut split_at = if self.split_at.is_empty() { file.split_at } else { self.split_at };
        // The order they are typed in says nothing.
        split_at.sort();
        split_at.dedup();
        let decided = Decided {
            data,
            beginning,
            listen,
            http: self.http.or(file.http).unwrap_or(listen),
            advertise: self.advertise.or(file.advertise),
            zone: self.zone.or(file.zone).unwrap_or_default(),
            weight: self.weight.or(file.weight).unwrap_or(WEIGHT_DEFAULT),
            split_at: split_at.into_iter().map(String::into_bytes).collect(),
            insecure: self.insecure || file.insecure,
            no_context: self.no_context || file.no_context,
            log_format: self.log_format.or(file.log_format).unwrap_or_default(),
            log_level: self.log_level.or(file.log_level).unwrap_or_else(|| "info".to_owned()),
        };
        decided.check()?;
        Ok(decided)
    }
}

impl Decided {
    fn check(&self) -> Result<(), Failure> {
        let ip = self.listen.ip();
        if self.insecure && !(ip.is_loopback() && self.http.ip().is_loopback()) {
            return Err(Failure::usage("an insecure node may only listen on loopback")
                .because(format!("{ip} can be reached from elsewhere, and nobody would be asked who he is"))
                .cure("the same without --insecure, or with --listen 127.0.0.1:7300"));
        }
        if ip.is_unspecified() && self.advertise.is_none() {
            return Err(Failure::usage("others would not know where to reach this node")
                .because(format!("it listens on {ip}, which is no address"))
                .cure("the same with --advertise HOST:PORT"));
        }
        if let Some(wrong) = self.advertise.iter().find(|text| !is_endpoint(text)) {
            return Err(Failure::usage(format!("`{wrong}` is not HOST:PORT")).cure("--advertise HOST:PORT"));
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(Failure::usage(format!("a node cannot weigh {}", self.weight)).because(format!(
                "weights go from 1 to {WEIGHT_MAX}; an ordinary node has {WEIGHT_DEFAULT}"
            )));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.zone.len() > ZONE_MAX_BYTES || !self.zone.chars().all(plain) {
            return Err(Failure::usage("that cannot be the name of a zone")
                .because(format!("names have at most {ZONE_MAX_BYTES} of A-Z a-z 0-9 . _ -")));
        }
        for key in &self.split_at {
            crate::cmd::spell::user_key_bytes(key)?;
        }
        if !self.split_at.is_empty() && self.beginning != Beginning::Bootstrap {
            return Err(Failure::usage("the key space is split when a cluster is made")
                .because("--split-at goes with --bootstrap only"));
        }
        Ok(())
    }
}

fn beginning(bootstrap: bool, join: Vec<String>, token: Option<String>) -> Result<Beginning, Failure> {
    if bootstrap && !join.is_empty() {
        return Err(Failure::usage("a node either makes a cluster or joins one")
            .cure("--bootstrap on the first machine, --join HOST:PORT --token T on the others"));
    }
    if let Some(wrong) = join.iter().find(|text| !is_endpoint(text)) {
        return Err(Failure::usage(format!("`{wrong}` is not HOST:PORT")).cure("--join HOST:PORT --token T"));
    }
    match (bootstrap, join.is_empty(), token) {
        (true, _, _) => Ok(Beginning::Bootstrap),
        (false, true, _) => Ok(Beginning::Resume),
        (false, false, Some(token)) => Ok(Beginning::Join { members: join, token }),
        (false, false, None) => Err(Failure::usage("a token is needed to join")
            .cure("nomad token new, on a machine with an administrator's context")),
    }
}

#[cfg(test)]
#[path = "options/tests.rs"]
mod tests;
