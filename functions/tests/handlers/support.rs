//! Ports in memory that can be told to fail, recorded events, and keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bond_api::authorizer::{Checks, ConnectionAuthorizer};
use bond_api::jwt::{Minting, mint};
use bond_core::api_key::{ApiKey, KeyFile};
use bond_core::connection::{Allowance, Connection, ConnectionId, ConnectionStore, UserLimits};
use bond_core::control::{Command, Control, ControlError};
use bond_core::key_source::{IssuerKeys, KeySource, KeySourceError};
use bond_core::log::LogError;
use bond_core::secret::Secret;
use bond_core::store::{Claim, DesiredStream, Labels, StoreError, StreamStore};
use bond_core::time::{ManualClock, UnixNanos};
use bond_core::token::{TokenKey, TokenKeys};
use bond_core::topic::{Family, StreamId};
use bond_edge::store::RedbStore;
use bond_functions::emf::Emf;
use bond_functions::event::WebSocketEvent;
use bond_functions::secrets::Vault;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// When the recorded `$connect` was made.
pub(crate) const CONNECTED: UnixNanos = UnixNanos::from_millis(1_700_000_000_123);
/// The recorded connection.
pub(crate) const CONNECTION: &str = "UIHeFcMUliACJlA=";
pub(crate) const STREAM: &str = "00000000000000aa";

pub(crate) fn stream() -> StreamId {
    StreamId::parse(STREAM).expect("an id")
}

pub(crate) fn api_key() -> ApiKey {
    ApiKey::from_random([7; 32])
}

pub(crate) fn token_keys() -> TokenKeys {
    TokenKeys::new(TokenKey::new("0123456789abcdef0123456789abcdef"), None)
}

pub(crate) fn token() -> String {
    token_keys().issue(&stream(), None, CONNECTED, std::time::Duration::from_secs(3600))
}

pub(crate) fn feed_token() -> String {
    let key = key_file().keys()[0].id.clone();
    token_keys().issue_for_feeds(Some(&key), CONNECTED, std::time::Duration::from_secs(3600))
}

/// What the issuer of tokens for topics signs with.
pub(crate) const ISSUER_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// A token for topics that is good for so many seconds.
pub(crate) fn jwt(user: &str, topics: Option<&[&str]>, seconds: u64) -> String {
    let minting = Minting {
        user: user.into(),
        topics: topics.map(|topics| topics.iter().map(|topic| (*topic).to_owned()).collect()),
        expires_at: CONNECTED.plus(std::time::Duration::from_secs(seconds)),
        ..Minting::default()
    };
    mint(&minting, ISSUER_SECRET).expect("a token")
}

pub(crate) fn key_file() -> KeyFile {
    let mut file = KeyFile::new([1; 32]);
    file.add(&api_key(), "ann", vec![], CONNECTED).expect("added");
    file
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(CONNECTED))
}

/// Metrics that are kept, line by line.
pub(crate) fn emf(function: &'static str) -> (Emf, Arc<Mutex<Vec<Value>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let sink = move |line: &str| kept.lock().push(serde_json::from_str(line).expect("a line of JSON"));
    (Emf::to("test".to_owned(), function, Box::new(sink)), lines)
}

/// The recorded event, changed as `change` says.
pub(crate) fn event(recorded: &str, change: impl FnOnce(&mut Value)) -> WebSocketEvent {
    let mut event: Value = serde_json::from_str(recorded).expect("a recorded event");
    change(&mut event);
    serde_json::from_value(event).expect("an event")
}

pub(crate) fn connect_event(query: &[(&str, &str)], headers: &[(&str, &str)]) -> WebSocketEvent {
    event(include_str!("../fixtures/connect.json"), |event| {
        let multiple: BTreeMap<_, _> = query.iter().map(|(name, value)| (*name, vec![*value])).collect();
        let single: BTreeMap<_, _> = query.iter().copied().collect();
        event["queryStringParameters"] = json!(single);
        event["multiValueQueryStringParameters"] = json!(multiple);
        for (name, value) in headers {
            event["headers"][*name] = json!(value);
            event["multiValueHeaders"][*name] = json!([value]);
        }
    })
}

/// A registry in which the recorded stream runs.
pub(crate) async fn registry() -> Arc<dyn StreamStore> {
    let store = RedbStore::in_memory().expect("a store");
    let desired = DesiredStream {
        id: stream(),
        canonical: "{}".to_owned(),
        spec: r#"{"version":"v1","sources":[{"type":"market","symbols":["BTC/USDT"],"channels":["ticker","trades"],"market_type":"spot"}],"symbols":["BTC/USDT"],"interval_sec":5,"transforms":[],"ttl_sec":null}"#.to_owned(),
        created_at: CONNECTED,
    };
    let claim = Claim { owner: "ann".to_owned(), expires_at: None, labels: Labels::default() };
    store.claim(desired, claim, 5, CONNECTED).await.expect("claimed");
    Arc::new(store)
}

