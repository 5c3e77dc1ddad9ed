//! Whether a request is signed, by its form alone: the signature itself is not verified, since the simulator knows no secret keys.
//!
//! The header's form and the two refusals are those of AWS Signature Version 4 ("Authenticating requests", "Troubleshooting AWS
//! Signature Version 4", read 2026-11).

use axum::http::{HeaderMap, StatusCode};

/// A refusal, as API Gateway and Lambda word it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no `Authorization` header.
    Missing,
    /// There is one, not of the form, or for another service.
    Malformed,
}

impl Refusal {
    pub(crate) const STATUS: StatusCode = StatusCode::FORBIDDEN;

    /// The exception's name and message.
    pub(crate) fn wording(self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => ("MissingAuthenticationTokenException", "Missing Authentication Token"),
            Self::Malformed => {
                ("IncompleteSignatureException", "Authorization header is not of Signature Version 4")
            }
        }
    }
}

/// Which access key a request to `service` says that it was signed with.
pub(crate) fn access_key<'a>(headers: &'a HeaderMap, service: &str) -> Result<&'a str, Refusal> {
    let header = headers.get("authorization").ok_or(Refusal::Missing)?;
    let date = headers.get("x-amz-date").and_then(|date| date.to_str().ok()).ok_or(Refusal::Malformed)?;
    let header = header.to_str().map_err(|_| Refusal::Malformed)?;
    parse(header, date, service).ok_or(Refusal::Malformed)
}

fn parse<'a>(header: &'a str, date: &str, service: &str) -> Option<&'a str> {
    let members = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let member = |name: &str| members.split(',').find_map(|member| member.trim().strip_prefix(name));
    let mut scope = member("Credential=")?.split('/');
    let key = scope.next().filter(|key| !key.is_empty())?;
    let scope: Vec<&str> = scope.collect();
    let [day, region, of, "aws4_request"] = scope[..] else { return None };
    let coherent =
        of == service && !region.is_empty() && date.len() == 16 && date.starts_with(day) && day.len() == 8;
    (coherent && signs_host(member("SignedHeaders=")?) && is_signature(member("Signature=")?)).then_some(key)
}

fn signs_host(signed: &str) -> bool {
    ["host", "x-amz-date"].iter().all(|name| signed.split(';').any(|header| header == *name))
}

fn is_signature(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(authorization: &str) -> HeaderMap {
        let pairs = [("authorization", authorization), ("x-amz-date", "20261121T120000Z")];
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(axum::http::HeaderName, _)>>()
            .into_iter()
            .collect()
    }

    fn authorization(scope: &str, headers: &str, signature: &str) -> String {
        format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={headers}, Signature={signature}")
    }

    #[test]
    fn a_well_formed_header_names_its_key() {
        let header =
            authorization("20261121/eu-west-1/execute-api/aws4_request", "host;x-amz-date", &"0a".repeat(32));
        assert_eq!(access_key(&signed(&header), "execute-api"), Ok("AKID"));
    }

    #[test]
    fn no_header_is_told_from_a_bad_one() {
        assert_eq!(access_key(&HeaderMap::new(), "execute-api"), Err(Refusal::Missing));
        assert_eq!(access_key(&signed("Bearer abc"), "execute-api"), Err(Refusal::Malformed));
    }

    #[test]
    fn every_part_is_judged() {
        let scope = "20261121/eu-west-1/execute-api/aws4_request";
        let signature = "0a".repeat(32);
        for header in [
            authorization("20261121/eu-west-1/lambda/aws4_request", "host;x-amz-date", &signature),
            authorization("20261120/eu-west-1/execute-api/aws4_request", "host;x-amz-date", &signature),
            authorization("20261121/eu-west-1/execute-api", "host;x-amz-date", &signature),
            authorization(scope, "x-amz-date", &signature),
            authorization(scope, "host;x-amz-date", "0a"),
            authorization(scope, "host;x-amz-date", &"0A".repeat(32)),
        ] {
            assert_eq!(access_key(&signed(&header), "execute-api"), Err(Refusal::Malformed), "{header}");
        }
    }
}
