//! How messages are laid into frames.

use bond_core::deliver::FRAME_BYTES;
use bytes::{BufMut, Bytes, BytesMut};

use super::MESSAGE_BYTES;

/// The next frame of a run of messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) body: Bytes,
    /// How many messages it holds.
    pub(super) count: usize,
}

impl Frame {
    /// The first message alone where `batch` is 0; else a JSON array of at most `batch` messages, within [`FRAME_BYTES`] unless the
    /// first of them alone is more. `None`: the first does not fit a post.
    pub(super) fn first_of(messages: &[Bytes], batch: usize) -> Option<Self> {
        let first = messages.first()?;
        let brackets = if batch == 0 { 0 } else { 2 };
        if first.len() + brackets > MESSAGE_BYTES {
            return None;
        }
        if batch == 0 {
            return Some(Self { body: first.clone(), count: 1 });
        }
        let count = fitting(&messages[..batch.min(messages.len())]);
        Some(Self { body: array(&messages[..count]), count })
    }
}

/// How many of the first messages fit a frame as an array; one at least.
fn fitting(messages: &[Bytes]) -> usize {
    // Each message brings a comma or the closing bracket.
    let sizes = messages.iter().scan(1, |bytes, message| {
        *bytes += message.len() + 1;
        Some(*bytes)
    });
    sizes.take_while(|bytes| *bytes <= FRAME_BYTES).count().max(1)
}

fn array(messages: &[Bytes]) -> Bytes {
    let mut body =
        BytesMut::with_capacity(messages.iter().map(|message| message.len() + 1).sum::<usize>() + 1);
    for (n, message) in messages.iter().enumerate() {
        body.put_u8(if n == 0 { b'[' } else { b',' });
        body.put_slice(message);
    }
    body.put_u8(b']');
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(sizes: &[usize]) -> Vec<Bytes> {
        sizes.iter().map(|size| Bytes::from(vec![b'1'; *size])).collect()
    }

    /// How many messages each frame of the run holds, and how many bytes; stops at what does not fit.
    fn frames(sizes: &[usize], batch: usize) -> Vec<(usize, usize)> {
        let messages = messages(sizes);
        let (mut at, mut frames) = (0, Vec::new());
        while let Some(frame) = Frame::first_of(&messages[at..], batch) {
            at += frame.count;
            frames.push((frame.count, frame.body.len()));
        }
        frames
    }

    #[test]
    fn without_batches_a_frame_is_a_message() {
        let message = Bytes::from_static(b"{\"n\":1}");
        let frame = Frame::first_of(&[message.clone(), message.clone()], 0);
        assert_eq!(frame, Some(Frame { body: message, count: 1 }));
    }

    #[test]
    fn a_batch_is_a_json_array() {
        let run = [Bytes::from_static(b"1"), Bytes::from_static(b"22"), Bytes::from_static(b"3")];
        assert_eq!(Frame::first_of(&run, 2), Some(Frame { body: "[1,22]".into(), count: 2 }));
        assert_eq!(Frame::first_of(&run[2..], 2), Some(Frame { body: "[3]".into(), count: 1 }));
    }

    #[test]
    fn a_frame_of_several_keeps_to_its_bytes() {
        let half = FRAME_BYTES / 2;
        assert_eq!(frames(&[half - 2, half - 2], 9), [(2, 2 * (half - 2) + 3)]);
        assert_eq!(frames(&[half, half], 9), [(1, half + 2), (1, half + 2)]);
        let exact = FRAME_BYTES - half - 3;
        assert_eq!(frames(&[half, exact], 9), [(2, FRAME_BYTES)], "all of it is used");
        assert_eq!(frames(&[half, exact + 1], 9).len(), 2, "and no byte more");
    }

    #[test]
    fn a_long_message_goes_alone_and_one_beyond_a_post_does_not_go() {
        assert_eq!(frames(&[5, FRAME_BYTES, 5], 9), [(1, 7), (1, FRAME_BYTES + 2), (1, 7)]);
        assert_eq!(frames(&[MESSAGE_BYTES], 0), [(1, MESSAGE_BYTES)]);
        assert_eq!(frames(&[5, MESSAGE_BYTES + 1, 5], 0), [(1, 5)]);
        assert_eq!(frames(&[5, MESSAGE_BYTES - 1, 5], 9), [(1, 7)]);
    }
}