pub(crate) async fn gate(vault: &Vault) -> Arc<ConnectionAuthorizer> {
    let keyring = vault.keyring().await.expect("keys");
    let (access, tokens) = (Arc::clone(&keyring.access), Arc::clone(&keyring.tokens));
    let checks = Checks { access, tokens, clock: clock() };
    Arc::new(ConnectionAuthorizer { checks, store: registry().await })
}

/// Secrets that can be changed, and broken by taking them away.
#[derive(Clone)]
pub(crate) struct Source(pub(crate) Arc<Mutex<Option<(TokenKeys, KeyFile)>>>);

impl Source {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some((token_keys(), key_file())))))
    }
}

#[async_trait]
impl KeySource for Source {
    async fn token_keys(&self) -> Result<TokenKeys, KeySourceError> {
        let kept = self.0.lock().clone();
        kept.map(|(tokens, _)| tokens).ok_or_else(|| KeySourceError("gone".to_owned()))
    }

    async fn api_keys(&self) -> Result<KeyFile, KeySourceError> {
        let kept = self.0.lock().clone();
        kept.map(|(_, keys)| keys).ok_or_else(|| KeySourceError("gone".to_owned()))
    }

    async fn issuer_keys(&self) -> Result<IssuerKeys, KeySourceError> {
        Ok(IssuerKeys { secrets: vec![Secret::new(ISSUER_SECRET.to_owned())], jwks: None })
    }
}

/// The limits of users in memory, which can be out of reach.
#[derive(Default)]
pub(crate) struct Users {
    /// How many more subscriptions each user may make; all are, of whom nothing is said.
    pub(crate) left: Mutex<BTreeMap<String, u32>>,
    pub(crate) out_of_reach: Mutex<bool>,
    /// How often they were asked for.
    pub(crate) asked: Mutex<usize>,
}

#[async_trait]
impl UserLimits for Users {
    async fn spend(
        &self,
        user: &str,
        wanted: &BTreeMap<Family, u32>,
    ) -> Result<BTreeMap<Family, Allowance>, LogError> {
        *self.asked.lock() += 1;
        if *self.out_of_reach.lock() {
            return Err(LogError::Unavailable("gone".to_owned()));
        }
        let mut left = self.left.lock();
        let mut spend = |count: u32| match left.get_mut(user) {
            Some(left) => {
                let granted = count.min(*left);
                *left -= granted;
                granted
            }
            None => count,
        };
        let wait = std::time::Duration::from_millis(1200);
        Ok(wanted
            .iter()
            .map(|(family, count)| (*family, Allowance { granted: spend(*count), wait }))
            .collect())
    }
}

/// Connections in memory.
#[derive(Default)]
pub(crate) struct Connections {
    pub(crate) kept: Mutex<BTreeMap<ConnectionId, Connection>>,
    pub(crate) unavailable: Mutex<bool>,
    /// What another message does to the connection just before the next `replace`.
    pub(crate) meanwhile: Mutex<Vec<Connection>>,
    pub(crate) writes: Mutex<usize>,
}

impl Connections {
    pub(crate) fn the_one(&self) -> Connection {
        self.kept.lock().get(&ConnectionId::new(CONNECTION)).cloned().expect("kept")
    }

    fn check(&self) -> Result<(), StoreError> {
        if *self.unavailable.lock() { Err(StoreError::Unavailable("down".to_owned())) } else { Ok(()) }
    }

    fn write(&self, connection: &Connection) {
        *self.writes.lock() += 1;
        self.kept.lock().insert(connection.id.clone(), connection.clone());
    }
}

#[async_trait]
impl ConnectionStore for Connections {
    async fn put(&self, connection: &Connection) -> Result<bool, StoreError> {
        self.check()?;
        self.write(connection);
        Ok(true)
    }

    async fn replace(&self, connection: &Connection, was: UnixNanos) -> Result<bool, StoreError> {
        self.check()?;
        if let Some(other) = self.meanwhile.lock().pop() {
            self.write(&other);
        }
        let is_same = self.kept.lock().get(&connection.id).is_some_and(|kept| kept.asked_at == was);
        if is_same {
            self.write(connection);
        }
        Ok(is_same)
    }

    async fn get(&self, id: &ConnectionId, _: UnixNanos) -> Result<Option<Connection>, StoreError> {
        self.check()?;
        Ok(self.kept.lock().get(id).cloned())
    }

    async fn remove(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        self.check()?;
        Ok(self.kept.lock().remove(id).is_some())
    }

    async fn lane(&self, _: u16, _: UnixNanos) -> Result<Vec<Connection>, StoreError> {
        Ok(self.kept.lock().values().cloned().collect())
    }
}

/// What the relay was told; it can be out of reach.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) commands: Mutex<Vec<Command>>,
    pub(crate) out_of_reach: Mutex<bool>,
}

impl Told {
    pub(crate) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock())
    }
}

#[async_trait]
impl Control for Told {
    async fn send(&self, command: Command) -> Result<(), ControlError> {
        if *self.out_of_reach.lock() {
            return Err(ControlError("gone".to_owned()));
        }
        self.commands.lock().push(command);
        Ok(())
    }
}
