//! The closed list of words that change nothing, and those that would have to be worked out.
//!
//! A word that is neither here nor anywhere else in the grammar refuses the sentence: it may be what matters. So what is put here must mean
//! the same with and without: no verb but those that ask for a stream, no measure, no number, no comparison.

/// Words that change nothing.
#[rustfmt::skip]
pub(super) const SILENT: &[&str] = &[
    "the", "a", "an", "me", "my", "i", "im", "i'm", "we", "us", "our", "you", "your", "it", "its", "they",
    "them", "their", "this", "that", "these", "those", "there", "which", "who", "give", "get", "show",
    "stream", "streams", "streaming", "send", "sending", "deliver", "push", "feed", "feeds", "want",
    "wanted", "wants", "need", "needs", "watch", "watching", "track", "tracking", "follow", "following",
    "monitor", "monitoring", "see", "fetch", "pull", "subscribe", "subscription", "make", "create", "start",
    "let", "let's", "know", "keep", "tell", "provide", "please", "pls", "thanks", "thank", "hi", "hey",
    "hello", "bond", "would", "could", "can", "will", "should", "may", "like", "love", "i'd", "id", "i'll",
    "be", "is", "are", "was", "do", "does", "have", "has", "what", "how", "when", "where", "interested in",
    "up to date", "looking for", "live", "real time", "realtime", "current", "currently", "latest",
    "recent", "now", "right", "right now", "instant", "continuous", "continuously", "fresh", "new",
    "ongoing", "market", "markets", "exchange", "exchanges", "venue", "venues", "crypto", "cryptocurrency",
    "coin", "coins", "token", "tokens", "asset", "assets", "symbol", "symbols", "source", "sources", "pair",
    "pairs", "info", "information", "figures", "stats", "activity", "updates", "updated", "updating",
    "refresh", "refreshed", "refreshing", "events", "messages", "trading", "traded", "also", "too", "both",
    "any", "some", "not only", "not just", "nothing but", "nothing else", "nothing more", "either",
    "compare", "compared", "then", "so", "if", "by", "as", "into", "over", "during", "within", "at least",
    "once", "interval", "intervals", "window", "bucket", "buckets", "period", "periods", "timeframe",
    "resolution", "time", "low latency", "high frequency", "high speed", "fast", "quick", "single", "one",
    "such", "level", "levels", "deep", "etc", "etcetera", "ok", "okay", "much", "many", "more",
    "going forward", "starting now", "from now", "from now on", "at the moment", "today", "socket",
    "websocket", "url", "endpoint", "posted", "said", "say", "saying", "people", "really", "very",
    "actually", "basically", "simply", "maybe", "perhaps", "kindly", "ideally", "always", "constantly",
    "again", "here", "am", "been", "being", "were", "did", "done", "got", "getting", "having", "had",
    "gets", "gives", "giving", "shows", "showing", "use", "used", "go", "goes", "goes on", "going on",
    "come", "comes", "coming", "look", "looks", "looking", "take", "put", "run", "running", "available",
    "everyone", "someone", "guys", "thx", "cheers", "nice", "great", "cool", "yes", "yeah", "sure", "fine",
    "kind", "type", "thing", "things", "stuff", "detail", "details", "values", "terms", "directly",
    "straight", "immediately", "instantly", "asap", "quickly", "actual", "exact", "precise", "usual",
    "across", "among", "combined", "merged", "whose", "he", "she", "his", "her", "him", "myself", "mine",
    "i've", "we'd", "we're", "we'll", "you're", "they're", "wanna", "gonna", "gimme", "lemme", "shall",
    "must", "might", "else", "still", "even", "happening", "happens", "up to the second",
    "up to the minute", "up to the moment", "there's", "it's", "that's", "what's", "sampled", "bitcoin's",
    "going", "set up", "setup", "help", "receive", "receiving", "merge", "merging", "combine", "combining",
    "join", "side by side", "building", "build", "gm", "morning", "evening", "good", "buddy", "mate",
    "dude", "man", "bro", "sir", "folks", "yo", "greetings", "ty", "plz", "observe", "view", "viewing",
    "read", "reading", "listen", "hear", "obtain", "check", "checking", "display", "print", "output",
    "return", "present", "an eye on", "keep an eye on", "connect", "begin", "started", "starting",
    "numbers", "learn", "understand", "care",
];

/// Words that say what a stream is for, or the like. They change nothing, and a warning says that they were not used.
#[rustfmt::skip]
pub(super) const TOLD: &[&str] = &[
    "doing", "dashboard", "dashboards", "chart", "charts", "graph", "graphs", "screen", "bot", "bots",
    "app", "notebook", "model", "models", "research", "website", "script", "terminal", "page", "widget",
    "client", "clients", "analysis", "project", "study", "work", "friend", "friends", "team", "colleague",
    "colleagues", "thesis", "paper", "homework", "experiment", "demo", "test", "testing", "example",
    "tutorial", "presentation", "hackathon", "report",
];

/// Figures that Bond does not work out, and words that compare or choose. Any unknown word is refused; these are not taken for assets either,
/// wherever they stand.
#[rustfmt::skip]
pub(super) const MEASURES: &[&str] = &[
    "rsi", "macd", "ema", "sma", "wma", "twap", "atr", "adx", "obv", "bollinger", "stochastic", "ichimoku",
    "imbalance", "volatility", "correlation", "skew", "ratio", "returns", "pnl", "drawdown", "momentum",
    "variance", "deviation", "percent", "percentage", "arbitrage", "premium", "discount", "difference",
    "basis", "slippage", "liquidity", "highest", "lowest", "largest", "biggest", "smallest", "cheapest",
    "best", "worst", "top", "higher", "lower", "larger", "bigger", "smaller", "greater", "above", "below",
    "under", "between", "than",
];
