//! Redis adapters of the ports: the event log, the registry, commands, the writer's lease, cursors and vitals.
//!
//! Nothing else in Bond talks to Redis. All keys begin with `bond:`; what one script touches shares a hash tag, so that a cluster
//! serves it too. `{p}` is a partition of the log, 0 to 15, by the topic's name:
//!
//! | key | type | holds |
//! |---|---|---|
//! | `bond:fence` | string | the last number given to a writer |
//! | `bond:{p}:fence` | hash | the number that the partition's appends must have |
//! | `bond:{p}:topics` | hash | topics that have history, with their epochs |
//! | `bond:{p}:head:{topic}` | hash | epoch, last number and bounds of a topic |
//! | `bond:{p}:log:{topic}` | stream | its events (`{seq}-0`) and kept statuses (`{after_seq}-{n}`) |
//! | `bond:{registry}:streams` | hash | desired streams with their claims, as JSON by id |
//! | `bond:{registry}:owner:{owner}` | set | ids that an owner has claimed |
//! | `bond:control` | stream | the commands of the last minute from edges to ingest |
//! | `bond:lease` | string | who is the writer |
//! | `bond:cursors:{lane}` | hash | a relay's positions |
//! | `bond:secret` | string | what signs tokens in open mode, where none was set |
//! | `bond:vitals` | hash | what each process told last, as JSON |
//!
//! Channels: `bond:topics` names topics that began or ended, `bond:topic:{topic}` says that it was appended to.

mod client;
mod control;
mod cursors;
pub mod external;
mod lease;
mod log;
mod script;
mod secret;
mod store;
mod vitals;

pub use self::client::{ConnectError, Redis, RedisConfig, SCHEMES};
pub use self::control::{RedisCommands, RedisControl};
pub use self::cursors::RedisCursors;
pub use self::lease::RedisLease;
pub use self::log::{RedisLog, Retention};
pub use self::store::RedisStore;
pub use self::vitals::RedisVitals;
