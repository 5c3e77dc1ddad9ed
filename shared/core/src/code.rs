//! The closed lists of error codes and close codes that clients may rely on.

use std::fmt;

use serde::{Serialize, Serializer};

/// Why a request or message failed. Stable: clients match on these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// No key or token was given where one is needed.
    AuthRequired,
    /// The key or token is malformed, altered, or for something else.
    AuthInvalid,
    /// The token was valid and has expired.
    AuthExpired,
    /// The caller is known, but not allowed to do this.
    Forbidden,
    /// The thing asked for does not exist.
    NotFound,
    /// The request or message cannot be understood as it stands.
    InvalidMessage,
    /// A topic, channel, symbol or venue that does not exist.
    InvalidTopic,
    /// The request or message has too many bytes.
    TooLarge,
    /// What the request was made for has changed meanwhile.
    Conflict,
    /// A quota is used up.
    LimitExceeded,
    /// Too many requests within a period.
    RateLimitExceeded,
    /// The client read too slowly.
    SlowConsumer,
    /// The connection failed.
    ConnectionError,
    /// An error inside Bond.
    InternalError,
}

impl Code {
    /// Every code, in the order of their declaration.
    pub const ALL: [Self; 14] = [
        Self::AuthRequired,
        Self::AuthInvalid,
        Self::AuthExpired,
        Self::Forbidden,
        Self::NotFound,
        Self::InvalidMessage,
        Self::InvalidTopic,
        Self::TooLarge,
        Self::Conflict,
        Self::LimitExceeded,
        Self::RateLimitExceeded,
        Self::SlowConsumer,
        Self::ConnectionError,
        Self::InternalError,
    ];

    /// The code of this text.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The text on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthRequired => "AUTH_REQUIRED",
            Self::AuthInvalid => "AUTH_INVALID",
            Self::AuthExpired => "AUTH_EXPIRED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::InvalidTopic => "INVALID_TOPIC",
            Self::TooLarge => "TOO_LARGE",
            Self::Conflict => "CONFLICT",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Self::SlowConsumer => "SLOW_CONSUMER",
            Self::ConnectionError => "CONNECTION_ERROR",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Whether the same request may succeed later, unchanged.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimitExceeded | Self::SlowConsumer | Self::ConnectionError | Self::InternalError
        )
    }

    /// The HTTP status of a response with this code.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::AuthRequired | Self::AuthInvalid | Self::AuthExpired => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::InvalidMessage | Self::InvalidTopic => 400,
            Self::TooLarge => 413,
            Self::Conflict => 409,
            Self::LimitExceeded | Self::RateLimitExceeded => 429,
            Self::SlowConsumer | Self::ConnectionError => 503,
            Self::InternalError => 500,
        }
    }

    /// The close code of a WebSocket that is refused or ended for this reason. Only reasons that the client has to fix mean "do not
    /// connect again".
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::TooLarge => CloseCode::TooLarge,
            Self::SlowConsumer => CloseCode::SlowConsumer,
            Self::RateLimitExceeded | Self::ConnectionError | Self::InternalError => CloseCode::TryAgainLater,
            Self::AuthRequired
            | Self::AuthInvalid
            | Self::AuthExpired
            | Self::Forbidden
            | Self::NotFound
            | Self::InvalidMessage
            | Self::InvalidTopic
            | Self::Conflict
            | Self::LimitExceeded => CloseCode::PolicyViolation,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a WebSocket was closed. 4000–4499 mean "connect again", 4500–4999 "do not".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseCode {
    /// The client closed the connection.
    Normal,
    /// A frame that breaks the WebSocket protocol.
    ProtocolError,
    /// Binary frames, which Bond does not take.
    Unsupported,
    /// A text message that is no UTF-8.
    InvalidText,
    /// A token that was refused.
    PolicyViolation,
    /// A message over the limit.
    TooLarge,
    /// The events of this topic cannot be read; other topics are not affected. Connecting again helps once that is repaired.
    Unreadable,
    /// The server cannot serve the connection now: connect again after a while.
    TryAgainLater,
    /// The server goes away for a while: connect again, and resume.
    GoingAway,
    /// The client read too slowly: connect again with a filter or a coarser interval.
    SlowConsumer,
    /// The client sent nothing, not even a pong, for too long.
    Idle,
    /// The user was disconnected by the owner of the server.
    UserRevoked,
    /// The stream was deleted or has ended.
    StreamEnded,
}

