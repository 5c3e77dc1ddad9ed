//! Request bodies up to a limit.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is longer than the limit.
    TooLarge,
    /// The sender broke off.
    Broken,
}

/// Reads a body of at most `limit` bytes. The rest of a longer one is read and dropped: a sender that is still writing would not see
/// the answer.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut collected = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        length += data.len();
        if length <= limit {
            collected.extend_from_slice(&data);
        }
    }
    if length > limit { Err(BodyError::TooLarge) } else { Ok(collected.freeze()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_of_the_limit_is_read_and_a_longer_one_is_not() {
        assert_eq!(read(Body::from("abc"), 3).await, Ok(Bytes::from("abc")));
        assert_eq!(read(Body::from("abcd"), 3).await, Err(BodyError::TooLarge));
    }
}
