//! Contexts: which cluster, where its members are, and who we are there. One file each.
//!
//! A context file stands for itself: `-c FILE` needs nothing else. The user's own are in
//! `$XDG_CONFIG_HOME/nodenomad/contexts/NAME.toml`, and `contexts/current` holds the name of the one in use. Files are
//! replaced whole and hold a private key, so only their owner may read them.
//!
//! Promises: a damaged file is reported by its path, never half believed. Does not: connect, or check certificates.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::private_file;

/// The most members a context names.
pub const ENDPOINTS_MAX: usize = 64;
/// The longest name, in bytes.
pub const NAME_MAX_BYTES: usize = 64;
/// The name that bootstrapping a cluster gives its context.
pub const DEFAULT: &str = "default";

const CURRENT: &str = "current";

/// A cluster as one user sees it. Has no `Debug`: it holds a private key.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Context {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    /// Members, `HOST:PORT` each.
    pub endpoints: Vec<String>,
    /// The cluster was started `--insecure`: there is no identity.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// How long commands wait, such as `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// PEM of the cluster's authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// PEM of our certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// PEM of our private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Context {
    /// Reads a context file.
    pub fn read(path: &Path) -> Result<Context, Failure> {
        let text =
            private_file::read(path).or_fail(|| format!("cannot read the context {}", path.display()))?;
        let context: Context = toml::from_str(&text).map_err(|error| {
            // The parser's own text would quote the line, which may be of a key.
            Failure::usage(format!("{} is not a context", path.display()))
                .because(error.message().to_owned())
                .cure("nomad context ls, or another file after -c")
        })?;
        context.check().map_err(|reason| {
            Failure::usage(format!("{} is not a context", path.display()))
                .because(reason)
                .cure("nomad context ls")
        })?;
        Ok(context)
    }

    /// Writes the context, replacing the file whole.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = toml::to_string_pretty(self).expect("a context is a flat table of texts");
        private_file::write(path, text.as_bytes())
            .or_fail(|| format!("cannot write the context {}", path.display()))
    }

    /// What is wrong with it, in words.
    pub(in crate::cmd) fn check(&self) -> Result<(), String> {
        if self.endpoints.is_empty() || self.endpoints.len() > ENDPOINTS_MAX {
            return Err(format!("it names {} endpoints, not 1 to {ENDPOINTS_MAX}", self.endpoints.len()));
        }
        if let Some(wrong) = self.endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
            return Err(format!("`{wrong}` is not HOST:PORT"));
        }
        let parts = [&self.ca, &self.cert, &self.key].iter().filter(|part| part.is_some()).count();
        match (parts, self.insecure) {
            (3, false) | (0, true) => Ok(()),
            (_, true) => Err("it is insecure and has an identity; one of the two".to_owned()),
            (_, false) => Err("it needs `ca`, `cert` and `key`".to_owned()),
        }
    }
}

/// The user's contexts.
pub struct Contexts {
    folder: PathBuf,
}

impl Contexts {
    /// Those of this user.
    pub fn of_user() -> Result<Contexts, Failure> {
        let places = etcetera::base_strategy::Xdg::new().map_err(|error| {
            Failure::usage("cannot find your home directory").caused_by(&error).cure("the same with HOME set")
        })?;
        Ok(Contexts::in_folder(places.config_dir().join("nodenomad").join("contexts")))
    }

    /// Those in a folder.
    pub fn in_folder(folder: PathBuf) -> Contexts {
        Contexts { folder }
    }

    /// Where the context of this name is or would be.
    pub fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        if !is_name(name) {
            return Err(Failure::usage(format!("`{name}` cannot be the name of a context"))
                .because(format!(
                    "names have 1 to {NAME_MAX_BYTES} of A-Z a-z 0-9 . _ - and begin with none of . -"
                ))
                .cure("nomad context ls"));
        }
        Ok(self.folder.join(format!("{name}.toml")))
    }

    /// All names, in order.
    pub fn names(&self) -> Result<Vec<String>, Failure> {
        let listed = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.or_fail(|| format!("cannot list {}", self.folder.display()))?,
        };
        let files = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = files
            .filter_map(|file| file.strip_suffix(".toml").map(str::to_owned))
            .filter(|name| is_name(name))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The context of this name.
    pub fn get(&self, name: &str) -> Result<Context, Failure> {
        let path = self.path(name)?;
        if !path.exists() {
            return Err(Failure::usage(format!("there is no context `{name}`"))
                .because(format!("{} does not exist", path.display()))
                .cure("nomad context ls"));
        }
        Context::read(&path)
    }

    /// Adds or replaces a context under its own name.
    pub fn save(&self, context: &Context) -> Result<PathBuf, Failure> {
        let path = self.path(&context.name)?;
        private_file::make_folder(&self.folder)
            .or_fail(|| format!("cannot make {}", self.folder.display()))?;
        context.write(&path)?;
        Ok(path)
    }

    /// Removes a context; it is then nobody's current one.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        let path = self.path(name)?;
        std::fs::remove_file(&path).or_fail(|| format!("cannot remove the context `{name}`"))?;
        if self.chosen().as_deref() == Some(name) {
            let _ = std::fs::remove_file(self.folder.join(CURRENT));
        }
        Ok(())
    }

    /// The name in use: the one chosen, else `default`, else the only one there is.
    pub fn current(&self) -> Result<Option<String>, Failure> {
        let names = self.names()?;
        if let Some(chosen) = self.chosen().filter(|chosen| names.contains(chosen)) {
            return Ok(Some(chosen));
        }
        Ok(match names.as_slice() {
            [only] => Some(only.clone()),
            names => names.iter().find(|name| *name == DEFAULT).cloned(),
        })
    }

    /// Makes a context the one in use.
    pub fn choose(&self, name: &str) -> Result<(), Failure> {
        self.get(name)?;
        private_file::write(&self.folder.join(CURRENT), format!("{name}\n").as_bytes())
            .or_fail(|| "cannot remember which context is in use".to_owned())
    }

    fn chosen(&self) -> Option<String> {
        let text = private_file::read(&self.folder.join(CURRENT)).ok()?;
        Some(text.trim().to_owned()).filter(|name| is_name(name))
    }
}

/// The endpoints a context should have, given those it has and where the members are now. If none of its own is a
/// member's address, the members are known by other names where it is used, and its own stay in front.
pub fn refreshed(own: &[String], members: &[String]) -> Vec<String> {
    if members.is_empty() {
        return own.to_vec();
    }
    let foreign = !own.iter().any(|endpoint| members.contains(endpoint));
    let kept = own.iter().filter(|endpoint| foreign && !members.contains(endpoint));
    kept.chain(members).take(ENDPOINTS_MAX).cloned().collect()
}

/// `HOST:PORT`, without asking anybody whether it exists.
pub fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = !bare.is_empty()
        && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%'));
    plain
        && (bare.len() < host.len() || !bare.contains(':'))
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME_MAX_BYTES).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

/// No context and no endpoint: where to begin.
pub fn nothing_chosen() -> Failure {
    Failure::new(Exit::Usage, "there is no cluster to talk to")
        .because("no context is in use, and -e names no endpoint")
        .cure("nomad up (starts a local cluster), nomad context ls, or -c DIR/admin.toml")
}

#[cfg(test)]
#[path = "context_file/tests.rs"]
mod tests;
