//! What clients offer of permessage-deflate (RFC 7692, 7.1), and what is answered.

/// The extension's name.
const NAME: &str = "permessage-deflate";

/// What is answered to an offer that is taken.
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// As [`ANSWER`], to a client that asks for a window of 2^15 bytes: it must be told that it gets one.
const ANSWER_WITH_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

/// The window of the compressor, as a power of two. A client that can take only a smaller one is not compressed for.
const WINDOW_BITS: u8 = 15;

/// The answer to the first offer of the extension that can be taken, in the order that the client has put them in.
pub(crate) fn negotiate<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    headers.into_iter().flat_map(|header| split_unquoted(header, ',')).find_map(answer)
}

/// The answer to one offer; `None` where it is declined.
fn answer(offer: &str) -> Option<&'static str> {
    let mut parts = split_unquoted(offer, ';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut answer = ANSWER;
    for parameter in parts {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start())?)),
            None => (parameter, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => drop(window_bits(value)?),
            ("server_max_window_bits", Some(value)) if window_bits(value)? == WINDOW_BITS => {
                answer = ANSWER_WITH_WINDOW;
            }
            _ => return None,
        }
    }
    Some(answer)
}

/// A window as a client may name it: 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let bits: u8 = value.parse().ok()?;
    ((8..=15).contains(&bits) && value == bits.to_string()).then_some(bits)
}

/// A value without its quotes; `None` where they do not match.
fn unquoted(value: &str) -> Option<&str> {
    let Some(rest) = value.strip_prefix('"') else { return Some(value) };
    rest.strip_suffix('"')
}

/// Takes a header apart at a separator, but not inside of quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |character| {
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_offer_is_taken_and_what_cannot_be_kept_is_declined() {
        for taken in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=10 ; server_no_context_takeover",
            "Permessage-Deflate; client_max_window_bits=\"12\"; client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            "permessage-deflate; unknown, permessage-deflate; client_max_window_bits",
        ] {
            assert_eq!(negotiate([taken]), Some(ANSWER), "{taken}");
        }
        let asks = "permessage-deflate; server_max_window_bits=15; client_max_window_bits";
        assert_eq!(negotiate([asks]), Some(ANSWER_WITH_WINDOW));
        assert_eq!(negotiate(["permessage-deflate; x", "permessage-deflate"]), Some(ANSWER));
    }

    #[test]
    fn malformed_offers_are_declined() {
        for declined in [
            "",
            "deflate",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=\"15",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=015",
            "permessage-deflate; client_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; ",
            "permessage-deflate; unknown",
            "other; x=\"1, permessage-deflate, 2\"",
        ] {
            assert_eq!(negotiate([declined]), None, "{declined}");
        }
    }
}
