//! What an operator asks of the cluster's records: tokens and settings. Served by the meta leader.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::model::config;
use crate::model::id::PlanId;
use crate::model::key::{Key, KeyRange, SYSTEM_PREFIX};
use crate::model::system::{Listing, SystemKey, is_name, is_sealed};
use crate::model::time::Timestamp;
use crate::model::token::{USES_MAX, public};
use crate::model::wire::TokenRecord;
use crate::net::chance::Chance;
use crate::net::identity::{JoinToken, Secrets};
use crate::net::wire::{self, AdminReply, AdminRequest, admin_request::Body};
use crate::node::clock::Clock;
use crate::node::store::PageBounds;

use super::records::{Change, MetaError, Records};
use super::reports::Reports;
use super::sizer::Sizer;
use super::steps::Steps;
use super::view::View;
use super::watched::Watched;

/// Times a change is tried against others.
const TRIES: usize = 16;
/// How long the view may be behind the records; it is a matter of milliseconds.
const SEE_LIMIT: Duration = Duration::from_secs(5);
/// Tokens that exist at a time.
pub const TOKENS_MAX: usize = 1000;
/// Longest life of a token, in milliseconds: 30 days.
pub const TOKEN_MAX_MS: u64 = 30 * 24 * 3600 * 1000;
/// Rows answered to one listing of system keys.
const ROWS_MAX: usize = 10_000;
/// Bytes answered to one listing of system keys.
const ROWS_MAX_BYTES: usize = 8 << 20;

/// Answers operators.
pub struct Office {
    pub records: Records,
    pub view: View,
    pub clock: Clock,
    pub reports: Reports,
    pub watched: Watched,
    pub sizer: Sizer,
    pub steps: Steps,
    /// The cluster's CA as tokens pin it; empty on an insecure cluster.
    pub ca_fingerprint: String,
    pub secrets: Secrets,
    pub chance: Chance,
}

fn is_token(key: &Bytes) -> bool {
    let key = Key::from_internal(key.clone()).ok();
    matches!(key.as_ref().and_then(SystemKey::parse), Some(SystemKey::Token(_)))
}

/// Why an operator's wish was not fulfilled. Nothing changed, unless the meta shard's answer itself is lost.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Forbidden(String),
    /// The same again a little later.
    #[error("{0}")]
    Busy(String),
    #[error(transparent)]
    Meta(#[from] MetaError),
}

impl Office {
    /// Serves one request.
    pub async fn serve(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        let body = request.body.ok_or_else(|| AdminError::Invalid("an empty request".to_owned()))?;
        let mut tries = 0;
        loop {
            tries += 1;
            self.see_all().await?;
            let answer = match &body {
                Body::TokenNew(new) => self.token_new(new).await,
                Body::TokenRevoke(revoke) => self.token_revoke(&revoke.id).await,
                Body::TokenList(_) => self.tokens(),
                Body::ConfigSet(set) => self.config_set(set).await,
                Body::NodeOrder(order) => self.node_order(order).await,
                Body::PlanGet(get) => self.plan_get(get),
                Body::LeadSet(set) => self.lead_set(*set).await,
                Body::ShardSplit(split) => self.shard_split(split).await,
                Body::ShardMerge(merge) => self.shard_merge(*merge).await,
                Body::WhyGet(get) => self.why_get(get).await,
                Body::PlanApply(apply) => self.plan_apply(apply).await,
                Body::PlanList(_) => self.plan_list(),
                Body::PlanStop(stop) => self.plan_stop(PlanId(stop.id)).await,
                Body::MetaGet(get) => self.meta_get(get),
                Body::MigrationBegin(begin) => self.migration_begin(begin).await,
                Body::MigrationOrder(order) => self.migration_order(order).await,
                Body::MigrationList(_) => self.migration_list(),
            };
            match answer {
                Err(AdminError::Meta(MetaError::Conflict)) if tries < TRIES => {}
                answer => return answer,
            }
        }
    }

