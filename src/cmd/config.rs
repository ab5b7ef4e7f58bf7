//! `nomad config`: settings of the whole cluster.

use clap::Subcommand;
use serde::Serialize;

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::{escape, meta, session};
use crate::net::wire::ConfigSet;
use crate::net::wire::admin_request::Body;

/// Where settings are among the system keys.
const SETTINGS: &[u8] = b"_/cluster/config/";

/// Read and change the settings of the cluster
#[derive(Debug, Subcommand)]
pub enum Config {
    /// List the settings
    Ls,
    /// Print a setting
    Get {
        /// Its name
        name: String,
    },
    /// Change a setting, on all nodes, at once
    Set {
        /// Its name
        name: String,
        /// Its new value
        #[arg(allow_negative_numbers = true)]
        value: String,
    },
    /// Give a setting its default back
    Reset {
        /// Its name
        name: String,
    },
}

#[derive(Serialize)]
struct Setting {
    name: String,
    value: String,
}

impl Config {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        match self {
            Config::Ls => {
                let settings = settings(&client).await?;
                let row = |setting: &Setting| vec![setting.name.clone(), setting.value.clone()];
                ui.list(&settings, &["NAME", "VALUE"], row, |setting| format!("{}={}", setting.name, setting.value))?;
            }
            Config::Get { name } => {
                let settings = settings(&client).await?;
                let Some(setting) = settings.iter().find(|setting| setting.name == name) else {
                    ui.note(&format!("{} is not set", escape::short(name.as_bytes(), 60)));
                    return Ok(Exit::No);
                };
                ui.show(setting, || setting.value.clone(), || setting.value.clone())?;
            }
            Config::Set { name, value } => {
                let body = Body::ConfigSet(ConfigSet { name: name.clone(), value: value.clone(), reset: false });
                session::admin(&client, body, || format!("cannot set {name}")).await?;
                ui.note(&format!("{name} is now {value}; nomad config reset {name} takes it back"));
            }
            Config::Reset { name } => {
                let body = Body::ConfigSet(ConfigSet { name: name.clone(), value: String::new(), reset: true });
                session::admin(&client, body, || format!("cannot reset {name}")).await?;
                ui.note(&format!("{name} has its default again"));
            }
        }
        Ok(Exit::Done)
    }
}

async fn settings(client: &crate::client::Client) -> Result<Vec<Setting>, Failure> {
    let rows = meta::rows(client, SETTINGS).await?;
    let setting = |row| {
        let name = meta::name(&row);
        let name = name.strip_prefix(SETTINGS).unwrap_or(&name);
        Setting { name: escape::cell(name), value: escape::cell(&row.value) }
    };
    Ok(rows.into_iter().map(setting).collect())
}
