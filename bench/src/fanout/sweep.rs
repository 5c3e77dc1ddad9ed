//! The search for the load at which a server delivers most without loss.

use std::time::Duration;

use anyhow::Result;

use crate::fanout::fleet::Delivery;
use crate::fanout::host::Order;
use crate::stats::{median, quantile};

/// A load is sustained if all of it arrived and at least this share of the offered rate was kept up to the last event.
const KEPT_UP: f64 = 0.9;

/// Cores kept busy by others from which on a failure may be theirs.
const DISTURBED: f64 = 0.1;

/// Measurements of one load at most.
const MOST_TRIES: u32 = 4;

/// Refinements between the highest load kept and the lowest one failed: each halves the ratio's logarithm.
const REFINEMENTS: u32 = 2;

/// Processor cores kept busy during a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cores {
    /// By the server.
    pub server: f64,
    /// By the load generator; its thread is one, so near 1 it is what limits.
    pub generator: f64,
    /// By all other programs, and by the host for itself.
    pub elsewhere: f64,
}

/// One load and what came of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Events published per second.
    pub rate: u64,
    /// Events delivered per second over all connections.
    pub delivered_per_second: f64,
    /// Median delivery latency, nanoseconds.
    pub p50: u64,
    /// 99th percentile of delivery latency, nanoseconds.
    pub p99: u64,
    /// Processor cores kept busy meanwhile.
    pub cores: Cores,
    /// Nothing lost, nobody disconnected, and the rate was kept.
    pub sustained: bool,
}

impl Step {
    /// Judges one measurement with this many connections.
    pub fn judge(order: Order, connections: usize, delivery: &Delivery, cores: Cores) -> Self {
        let planned = Duration::from_secs_f64(order.count as f64 / order.rate as f64);
        let delivered_per_second = delivery.events as f64 / delivery.elapsed.max(planned).as_secs_f64();
        let offered = order.rate as f64 * connections as f64;
        let complete = delivery.published == Some(order.count)
            && delivery.events == order.count * connections as u64
            && delivery.out_of_order == 0
            && delivery.closed == 0;
        Self {
            rate: order.rate,
            delivered_per_second,
            p50: quantile(&delivery.latencies, 0.5).unwrap_or(0),
            p99: quantile(&delivery.latencies, 0.99).unwrap_or(0),
            cores,
            sustained: complete && delivered_per_second >= KEPT_UP * offered,
        }
    }
}

