//! The command line of `bond`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Turns a sentence into a live, numbered, aggregated market-data feed over a WebSocket.
#[derive(Parser, Debug)]
#[command(
    name = "bond",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "First steps:\n  \
        bond up                                        start everything, with simulated venues\n  \
        bond listen \"BTC price + tweets every 5s\"      watch a stream (in another terminal)\n  \
        bond compile \"ETH and SOL vwap on okx, 1m\"     see what a sentence means\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the sentence, spec or file was not understood,\n\
        4 the server could not be reached, 5 the server refused."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start ingest and the edge in one process.
    Up(UpArgs),
    /// Start a further edge on the Redis of a `bond up --redis`: REST and WebSocket without ingest.
    Edge(EdgeArgs),
    /// Say what a sentence means: the JSON that POST /v1/compile answers.
    Compile {
        /// The sentence, such as "BTC price + tweets every 5s".
        text: String,
    },
    /// Create a stream from a sentence and print its events as they come.
    Listen(ListenArgs),
    /// Publish an event to a topic, and print its number.
    Publish(PublishArgs),
    /// Publish what is made up, to try out what follows it.
    Demo(DemoArgs),
    /// Turn a venue's frames on standard input into normalised events on standard output.
    Normalize(NormalizeArgs),
    /// Run a simulated venue on loopback.
    Sim(SimArgs),
    /// List your streams.
    Streams(ServerArgs),
    /// Get a fresh token for a stream, make one for topics, or rotate the keys that sign tokens.
    Token(TokenArgs),
    /// Make, list and revoke API keys.
    Key(KeyArgs),
    /// Serve Redis Streams that others write: /ws/{id} gives what is added to stream:{id}, as it is. Needs BOND_SECRET.
    Broker(BrokerArgs),
    /// Estimate what a month on AWS costs.
    Cost(CostArgs),
}

/// Where venues' data come from.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Venues {
    /// Simulated venues in this process: nothing leaves the machine.
    Sim,
    /// The real exchanges.
    Live,
}

