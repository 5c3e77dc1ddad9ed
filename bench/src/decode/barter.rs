//! Peer: `barter-data`, whose connection reads Binance's frames without the envelope of combined streams.

use std::hint::black_box;

use anyhow::Result;
use barter_data::exchange::binance::channel::BinanceChannel;
use barter_data::exchange::binance::spot::BinanceSpot;
use barter_data::exchange::binance::trade::BinanceTrade;
use barter_data::subscription::Map;
use barter_data::subscription::trade::PublicTrades;
use barter_data::transformer::ExchangeTransformer;
use barter_data::transformer::stateless::StatelessTransformer;
use barter_integration::Transformer;
use barter_integration::subscription::SubscriptionId;

use super::Decoder;
use crate::capture::Frame;

type Trades = StatelessTransformer<BinanceSpot, &'static str, PublicTrades, BinanceTrade>;

/// What its stream does with a trade frame: deserialise, find the instrument, make a `MarketEvent<PublicTrade>`, whose
/// receive time it reads from the clock.
pub struct BarterTrades {
    transformer: Trades,
}

impl BarterTrades {
    /// A decoder subscribed to the trades of one market: `BTCUSDT`.
    ///
    /// # Errors
    /// None is known of; the library's signature allows one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the peer's signature asks for an unbounded channel; nothing is sent"
    )]
    pub async fn new(market: &'static str) -> Result<Self> {
        let id = SubscriptionId::from(format!("{}|{market}", BinanceChannel::TRADES.0));
        let instruments = Map::from_iter([(id, market)]);
        let (answers, _) = tokio::sync::mpsc::unbounded_channel();
        let transformer = Trades::init(instruments, &[], answers).await?;
        Ok(Self { transformer })
    }
}

impl Decoder for BarterTrades {
    fn name(&self) -> &'static str {
        "barter-data"
    }

    fn decode(&mut self, frame: &Frame) -> usize {
        let Ok(trade) = serde_json::from_str::<BinanceTrade>(&frame.data) else {
            return 0;
        };
        let events = black_box(self.transformer.transform(trade));
        events.iter().filter(|event| event.is_ok()).count()
    }
}

/// Its wire struct alone, without the step to the normalised event.
pub struct BarterWire;

impl Decoder for BarterWire {
    fn name(&self) -> &'static str {
        "barter-data, wire struct only"
    }

    fn decode(&mut self, frame: &Frame) -> usize {
        usize::from(black_box(serde_json::from_str::<BinanceTrade>(&frame.data)).is_ok())
    }
}
