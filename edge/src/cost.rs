//! What a month on AWS costs, by list prices. An estimate: no free tier, no discounts, no taxes, no data transfer between zones.

use std::fmt::Write;

/// A month as AWS counts it, in seconds: 730 hours.
const MONTH: f64 = 730.0 * 3600.0;

/// Bytes of one message that API Gateway bills as one.
const BILLED_BYTES: f64 = 32.0 * 1024.0;

/// Posts a second of the fan-out function for each vCPU; `make bench` measures it.
const POSTS_PER_VCPU: f64 = 5_000.0;

/// Lambda gives one vCPU at this size (Lambda developer guide, read 2026-11).
const GB_PER_VCPU: f64 = 1769.0 / 1024.0;

/// Invocations a second at most: each of the 16 lanes has one under way, which lasts a tenth of a second under load.
const INVOCATIONS: f64 = 160.0;

/// Connections that one dedicated task of one vCPU and 2 GB is given.
const CONNECTIONS_PER_TASK: f64 = 10_000.0;

/// List prices in US dollars in us-east-1, from the services' pricing pages as known in 2026-11: check them before you rely on them.
mod price {
    /// API Gateway, WebSocket: a message, of the first thousand million a month.
    pub(super) const MESSAGE: f64 = 1.00e-6;
    /// API Gateway, WebSocket: a message beyond these.
    pub(super) const MESSAGE_BEYOND: f64 = 0.80e-6;
    /// API Gateway, WebSocket: a minute of one connection.
    pub(super) const CONNECTION_MINUTE: f64 = 0.25e-6;
    /// Lambda on arm64: a GB-second.
    pub(super) const GB_SECOND: f64 = 1.33334e-5;
    /// Lambda: a request.
    pub(super) const REQUEST: f64 = 0.20e-6;
    /// Fargate on arm64: a vCPU for an hour.
    pub(super) const VCPU_HOUR: f64 = 0.032_38;
    /// Fargate on arm64: a GB for an hour.
    pub(super) const GB_HOUR: f64 = 0.003_56;
    /// A public IPv4 address for an hour.
    pub(super) const ADDRESS_HOUR: f64 = 0.005;
    /// ElastiCache for Valkey: a cache.t4g.small for an hour.
    pub(super) const CACHE_HOUR: f64 = 0.025_6;
    /// Secrets Manager: a secret for a month.
    pub(super) const SECRET: f64 = 0.40;
    /// Secrets Manager: a secret is read.
    pub(super) const SECRET_READ: f64 = 0.05 / 10_000.0;
    /// CloudWatch: an alarm for a month.
    pub(super) const ALARM: f64 = 0.10;
    /// Application Load Balancer: an hour, and about one capacity unit.
    pub(super) const BALANCER_HOUR: f64 = 0.0225 + 0.008;
    /// Data out to the internet: a GB.
    pub(super) const GB_OUT: f64 = 0.09;
}

/// What is to be served.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Clients connected all the time.
    pub connections: f64,
    /// Events a second that each gets.
    pub rate: f64,
    /// Events in one frame.
    pub batch: f64,
    /// Bytes of one event.
    pub event_bytes: f64,
}

/// One line of a bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What is paid for.
    pub what: String,
    /// US dollars a month.
    pub dollars: f64,
}

fn item(what: impl Into<String>, dollars: f64) -> Item {
    Item { what: what.into(), dollars }
}

impl Load {
    fn frames(&self) -> f64 {
        self.connections * self.rate / self.batch
    }

    /// Messages that API Gateway bills in a month.
    fn messages(&self) -> f64 {
        self.frames() * (self.batch * self.event_bytes / BILLED_BYTES).ceil() * MONTH
    }

    fn data_out(&self) -> Item {
        let gigabytes = self.connections * self.rate * self.event_bytes * MONTH / 1e9;
        item(format!("data out: {gigabytes:.0} GB"), gigabytes * price::GB_OUT)
    }