    /// Waits until the view holds all that the records do: nobody is refused for how things were.
    pub async fn see_all(&self) -> Result<(), AdminError> {
        let newest = self.records.replica()?.store.state(|state| state.highest_stamp);
        let mut views = self.view.watch();
        let seen = views.wait_for(|cluster| cluster.map.version() >= newest);
        match tokio::time::timeout(SEE_LIMIT, seen).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(AdminError::Busy("this node is behind with the cluster's records".to_owned())),
        }
    }

    async fn token_new(&self, new: &wire::TokenNew) -> Result<AdminReply, AdminError> {
        if !(1..=TOKEN_MAX_MS).contains(&new.ttl_ms) || !(1..=USES_MAX).contains(&new.uses) {
            let message = format!("a token lives up to 30 days and has 1 to {USES_MAX} uses");
            return Err(AdminError::Invalid(message));
        }
        if self.all_tokens()?.len() >= TOKENS_MAX {
            return Err(AdminError::Invalid(format!("there are {TOKENS_MAX} tokens already; revoke some")));
        }
        let token = JoinToken::generate(&self.ca_fingerprint, &self.secrets);
        let now_ms = self.clock.wall_ms();
        let record = TokenRecord {
            id: token.id.clone(),
            secret_hash: Bytes::copy_from_slice(&token.secret_hash()),
            expires_at_ms: now_ms + new.ttl_ms,
            uses_left: new.uses,
            used_by: Vec::new(),
            created_at_ms: now_ms,
            nodes: Vec::new(),
        };
        let change = Change::default().put(&SystemKey::Token(token.id.clone()), record.encode_to_vec(), None);
        self.records.commit(change).await?;
        Ok(AdminReply { token: token.to_string(), tokens: vec![public(&record)], ..AdminReply::default() })
    }

    async fn token_revoke(&self, id: &str) -> Result<AdminReply, AdminError> {
        if !is_name(id) {
            return Err(AdminError::NotFound(format!("no token {id}")));
        }
        let name = SystemKey::Token(id.to_owned());
        let (_, seen) =
            self.records.read(&name)?.ok_or_else(|| AdminError::NotFound(format!("no token {id}")))?;
        self.records.commit(Change::default().delete(&name, seen)).await?;
        Ok(AdminReply::default())
    }

    fn tokens(&self) -> Result<AdminReply, AdminError> {
        Ok(AdminReply { tokens: self.all_tokens()?.iter().map(public).collect(), ..AdminReply::default() })
    }

    fn all_tokens(&self) -> Result<Vec<TokenRecord>, AdminError> {
        let rows = self.rows(&Listing::Tokens.range(), TOKENS_MAX + 1)?;
        Ok(rows.into_iter().filter_map(|row| TokenRecord::decode(row.value).ok()).collect())
    }

    async fn config_set(&self, set: &wire::ConfigSet) -> Result<AdminReply, AdminError> {
        let invalid = |error: config::ConfigError| AdminError::Invalid(error.to_string());
        let setting = config::setting(&set.name).map_err(invalid)?;
        let name = SystemKey::Config(setting.name.to_owned());
        let seen = self.records.read(&name)?.map(|(_, seen)| seen);
        let change = match (set.reset, seen) {
            (true, None) => return Ok(AdminReply::default()),
            (true, Some(seen)) => Change::default().delete(&name, seen),
            (false, seen) => {
                let value = setting.parse(&set.value).map_err(invalid)?;
                Change::default().put(&name, value.to_string(), seen)
            }
        };
        self.records.commit(change).await?;
        tracing::info!(setting = set.name, value = set.value, reset = set.reset, "setting changed");
        Ok(AdminReply::default())
    }

    fn meta_get(&self, get: &wire::MetaGet) -> Result<AdminReply, AdminError> {
        let prefix = if get.start.is_empty() { SYSTEM_PREFIX } else { &get.start[..] };
        let range = KeyRange::with_prefix(prefix).map_err(|error| AdminError::Invalid(error.to_string()))?;
        if !range.start.is_system() {
            return Err(AdminError::Invalid("system keys start with `_/`".to_owned()));
        }
        let mut rows = self.rows(&range, ROWS_MAX)?;
        for row in rows.iter_mut().filter(|row| is_token(&row.key)) {
            // The hash of a secret is nobody's business either.
            let record = TokenRecord::decode(row.value.clone());
            row.value = record.map(|record| public(&record).encode_to_vec().into()).unwrap_or_default();
        }
        Ok(AdminReply { rows, ..AdminReply::default() })
    }

    /// The rows of a range, without what is sealed.
    fn rows(&self, range: &KeyRange, limit: usize) -> Result<Vec<wire::Row>, AdminError> {
        let store = &self.records.replica()?.store;
        let bounds = PageBounds {
            at: None,
            live_at: Timestamp::ZERO,
            limit,
            max_bytes: ROWS_MAX_BYTES,
            reverse: false,
        };
        let page = store.range(range, &bounds);
        let page = page.map_err(MetaError::from)?;
        Ok(page
            .rows
            .into_iter()
            .filter(|(key, _)| !is_sealed(key))
            .map(|(key, version)| wire::Row {
                key: Key::to_bytes(&key),
                value: version.value.unwrap_or_default(),
                stamp: version.stamp.0,
                expires_at_ms: 0,
            })
            .collect())
    }
}