/// Doubles the rate from `first` until it is not sustained, narrows the step in which that happened, and
/// answers every measurement made.
pub fn search(first: u64, measure: &mut impl FnMut(u64) -> Result<Step>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let (mut kept, mut rate) = (None, first.max(1));
    while is_kept(rate, measure, &mut steps)? {
        kept = Some(rate);
        rate *= 2;
    }
    let (mut low, mut high) = (kept.unwrap_or(0), rate);
    for _ in 0..REFINEMENTS {
        let middle = ((low as f64 * high as f64).sqrt()).round() as u64;
        if middle <= low || middle >= high {
            break;
        }
        match is_kept(middle, measure, &mut steps)? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(steps)
}

/// A load has failed after two failures on an otherwise idle machine. One while other programs ran is tried again, but
/// not for ever.
fn is_kept(rate: u64, measure: &mut impl FnMut(u64) -> Result<Step>, steps: &mut Vec<Step>) -> Result<bool> {
    let mut failures = 0;
    for _ in 0..MOST_TRIES {
        let step = measure(rate)?;
        failures += u32::from(step.cores.elsewhere < DISTURBED);
        steps.push(step.clone());
        if step.sustained || failures == 2 {
            return Ok(step.sustained);
        }
    }
    Ok(false)
}

/// The highest load that is sustained also in most of `times` repetitions, as the median of them.
pub fn confirm(
    steps: &[Step],
    times: usize,
    measure: &mut impl FnMut(u64) -> Result<Step>,
) -> Result<Option<Step>> {
    let mut rates: Vec<u64> = steps.iter().filter(|step| step.sustained).map(|step| step.rate).collect();
    rates.sort_unstable_by(|a, b| b.cmp(a));
    for rate in rates {
        let best = repeat(rate, times, measure)?.filter(|step| step.sustained);
        if best.is_some() {
            return Ok(best);
        }
    }
    Ok(None)
}

/// The median of `times` measurements at one rate, `None` for none.
pub fn repeat(
    rate: u64,
    times: usize,
    measure: &mut impl FnMut(u64) -> Result<Step>,
) -> Result<Option<Step>> {
    let steps = (0..times).map(|_| measure(rate)).collect::<Result<Vec<_>>>()?;
    Ok(summary(&steps))
}

/// Medians over repetitions at one rate; sustained if most of them were.
fn summary(steps: &[Step]) -> Option<Step> {
    let middle = |pick: fn(&Step) -> f64| median(steps.iter().map(pick).collect());
    Some(Step {
        rate: steps.first()?.rate,
        delivered_per_second: middle(|step| step.delivered_per_second)?,
        p50: middle(|step| step.p50 as f64)? as u64,
        p99: middle(|step| step.p99 as f64)? as u64,
        cores: Cores {
            server: middle(|step| step.cores.server)?,
            generator: middle(|step| step.cores.generator)?,
            elsewhere: middle(|step| step.cores.elsewhere)?,
        },
        sustained: 2 * steps.iter().filter(|step| step.sustained).count() > steps.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate: u64, sustained: bool) -> Step {
        Step {
            rate,
            delivered_per_second: rate as f64,
            p50: rate,
            p99: rate,
            cores: Cores::default(),
            sustained,
        }
    }

    #[test]
    fn search_closes_in_on_the_limit() {
        let steps = search(10, &mut |rate| Ok(step(rate, rate <= 700))).expect("no failure");
        let best = steps.iter().filter(|step| step.sustained).map(|step| step.rate).max();
        assert!(best.is_some_and(|rate| (589..=700).contains(&rate)), "{best:?}");
    }

    #[test]
    fn one_spoilt_measurement_does_not_end_the_search() {
        let mut first_at_20 = true;
        let mut measure =
            |rate| Ok(step(rate, rate <= 100 && !(rate == 20 && std::mem::take(&mut first_at_20))));
        let steps = search(10, &mut measure).expect("no failure");
        assert!(steps.iter().any(|step| step.sustained && step.rate >= 80));
    }

    #[test]
    fn failures_beside_other_programs_are_tried_again() {
        let mut disturbed = 3;
        let mut measure = |rate| {
            let elsewhere = if disturbed > 0 { 1.0 } else { 0.0 };
            disturbed -= 1;
            Ok(Step { cores: Cores { elsewhere, ..Cores::default() }, ..step(rate, elsewhere == 0.0) })
        };
        assert!(is_kept(10, &mut measure, &mut Vec::new()).expect("no failure"));
    }

    #[test]
    fn a_load_that_is_not_sustained_again_is_not_the_best() {
        let steps = [step(10, true), step(20, true), step(40, false)];
        let best = confirm(&steps, 3, &mut |rate| Ok(step(rate, rate <= 10))).expect("no failure");
        assert_eq!(best.map(|step| step.rate), Some(10));
    }

    #[test]
    fn a_lost_event_is_not_sustained() {
        let order = Order { rate: 100, count: 100 };
        let delivery = |events, elapsed_ms| Delivery {
            events,
            published: Some(100),
            elapsed: Duration::from_millis(elapsed_ms),
            closed: 0,
            out_of_order: 0,
            latencies: vec![1, 2, 3],
        };
        let sustained = |events, elapsed_ms| {
            Step::judge(order, 10, &delivery(events, elapsed_ms), Cores::default()).sustained
        };
        assert!(sustained(1000, 1001));
        assert!(!sustained(999, 1001));
        assert!(!sustained(1000, 1200), "backlog of a sixth");
    }

    #[test]
    fn a_summary_is_the_median() {
        let steps = [step(1, true), step(9, false), step(5, true)];
        let summary = summary(&steps).expect("steps");
        assert_eq!((summary.p99, summary.sustained), (5, true));
    }
}