    /// The serverless edge: what its clients cost.
    pub fn serverless(&self) -> Vec<Item> {
        let messages = self.messages();
        let first = messages.min(1e9);
        let minutes = self.connections * MONTH / 60.0;
        let vcpus = self.frames() / POSTS_PER_VCPU;
        let requests = self.frames().min(INVOCATIONS) * MONTH;
        vec![
            item(
                format!("API Gateway: {:.1} million messages", messages / 1e6),
                first * price::MESSAGE + (messages - first) * price::MESSAGE_BEYOND,
            ),
            item(
                format!("API Gateway: {:.1} million connection minutes", minutes / 1e6),
                minutes * price::CONNECTION_MINUTE,
            ),
            item(
                format!("fan-out function: {vcpus:.2} vCPU on average"),
                vcpus * GB_PER_VCPU * MONTH * price::GB_SECOND + requests * price::REQUEST,
            ),
            self.data_out(),
        ]
    }

    /// The dedicated edge on Fargate: what its clients cost.
    pub fn dedicated(&self) -> Vec<Item> {
        let tasks = (self.connections / CONNECTIONS_PER_TASK).ceil();
        let hours = MONTH / 3600.0;
        let task = price::VCPU_HOUR + 2.0 * price::GB_HOUR + price::ADDRESS_HOUR;
        vec![
            item(format!("Fargate: {tasks:.0} tasks of 1 vCPU and 2 GB"), tasks * task * hours),
            item("load balancer", if tasks > 0.0 { price::BALANCER_HOUR * hours } else { 0.0 }),
            self.data_out(),
        ]
    }
}

/// What runs whether or not anybody is connected: ingest and its standby, Redis and its replica.
pub fn standing() -> Vec<Item> {
    let hours = MONTH / 3600.0;
    let task = 0.5 * price::VCPU_HOUR + price::GB_HOUR + price::ADDRESS_HOUR;
    vec![
        item("Fargate: ingest and its standby, 0.5 vCPU and 1 GB each", 2.0 * task * hours),
        item("ElastiCache for Valkey: two cache.t4g.small", 2.0 * price::CACHE_HOUR * hours),
        item("secrets and alarms", 6.0 * price::SECRET + 20.0 * price::ALARM),
        item("reading the API keys every 3 s", MONTH / 3.0 * price::SECRET_READ),
    ]
}

/// The bill as text.
pub fn report(load: &Load) -> String {
    let mut out = format!(
        "{} connections, {} events/s each, {} events a frame, {} bytes an event; US dollars a month, us-east-1,\n\
         list prices as known in 2026-11, without free tier, discounts and taxes\n",
        load.connections, load.rate, load.batch, load.event_bytes
    );
    for (title, items) in [
        ("runs in any case", standing()),
        ("serverless edge, on top", load.serverless()),
        ("or a dedicated edge, on top", load.dedicated()),
    ] {
        section(&mut out, title, &items);
    }
    out
}

fn section(out: &mut String, title: &str, items: &[Item]) {
    let total: f64 = items.iter().map(|item| item.dollars).sum();
    // Writing to a string does not fail.
    let _ = writeln!(out, "\n{title:<60} {total:>12.2}");
    for item in items {
        let _ = writeln!(out, "  {:<58} {:>12.2}", item.what, item.dollars);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(batch: f64) -> Load {
        Load { connections: 1_000.0, rate: 10.0, batch, event_bytes: 300.0 }
    }

    #[test]
    fn ten_events_a_frame_cost_a_tenth_in_messages() {
        let dollars = |batch| load(batch).serverless()[0].dollars;
        // 26.28 thousand million messages: a thousand million at 1.00, the others at 0.80 a million.
        assert!((dollars(1.0) - (1_000.0 + 25_280.0 * 0.8)).abs() < 0.01, "{}", dollars(1.0));
        assert!((dollars(10.0) - (1_000.0 + 1_628.0 * 0.8)).abs() < 0.01, "{}", dollars(10.0));
    }

    #[test]
    fn a_frame_over_32_kilobytes_is_billed_by_its_parts() {
        assert_eq!(load(120.0).messages(), 2.0 * load(120.0).frames() * MONTH);
    }

    #[test]
    fn an_edge_without_clients_costs_nothing() {
        let idle = Load { connections: 0.0, ..load(1.0) };
        assert_eq!(
            idle.serverless().iter().chain(&idle.dedicated()).map(|item| item.dollars).sum::<f64>(),
            0.0
        );
    }
}
