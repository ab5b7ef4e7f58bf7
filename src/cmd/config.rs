//! `nomad config`: settings of the whole cluster.

use clap::Subcommand;
use serde::Serialize;

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::{meta, session};
use crate::model::config::{self, Settings, TABLE};
use crate::net::wire::ConfigSet;
use crate::net::wire::admin_request::Body;

/// Where settings are among the system keys.
const STORED: &[u8] = b"_/cluster/config/";

/// Read and change the settings of the cluster
#[derive(Debug, Subcommand)]
pub enum Config {
    /// List all settings, what they are and what they mean
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
        /// Its new value, such as 5, 10m or 64MiB
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
struct SettingView {
    name: &'static str,
    /// In the unit that the name ends in.
    value: u64,
    default: u64,
    unit: String,
    doc: &'static str,
    #[serde(skip)]
    shown: String,
}

impl Config {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        match self {
            Config::Ls => {
                let settings = views(&stored(&session::connect(global).await?).await?);
                let row = |setting: &SettingView| {
                    let mark = if setting.value == setting.default { "" } else { "*" };
                    vec![format!("{}{mark}", setting.name), setting.shown.clone(), setting.doc.to_owned()]
                };
                let raw = |setting: &SettingView| format!("{}={}", setting.name, setting.value);
                ui.list(&settings, &["NAME", ">VALUE", "MEANING (* is not the default)"], row, raw)?;
            }
            Config::Get { name } => {
                known(&name)?;
                let settings = views(&stored(&session::connect(global).await?).await?);
                let setting =
                    settings.iter().find(|setting| setting.name == name).expect("it is in the table");
                ui.show(setting, || setting.shown.clone(), || setting.value.to_string())?;
            }
            Config::Set { name, value } => {
                // What cannot be is told before anybody is asked; the cluster checks again.
                let number = known(&name)?.parse(&value).map_err(|error| refused(&error))?;
                let client = session::connect(global).await?;
                let body = Body::ConfigSet(ConfigSet { name: name.clone(), value, reset: false });
                session::admin(&client, body, || format!("cannot set {name}")).await?;
                let shown = known(&name)?.show(number);
                ui.note(&format!("{name} is now {shown}; nomad config reset {name} takes it back"));
            }
            Config::Reset { name } => {
                let default = known(&name)?;
                let client = session::connect(global).await?;
                let body =
                    Body::ConfigSet(ConfigSet { name: name.clone(), value: String::new(), reset: true });
                session::admin(&client, body, || format!("cannot reset {name}")).await?;
                ui.note(&format!("{name} is {} again", default.show(default.default)));
            }
        }
        Ok(Exit::Done)
    }
}

/// The settings of the cluster as they are now.
pub async fn stored(client: &Client) -> Result<Settings, Failure> {
    let rows = meta::rows(client, STORED).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs: Vec<(String, String)> = rows
        .iter()
        .map(|row| (text(meta::name(row).strip_prefix(STORED).unwrap_or_default()), text(&row.value)))
        .collect();
    let (settings, strange) =
        Settings::from_rows(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    for error in strange {
        tracing::warn!(%error, "a stored setting is not understood; its default is shown");
    }
    Ok(settings)
}

fn views(settings: &Settings) -> Vec<SettingView> {
    let view = |setting: &config::Setting| {
        let (value, default) = (setting.get(settings), setting.default);
        let (unit, shown) = (setting.unit.to_string(), setting.show(value));
        SettingView { name: setting.name, value, default, unit, doc: setting.doc, shown }
    };
    TABLE.iter().map(view).collect()
}

fn known(name: &str) -> Result<&'static config::Setting, Failure> {
    config::setting(name).map_err(|error| refused(&error))
}

fn refused(error: &config::ConfigError) -> Failure {
    Failure::usage(error.to_string()).cure("nomad config ls")
}
