//! Redis adapters of the ports: the event log, the registry, commands, the writer's lease, cursors and vitals.
//!
//! No other crate of Bond uses Redis. All keys begin with `bond:`. The keys that one script uses share a hash tag, so that they are on one
//! server of a cluster. `{p}` is a partition of the log, 0 to 15, which is derived from the topic's name:
//!
//! | key | type | holds |
//! |---|---|---|
//! | `bond:fence` | string | the last fencing number that a writer got |
//! | `bond:{p}:fence` | hash | the least fencing number that appends in the partition need |
//! | `bond:{p}:topics` | hash | topics that have history, with their epochs |
//! | `bond:{p}:published` | sorted set | published topics that have history, by name |
//! | `bond:{p}:head:{topic}` | hash | epoch, last number and bounds of a topic; of a published one also `ts` and `entry` |
//! | `bond:{p}:log:{topic}` | stream | its events (`{seq}-0`) and kept statuses (`{after_seq}-{n}`) |
//! | `bond:{p}:state:{topic}` | string | a published topic's `{epoch}:{seq}`, and behind ` =` its state there |
//! | `bond:{p}:key:{topic}:{key}` | string | when a batch of that key was appended, where, and its digest |
//! | `bond:{registry}:streams` | hash | desired streams with their claims, as JSON by id |
//! | `bond:{registry}:owner:{owner}` | set | ids that an owner has claimed |
//! | `bond:control` | stream | the commands of the last minute from edges to ingest |
//! | `bond:publish` | stream | events of producers and batches of other processes, until they are published |
//! | `bond:publish:rejected` | stream | the last 1000 entries that were refused, with the reason |
//! | `bond:lease` | string | the process that is the writer |
//! | `bond:cursors:{lane}` | hash | a relay's positions |
//! | `bond:subscriptions:{user}` | hash | when what a user has subscribed to is paid off, by family |
//! | `bond:secret` | string | the secret that signs tokens in open mode, if none was set |
//! | `bond:vitals` | hash | the last health report of each process, as JSON |
//!
//! Channels: a message on `bond:topics` names a topic that began or ended; one on `bond:topic:{topic}` says that the topic was appended to;
//! one on `bond:publish:replies:{process}` answers a batch of that process.

mod bondx;
mod client;
mod control;
mod cursors;
pub mod external;
mod lanes;
mod lease;
mod log;
mod publish;
mod script;
mod secret;
mod store;
mod stream;
mod user_limits;
mod vitals;

pub use self::bondx::{BridgeParts, bridge};
pub use self::client::{ConnectError, Redis, RedisConfig, SCHEMES};
pub use self::control::{RedisCommands, RedisControl};
pub use self::cursors::RedisCursors;
pub use self::lease::RedisLease;
pub use self::log::{RedisLog, Retention};
pub use self::publish::{RedisPublisher, take_in};
pub use self::store::RedisStore;
pub use self::user_limits::RedisUserLimits;
pub use self::vitals::RedisVitals;
