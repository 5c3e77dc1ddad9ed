//! Follows a tail and notes what it tells.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::log::{EventLog, Gap, News, Tail};
use crate::topic::Topic;

use super::text;

/// How long news that must come may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A tail, and all that it has told.
pub(super) struct Reader {
    pub(super) tail: Box<dyn Tail>,
    told: Vec<(Topic, String)>,
    /// The topics that began and ended.
    pub(super) began: Vec<Topic>,
    pub(super) ended: Vec<Topic>,
}

impl Reader {
    pub(super) fn new(log: &dyn EventLog) -> Self {
        Self { tail: log.tail(), told: Vec::new(), began: Vec::new(), ended: Vec::new() }
    }

    /// Reads until `topic` has told `last`.
    pub(super) async fn until(&mut self, topic: &Topic, last: &str) {
        let wanted = (topic.clone(), last.to_owned());
        self.until_told(last, |reader| reader.told.contains(&wanted)).await;
    }

    /// Reads until `enough`.
    pub(super) async fn until_told(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let news = timeout(PATIENCE, self.tail.next()).await;
            let news =
                news.unwrap_or_else(|_| panic!("no news of {what}; the last were {:?}", self.latest()));
            self.note(news.expect("news"));
        }
    }

    fn latest(&self) -> Vec<String> {
        self.told.iter().rev().take(5).map(|(topic, text)| format!("{topic} {text}")).collect()
    }

    /// Begins to wait, and gives up unless there are news at once.
    pub(super) async fn glance(&mut self) {
        let news = {
            let mut next = self.tail.next();
            poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await
        };
        if let Poll::Ready(news) = news {
            self.note(news.expect("news"));
        }
    }

    fn note(&mut self, news: News) {
        self.ended.extend(news.ended);
        self.began.extend(news.began);
        for (topic, run) in news.runs {
            let gap = run.gap.as_ref().map(gap_text);
            let told = gap.into_iter().chain(run.items.iter().map(text));
            self.told.extend(told.map(|text| (topic.clone(), text)));
        }
    }

    /// What `topic` has told, in order: items, and gaps as `gap 2-3 behind_ring`.
    pub(super) fn texts(&self, topic: &Topic) -> Vec<&str> {
        self.told.iter().filter(|(of, _)| of == topic).map(|(_, text)| text.as_str()).collect()
    }
}

fn gap_text(gap: &Gap) -> String {
    let from = gap.from_seq.map_or_else(|| "?".to_owned(), |seq| seq.to_string());
    format!("gap {from}-{} {}", gap.to_seq, gap.reason.as_str())
}