/// `bond up`.
#[derive(Args, Debug)]
pub struct UpArgs {
    /// Where venues' data come from.
    #[arg(long, value_enum, default_value = "sim")]
    pub venues: Venues,
    /// Other venues than those, and how they are simulated.
    #[command(flatten)]
    pub at: VenueArgs,
    /// Keep log, registry and lease in this Redis, so that several processes serve as one: `redis://`, `rediss://` for TLS,
    /// `redis-cluster://`. One process ingests, others stand by to take over and serve meanwhile. All need the same API keys, which each
    /// reads in its own data directory, and the same BOND_SECRET; without keys they find one in Redis.
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// Where and how to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Where venues are found, and how they are simulated.
#[derive(Args, Debug)]
pub struct VenueArgs {
    /// Use another base URL for a venue's WebSocket and REST: `binance=http://127.0.0.1:9001`, or
    /// `binance:perpetual=…` for one market. With any, only the markets named are served.
    #[arg(long = "venue-url", value_name = "NAME=URL")]
    pub venue_urls: Vec<String>,
    /// Events per second of each simulated venue.
    #[arg(long, default_value_t = 50.0)]
    pub sim_rate: f64,
    /// The seed of the simulated market.
    #[arg(long, default_value_t = 1)]
    pub sim_seed: u64,
}

/// `bond edge`.
#[derive(Args, Debug)]
pub struct EdgeArgs {
    /// The Redis of the processes that ingest. All need the same API keys, which each reads in its own data directory, and the same
    /// BOND_SECRET; without keys they find one in Redis.
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: String,
    /// Where and how to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Where and how to serve.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The address to listen on. Anything but loopback needs BOND_SECRET, WS_HOST and API keys.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// The port of the REST interface; 0 takes a free one. Both ports answer everything.
    #[arg(long, default_value_t = 8000)]
    pub rest_port: u16,
    /// The port of the WebSocket interface; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub ws_port: u16,
    /// Where API keys, and without Redis streams too, are kept over restarts.
    #[arg(long, default_value = ".bond")]
    pub data_dir: PathBuf,
    /// Write the URLs to this file once everything is served, for scripts that wait.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
}

/// Which server to talk to.
#[derive(Args, Debug, Clone)]
pub struct ServerArgs {
    /// The REST base URL of a running bond.
    #[arg(long, default_value = "http://127.0.0.1:8000", env = "BOND_URL")]
    pub url: String,
    /// An API key, where the server asks for one.
    #[arg(long, env = "BOND_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
}

/// `bond listen`.
#[derive(Args, Debug)]
pub struct ListenArgs {
    /// The sentence, such as "BTC price + tweets every 5s".
    pub text: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Stop after this many events.
    #[arg(long)]
    pub count: Option<u64>,
    /// Print each event as one line of JSON, as it came.
    #[arg(long)]
    pub json: bool,
}

/// `bond publish`.
#[derive(Args, Debug)]
pub struct PublishArgs {
    /// The topic, such as prices.IN1234567890.
    pub topic: String,
    /// The event's payload, as JSON.
    #[arg(allow_hyphen_values = true)]
    pub payload: String,
    /// What the event is: a delta is a merge patch of the topic's state, a snapshot the whole state, an alert leaves the state alone.
    #[arg(long = "type", value_name = "TYPE", default_value = "delta")]
    pub kind: String,
    /// The event's meta, a JSON object. Its subtopic is what subscribers filter by.
    #[arg(long, value_name = "JSON")]
    pub meta: Option<String>,
    /// Publish only if this is the number of the topic's newest event; 0: if it has none.
    #[arg(long, value_name = "N")]
    pub if_seq: Option<u64>,
    /// An idempotency key: sent again with the same one, the event is there once.
    #[arg(long)]
    pub key: Option<String>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `bond demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// What to make up.
    #[command(subcommand)]
    pub action: DemoAction,
}

/// What to make up.
#[derive(Subcommand, Debug)]
pub enum DemoAction {
    /// A bond desk on topics of a running server: prices, an auction, and a user's orders, portfolio and risk. Prints where to follow it.
    Topics(DemoTopicsArgs),
}

/// `bond demo topics`.
#[derive(Args, Debug)]
pub struct DemoTopicsArgs {
    /// Stop after this many seconds.
    #[arg(long)]
    pub seconds: Option<u32>,
    /// The data directory of the server: its secret signs the token that is printed.
    #[arg(long, default_value = ".bond")]
    pub data_dir: PathBuf,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// The kind of market.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Market {
    /// Immediate delivery.
    Spot,
    /// Perpetual swaps.
    Perpetual,
}

/// `bond normalize`.
#[derive(Args, Debug)]
pub struct NormalizeArgs {
    /// The venue: binance, okx, bybit.
    #[arg(long)]
    pub venue: String,
    /// The kind of market.
    #[arg(long, value_enum, default_value = "spot")]
    pub market: Market,
    /// The venue's REST answer that lists its instruments, for contract sizes.
    #[arg(long)]
    pub instruments: Option<PathBuf>,
}

/// `bond sim`.
#[derive(Args, Debug)]
pub struct SimArgs {
    /// The venue: binance, okx, bybit.
    #[arg(long)]
    pub venue: String,
    /// The kind of market.
    #[arg(long, value_enum, default_value = "spot")]
    pub market: Market,
    /// The port on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Replay this capture (`.ndjson` or `.ndjson.gz`: receive time in ns, a space, the frame).
    #[arg(long)]
    pub capture: Option<PathBuf>,
    /// How many times faster than recorded to replay.
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// How long after the first subscription a capture begins, in milliseconds.
    #[arg(long, default_value_t = 500)]
    pub start_after: u64,
    /// Start the capture over at its end, with times and ids shifted.
    #[arg(long = "loop")]
    pub looped: bool,
    /// The seed of the simulated market.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Events per second of the simulated market.
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// A fault to play, such as `drop:trade:3`; may be repeated.
    #[arg(long = "fault")]
    pub faults: Vec<String>,
}

/// `bond token`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct TokenArgs {
    /// The stream's id.
    #[arg(required = true)]
    pub stream_id: Option<String>,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What else to do with tokens.
    #[command(subcommand)]
    pub action: Option<TokenAction>,
}

/// What else to do with tokens.
#[derive(Subcommand, Debug)]
pub enum TokenAction {
    /// Take the text of the secret of token keys on standard input, and write it with a new key on standard output. The key that signed
    /// so far stays good until the next rotation.
    Rotate,
    /// Write a token for topics to standard output, for trying out: signed with BOND_JWT_SECRET, or with the secret that a server with the
    /// same data directory keeps where none is set.
    Jwt(JwtArgs),
}

/// `bond token jwt`.
#[derive(Args, Debug)]
pub struct JwtArgs {
    /// Whose token it is.
    #[arg(long)]
    pub user: String,
    /// The user's role.
    #[arg(long)]
    pub role: Option<String>,
    /// What may be read, such as prices.>,trading.u1; without it prices, auctions and the user's own.
    #[arg(long, value_delimiter = ',')]
    pub topics: Option<Vec<String>>,
    /// What may be published to.
    #[arg(long, value_delimiter = ',')]
    pub publish: Vec<String>,
    /// How long it is good: 90s, 30m, 1h, 7d.
    #[arg(long, default_value = "1h", value_parser = crate::command::token::ttl)]
    pub ttl: Duration,
    /// The data directory of the server.
    #[arg(long, default_value = ".bond")]
    pub data_dir: PathBuf,
}

/// `bond broker`.
#[derive(Args, Debug)]
pub struct BrokerArgs {
    /// The Redis, such as redis://127.0.0.1:6379, or rediss:// for TLS.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis: String,
    /// The address to listen on. On loopback, and without WS_HOST, this machine alone may connect.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Write the URL to this file once everything is served, for scripts that wait.
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
}

/// `bond cost`.
#[derive(Args, Debug)]
pub struct CostArgs {
    /// Clients that are connected all the time.
    #[arg(long, default_value_t = 100)]
    pub connections: u32,
    /// Events a second that each gets.
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// Events in one frame.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Bytes of one event.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub event_bytes: u32,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (rate.is_finite() && rate >= 0.0).then_some(rate).ok_or_else(|| "from 0 on".to_owned())
}

/// `bond key`.
#[derive(Args, Debug)]
pub struct KeyArgs {
    /// Where keys are kept.
    #[arg(long, default_value = ".bond", global = true)]
    pub data_dir: PathBuf,
    /// What to do with keys.
    #[command(subcommand)]
    pub action: KeyAction,
}

/// What to do with API keys.
#[derive(Subcommand, Debug)]
pub enum KeyAction {
    /// Make a key and print it, once.
    New {
        /// Whose streams it reaches.
        #[arg(long)]
        owner: String,
        /// What else it may do.
        #[arg(long)]
        role: Vec<String>,
    },
    /// List keys, without their secrets.
    List,
    /// Take a key back.
    Revoke {
        /// Its id, as `bond key list` shows it.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}
