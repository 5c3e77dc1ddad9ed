//! Why a sentence is not understood.

use std::fmt;

use serde::Serialize;

use super::token::Span;

/// The kind of a misunderstanding. Stable: clients may match on these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageCode {
    /// There is no word in it.
    Empty,
    /// It is longer than [`super::MAX_CHARS`].
    TooLong,
    /// Nothing in it is known.
    NothingRecognised,
    /// It says what to watch, but of which asset it does not.
    NoAsset,
    /// It names an asset, and what to watch is not understood.
    NothingToWatch,
    /// It names something as an asset that is not known.
    UnknownAsset,
    /// It names something as a venue that is not known.
    UnknownVenue,
    /// It asks for something that Bond does not serve.
    Unsupported,
    /// It has words, numbers or signs that are not understood and may change what is wanted.
    NotUnderstood,
    /// It asks for two intervals.
    IntervalConflict,
    /// It says "every" and then nothing that is a time.
    IntervalUnclear,
    /// The interval is shorter, longer or finer than there is.
    IntervalOutOfRange,
    /// It asks for two durations.
    DurationConflict,
    /// The duration is shorter than a second or longer than a year.
    DurationOutOfRange,
    /// It asks for two depths of the order book.
    DepthConflict,
    /// The depth is none that is published.
    DepthOutOfRange,
    /// It asks for something and takes it away, or for what does not exist together.
    Contradiction,
    /// It names a URL that is no public WebSocket's.
    UrlRefused,
    /// It asks for more than one stream carries.
    TooMany,
}

impl LanguageCode {
    /// Every one of them.
    pub const ALL: [Self; 19] = [
        Self::Empty,
        Self::TooLong,
        Self::NothingRecognised,
        Self::NoAsset,
        Self::NothingToWatch,
        Self::UnknownAsset,
        Self::UnknownVenue,
        Self::Unsupported,
        Self::NotUnderstood,
        Self::IntervalConflict,
        Self::IntervalUnclear,
        Self::IntervalOutOfRange,
        Self::DurationConflict,
        Self::DurationOutOfRange,
        Self::DepthConflict,
        Self::DepthOutOfRange,
        Self::Contradiction,
        Self::UrlRefused,
        Self::TooMany,
    ];

    /// The text on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::NothingRecognised => "nothing_recognised",
            Self::NoAsset => "no_asset",
            Self::NothingToWatch => "nothing_to_watch",
            Self::UnknownAsset => "unknown_asset",
            Self::UnknownVenue => "unknown_venue",
            Self::Unsupported => "unsupported",
            Self::NotUnderstood => "not_understood",
            Self::IntervalConflict => "interval_conflict",
            Self::IntervalUnclear => "interval_unclear",
            Self::IntervalOutOfRange => "interval_out_of_range",
            Self::DurationConflict => "duration_conflict",
            Self::DurationOutOfRange => "duration_out_of_range",
            Self::DepthConflict => "depth_conflict",
            Self::DepthOutOfRange => "depth_out_of_range",
            Self::Contradiction => "contradiction",
            Self::UrlRefused => "url_refused",
            Self::TooMany => "too_many",
        }
    }
}

impl fmt::Display for LanguageCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A sentence that is refused, and what to say instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LanguageError {
    /// The kind.
    pub code: LanguageCode,
    /// What is wrong and what to fix.
    pub message: String,
    /// What may have been meant: words, or whole sentences where nothing was recognised.
    pub suggestions: Vec<String>,
    /// The words that are wrong, where it is some of them.
    pub span: Option<Span>,
}

impl LanguageError {
    pub(super) fn new(code: LanguageCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), suggestions: Vec::new(), span: None }
    }

    pub(super) fn at(self, span: Span) -> Self {
        Self { span: Some(span), ..self }
    }

    pub(super) fn suggest<T: Into<String>>(self, suggestions: impl IntoIterator<Item = T>) -> Self {
        Self { suggestions: suggestions.into_iter().map(Into::into).collect(), ..self }
    }
}
