//! `nomad token`: what lets a new node join.

use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use crate::cmd::exit::Exit;
use crate::cmd::fail::Answer;
use crate::cmd::global::Global;
use crate::cmd::{session, spell, table};
use crate::model::wire::TokenRecord;
use crate::net::wire::admin_request::Body;
use crate::net::wire::{TokenList, TokenNew, TokenRevoke};

/// Make, list and revoke the tokens with which nodes join
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; it is said this once
    ///
    /// With -o raw the token alone.
    New {
        /// How long it can be used
        #[arg(long, default_value = "1h", value_parser = spell::duration)]
        ttl: Duration,
        /// How many nodes may join with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
    },
    /// List the tokens that exist; never what they are
    Ls,
    /// Make a token useless from now on
    Revoke {
        /// Its id, as `token ls` shows it
        id: String,
    },
}

#[derive(Serialize)]
struct NewToken {
    token: String,
    ttl_ms: u64,
    uses: u32,
    join: String,
}

#[derive(Serialize)]
struct TokenView {
    id: String,
    created_at_ms: u64,
    expires_at_ms: u64,
    uses_left: u32,
    nodes: Vec<u64>,
}

impl Token {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        match self {
            Token::New { ttl, uses } => {
                let ttl_ms = ttl.as_millis() as u64;
                let body = Body::TokenNew(TokenNew { ttl_ms, uses });
                let token = session::admin(&client, body, || "cannot make a token".to_owned()).await?.token;
                // The map as it was when we connected: that is enough, and the token is made.
                let members = session::members(&client).join(",");
                let join = format!("nomad serve --data DIR --join {members} --token {token}");
                let new = NewToken { token, ttl_ms, uses, join };
                let page = || {
                    let lives = format!("{} time(s), within {}", uses, spell::span(ttl_ms));
                    table::pairs(&[
                        ("token", new.token.clone()),
                        ("good for", lives),
                        ("join with", new.join.clone()),
                    ])
                };
                ui.show(&new, page, || new.token.clone())?;
            }
            Token::Ls => {
                let body = Body::TokenList(TokenList {});
                let listed = session::admin(&client, body, || "cannot list the tokens".to_owned()).await?;
                let tokens: Vec<TokenView> = listed.tokens.into_iter().map(view).collect();
                ui.list(&tokens, &["ID", "CREATED", "EXPIRES", ">USES LEFT", "NODES"], row, |token| {
                    token.id.clone()
                })?;
            }
            Token::Revoke { id } => {
                let body = Body::TokenRevoke(TokenRevoke { id: id.clone() });
                session::admin(&client, body, || format!("cannot revoke the token {id}")).await?;
                ui.note(&format!("the token {id} can no longer be used"));
            }
        }
        Ok(Exit::Done)
    }
}

fn view(token: TokenRecord) -> TokenView {
    let TokenRecord { id, created_at_ms, expires_at_ms, uses_left, nodes, .. } = token;
    TokenView { id, created_at_ms, expires_at_ms, uses_left, nodes }
}

fn row(token: &TokenView) -> Vec<String> {
    let nodes: Vec<String> = token.nodes.iter().map(|node| format!("n{node}")).collect();
    vec![
        token.id.clone(),
        spell::moment(token.created_at_ms),
        spell::moment(token.expires_at_ms),
        token.uses_left.to_string(),
        nodes.join(" "),
    ]
}
