//! Checks requests in open mode, in which everybody on this machine may call, but no web page of another site.

use axum::extract::Request;
use axum::http::{HeaderMap, Uri, header};
use bond_core::code::Code;

use crate::problem::Problem;

/// Headers that proxies set. A request with one of them may come from another machine.
const OF_PROXIES: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// The prefix of further headers of proxies.
const FORWARDED: &str = "x-forwarded-";

/// Refuses requests that a web page of another site could send, or a proxy could pass on: those whose `Host` or `Origin` is not loopback,
/// those that a browser marks as coming from another site, and those that went through a proxy.
///
/// # Errors
/// `FORBIDDEN`.
pub fn admit(request: &Request) -> Result<(), Problem> {
    if let Some(name) = header_of_proxy(request.headers()) {
        let detail = format!(
            "without API keys no proxy may pass requests on: make a key with `bond key new --owner NAME`; the request has {name}"
        );
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let headers = request.headers();
    if is_loopback_host(request) && has_loopback_origin(headers) && !is_of_another_site(headers) {
        return Ok(());
    }
    let detail = "without API keys only this machine may call: use http://localhost, or make a key with \
                  `bond key new --owner NAME`";
    Err(Problem::new(Code::Forbidden, detail))
}

fn header_of_proxy(headers: &HeaderMap) -> Option<&str> {
    let is_of_proxy = |name: &&str| OF_PROXIES.contains(name) || name.starts_with(FORWARDED);
    headers.keys().map(|name| name.as_str()).find(is_of_proxy)
}

/// Whether a browser marks the request as made by a page of another site. If the browser names the page's origin, [`has_loopback_origin`]
/// decides instead, because a page on another port of loopback counts as another site.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let is_foreign = headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    is_foreign && !headers.contains_key(header::ORIGIN)
}

fn is_loopback_host(request: &Request) -> bool {
    let hosts =
        request.headers().get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
    let target = request.uri().authority().map(|authority| authority.as_str());
    let mut names = hosts.chain(target).peekable();
    names.peek().is_some() && names.all(is_loopback_authority)
}

fn has_loopback_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.all(|origin| origin.to_str().is_ok_and(is_loopback_url))
}

fn is_loopback_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    uri.scheme().is_some()
        && uri.authority().is_some_and(|authority| is_loopback_authority(authority.as_str()))
}

/// Whether `text` is one of the names of loopback, with any port. Another name that resolves to loopback does not count, because DNS
/// rebinding uses such names.
fn is_loopback_authority(text: &str) -> bool {
    let names = ["localhost", "127.0.0.1", "[::1]"];
    names.iter().any(|name| match text.get(..name.len()) {
        Some(head) if head.eq_ignore_ascii_case(name) => is_port(&text[name.len()..]),
        _ => false,
    })
}

fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_admitted(headers: &[(&str, &str)]) -> bool {
        let request = Request::builder().uri("/").header("host", "localhost:8000");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        admit(&request.body(Body::empty()).expect("a request")).is_ok()
    }

    #[test]
    fn each_sign_of_a_proxy_or_of_another_site_is_enough() {
        for header in [
            ("forwarded", "for=203.0.113.5"),
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-host", "bond.example"),
            ("x-forwarded-proto", "https"),
            ("X-Forwarded-Port", ""),
            ("x-real-ip", "203.0.113.5"),
            ("via", "1.1 proxy"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ] {
            assert!(!is_admitted(&[header]), "{header:?}");
        }
        let page = ("origin", "http://localhost:3000");
        for headers in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[page],
            &[page, ("sec-fetch-site", "same-site")],
        ] {
            assert!(is_admitted(headers), "{headers:?}");
        }
    }

    #[test]
    fn loopback_is_known_by_its_names_alone() {
        for name in ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
            assert!(is_loopback_authority(name), "{name}");
        }
        for name in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost:80@evil.example",
            "evil.example:8000",
            "127.0.0.1.nip.io",
            "127.0.0.10",
            "0.0.0.0",
            "::1",
            "[::1]evil",
            "user@localhost",
        ] {
            assert!(!is_loopback_authority(name), "{name}");
        }
    }

    #[test]
    fn an_origin_is_loopback_whatever_its_scheme_and_port() {
        for url in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8000"] {
            assert!(is_loopback_url(url), "{url}");
        }
        for url in
            ["null", "", "https://evil.example", "http://localhost.evil.example", "file://", "localhost"]
        {
            assert!(!is_loopback_url(url), "{url}");
        }
    }
}
