//! Transforms: what is done, in order, with the aggregates of a stream.
//!
//! `resample` and `count` replace the aggregates by one per symbol and longer window, aligned to the Unix epoch like all windows. It has
//! every field of an aggregate, as if the stream's interval had been the longer window: sums add up, means are taken over the trades
//! and rounded once. Figures that earlier transforms gave stay, as the last window has them. A longer window of which aggregates are
//! missing is not complete. The values that `resample` reduces are those of the aggregates whose field is known: without one, all are null
//! but the count. `count` tells how many trades, tweets, custom events and liquidations are in the longer window.
//!
//! `project` may give figures new names, under which they are known from there on. It leaves `window_start`, `window_end` and `symbol` in place, which tell events apart, and from which a new writer takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use smol_str::{SmolStr, format_smolstr};

use super::aggregate::Aggregate;
use super::json::{record, write_name, write_number};
use super::number::Number;
use crate::log::Record;
use crate::spec::{Agg, Transform};
use crate::time::UnixNanos;

/// What comes out of transforms: an aggregate, figures that were added to it, and the choice of fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    aggregate: Aggregate,
    added: BTreeMap<SmolStr, Option<Number>>,
    only: Option<BTreeSet<SmolStr>>,
}

/// The fields that no projection leaves out.
const IDENTITY: [&str; 3] = ["window_start", "window_end", "symbol"];

impl Row {
    fn new(aggregate: Aggregate) -> Self {
        Self { aggregate, added: BTreeMap::new(), only: None }
    }

    /// The aggregate itself.
    pub const fn aggregate(&self) -> &Aggregate {
        &self.aggregate
    }

    /// A figure by the name of its field; `None` where there is none, or it is not known.
    pub fn number(&self, field: &str) -> Option<Number> {
        match self.added.get(field) {
            Some(added) => *added,
            None => self.aggregate.number(field),
        }
    }

    fn add(&mut self, field: SmolStr, number: Option<Number>) {
        if let Some(only) = &mut self.only {
            only.insert(field.clone());
        }
        self.added.insert(field, number);
    }

    fn project(&mut self, Projection { fields, named }: &Projection) {
        let named: Vec<_> = named.iter().map(|(name, figure)| (name.clone(), self.number(figure))).collect();
        self.only = Some(match &self.only {
            Some(only) => only & fields,
            None => fields.clone(),
        });
        named.into_iter().for_each(|(name, number)| self.add(name, number));
    }

    fn shows(&self, field: &str) -> bool {
        IDENTITY.contains(&field) || self.only.as_ref().is_none_or(|only| only.contains(field))
    }

    /// Appends the event's own JSON fields without the braces, as [`Aggregate::write_body`] does.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        let own = self.aggregate.field_names().filter(|field| !self.added.contains_key(*field));
        for field in own.filter(|field| self.shows(field)) {
            self.aggregate.write_field(field, out);
        }
        if self.only.as_ref().is_some_and(|only| only.contains("by_exchange")) {
            self.aggregate.write_field("by_exchange", out);
        }
        for (field, number) in self.added.iter().filter(|(field, _)| self.shows(field)) {
            write_name(field, out);
            write_number(*number, out);
        }
    }

    /// The event as it goes into the log.
    pub fn to_record(&self) -> Record {
        let mut body = Vec::with_capacity(1024);
        self.write_body(&mut body);
        record(self.aggregate.window_end(), body)
    }
}

/// The transforms of one stream.
#[derive(Clone, Debug)]
pub struct Pipeline(Vec<Stage>);

#[derive(Clone, Debug)]
enum Stage {
    Lengthen(Lengthen),
    Project(Projection),
}

/// The fields that are kept, and new names with the figure that each stands for.
#[derive(Clone, Debug)]
struct Projection {
    fields: BTreeSet<SmolStr>,
    named: BTreeMap<SmolStr, SmolStr>,
}

impl Pipeline {
    /// These transforms, in order.
    pub fn new(transforms: &[Transform]) -> Self {
        let stages = transforms.iter().cloned().map(|transform| match transform {
            Transform::Resample { window, on, agg } => {
                Stage::Lengthen(Lengthen::new(window.as_duration(), Reduce::Resample { on, agg }))
            }
            Transform::Count { window, name } => {
                Stage::Lengthen(Lengthen::new(window.as_duration(), Reduce::Count { name }))
            }
            Transform::Project { fields, named } => Stage::Project(Projection { fields, named }),
        });
        Self(stages.collect())
    }