impl CloseCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::Unsupported => 1003,
            Self::InvalidText => 1007,
            Self::PolicyViolation => 1008,
            Self::TooLarge => 1009,
            Self::Unreadable => 1011,
            Self::TryAgainLater => 1013,
            Self::GoingAway => 4000,
            Self::SlowConsumer => 4008,
            Self::Idle => 4009,
            Self::UserRevoked => 4501,
            Self::StreamEnded => 4510,
        }
    }
}

/// The reasons of a refusal (close code 1008) that is temporary. A client should connect again, with a new token.
const PASSES: [Code; 6] = [
    Code::AuthExpired,
    Code::LimitExceeded,
    Code::RateLimitExceeded,
    Code::SlowConsumer,
    Code::ConnectionError,
    Code::InternalError,
];

/// Whether a client should connect again after it was closed with this number and reason: yes, unless the code says not to.
/// A reason that Bond gives begins with its [`Code`]. The table is in `docs/protocol.md`.
pub fn comes_back(number: u16, reason: &str) -> bool {
    let code = reason.split(':').next().unwrap_or_default();
    match number {
        1008 => PASSES.iter().any(|passes| passes.as_str() == code),
        4500..=4999 => false,
        _ => true,
    }
}

/// Whether a client should repeat a request or handshake that was answered with this HTTP status. The answer may also come from a
/// proxy in between.
pub const fn status_comes_back(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || !matches!(status, 400..=499)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_comes_back_unless_told_not_to() {
        let cases = [
            (1000, "", true),
            (1001, "", true),
            (1006, "", true),
            (1011, "", true),
            (1012, "", true),
            (1013, "", true),
            (4000, "shutdown: connect again and resume", true),
            (4499, "", true),
            (4500, "", false),
            (4501, "the user was disconnected", false),
            (4510, "the stream has ended; create it again", false),
            (4999, "", false),
            (1008, "AUTH_EXPIRED: the token has expired; connect again with a new one", true),
            (1008, "INTERNAL_ERROR: redis does not answer", true),
            (1008, "LIMIT_EXCEEDED: 100 connections", true),
            (1008, "AUTH_INVALID: not a token", false),
            (1008, "AUTH_REQUIRED: no token", false),
            (1008, "FORBIDDEN", false),
            (1008, "NOT_FOUND: no such stream", false),
            (1008, "", false),
        ];
        for (number, reason, right) in cases {
            assert_eq!(comes_back(number, reason), right, "{number} {reason}");
        }
    }

    #[test]
    fn a_request_is_made_again_where_the_same_may_succeed() {
        for (status, right) in
            [(302, true), (400, false), (401, false), (403, false), (404, false), (410, false)]
        {
            assert_eq!(status_comes_back(status), right, "{status}");
        }
        assert!([408, 425, 429, 500, 502, 503, 504].into_iter().all(status_comes_back));
    }

    #[test]
    fn only_what_the_client_has_to_mend_says_do_not_connect_again() {
        for code in [Code::InternalError, Code::ConnectionError, Code::RateLimitExceeded, Code::SlowConsumer]
        {
            assert!(code.is_retryable());
            assert_ne!(code.close_code(), CloseCode::PolicyViolation, "{code}");
        }
        for code in [Code::AuthInvalid, Code::NotFound, Code::InvalidMessage, Code::LimitExceeded] {
            assert!(!code.is_retryable());
            assert_eq!(code.close_code().number(), 1008, "{code}");
        }
    }
}