    /// Takes the next aggregate, and gives the events that are done with it, in order.
    pub fn push(&mut self, aggregate: Aggregate) -> Vec<Row> {
        let mut rows = vec![Row::new(aggregate)];
        for stage in &mut self.0 {
            rows = rows.into_iter().flat_map(|row| stage.push(row)).collect();
        }
        rows
    }
}

impl Stage {
    fn push(&mut self, mut row: Row) -> Vec<Row> {
        match self {
            Self::Lengthen(lengthen) => lengthen.push(row),
            Self::Project(projection) => {
                row.project(projection);
                vec![row]
            }
        }
    }
}

/// Joins windows into longer ones.
#[derive(Clone, Debug)]
struct Lengthen {
    window: Duration,
    reduce: Reduce,
    open: BTreeMap<Arc<str>, Open>,
}

#[derive(Clone, Debug)]
enum Reduce {
    Resample { on: SmolStr, agg: BTreeSet<Agg> },
    Count { name: SmolStr },
}

/// A longer window that is not at its end.
#[derive(Clone, Debug)]
struct Open {
    end: UnixNanos,
    row: Row,
    values: Values,
}

impl Lengthen {
    const fn new(window: Duration, reduce: Reduce) -> Self {
        Self { window, reduce, open: BTreeMap::new() }
    }

    fn push(&mut self, row: Row) -> Vec<Row> {
        let symbol = Arc::clone(&row.aggregate.symbol);
        let value = self.reduce.value(&row);
        let before = self.open.remove(&symbol);
        let (cut, mut open) = match before {
            Some(mut open) if row.aggregate.start < open.end => {
                open.join(row);
                (None, open)
            }
            cut => (cut, Open::new(row, self.window)),
        };
        open.values.add(value);
        let mut done: Vec<_> = cut.map(|open| self.finish(open)).into_iter().collect();
        if open.row.aggregate.end >= open.end {
            done.push(self.finish(open));
        } else {
            self.open.insert(symbol, open);
        }
        done
    }

    fn finish(&self, open: Open) -> Row {
        let Open { end, mut row, values } = open;
        row.aggregate.complete &= row.aggregate.end == end;
        row.aggregate.end = end;
        match &self.reduce {
            Reduce::Resample { on, agg } => {
                for agg in agg {
                    row.add(format_smolstr!("{on}_{}", agg.name()), values.reduced(*agg));
                }
            }
            Reduce::Count { name } => {
                let count = row.aggregate.event_count();
                row.add(name.clone(), Some(Number::from_count(count)));
            }
        }
        row
    }
}

impl Reduce {
    fn value(&self, row: &Row) -> Option<Number> {
        match self {
            Self::Resample { on, .. } => row.number(on),
            Self::Count { .. } => None,
        }
    }
}

impl Open {
    fn new(mut row: Row, window: Duration) -> Self {
        let start = row.aggregate.start.window_start(window);
        row.aggregate.complete &= row.aggregate.start == start;
        row.aggregate.start = start;
        Self { end: start.plus(window), row, values: Values::default() }
    }

    fn join(&mut self, next: Row) {
        self.row.aggregate.join(&next.aggregate);
        (self.row.added, self.row.only) = (next.added, next.only);
    }
}

/// The known values of a field.
#[derive(Clone, Copy, Debug, Default)]
struct Values {
    count: u64,
    /// `None` before the first, and where it is beyond what can be kept exactly.
    sum: Option<Number>,
    min: Option<Number>,
    max: Option<Number>,
    last: Option<Number>,
}

impl Values {
    fn add(&mut self, value: Option<Number>) {
        let Some(value) = value else { return };
        self.sum =
            if self.count == 0 { Some(value) } else { self.sum.and_then(|sum| sum.checked_add(value)) };
        self.count += 1;
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
        self.last = Some(value);
    }

    /// The mean is rounded once, half to even, to 16 significant digits; the sum is exact.
    fn reduced(&self, agg: Agg) -> Option<Number> {
        match agg {
            Agg::Mean => self.sum?.mean_of(self.count),
            Agg::Last => self.last,
            Agg::Sum => self.sum,
            Agg::Min => self.min,
            Agg::Max => self.max,
            Agg::Count => Some(Number::from_count(self.count)),
        }
    }
}

#[cfg(test)]
mod tests;
