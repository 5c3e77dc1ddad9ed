//! The replies of MOCK integrations: templates with `$context` variables and nothing else of the template language.

use serde_json::Value;

/// The variables that are known: those of `requestContext` that a MOCK route's reply may hold.
const VARIABLES: [&str; 8] = [
    "requestTimeEpoch",
    "requestTime",
    "requestId",
    "connectionId",
    "connectedAt",
    "routeKey",
    "stage",
    "messageId",
];

/// Fills a template.
pub(crate) fn render(template: &str, context: &Value) -> String {
    variables(template).fold(template.to_owned(), |text, name| {
        let value = &context[name];
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.replacen(&format!("$context.{name}"), &value, 1)
    })
}

/// What looks like a variable and is none.
pub(crate) fn unknown_variables(template: &str) -> impl Iterator<Item = String> {
    let pieces = template.split('$').skip(1);
    pieces.filter_map(|piece| {
        let known = piece.strip_prefix("context.").is_some_and(|rest| VARIABLES.contains(&word(rest)));
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(piece.len());
        (!known).then(|| format!("${}", &piece[..end]))
    })
}

fn variables(template: &str) -> impl Iterator<Item = &str> {
    template.split("$context.").skip(1).map(word)
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced() {
        let context = serde_json::json!({"requestTimeEpoch": 5, "requestTime": "then", "connectionId": "c="});
        let template =
            r#"{"ts":$context.requestTimeEpoch,"at":"$context.requestTime","id":"$context.connectionId"}"#;
        assert_eq!(render(template, &context), r#"{"ts":5,"at":"then","id":"c="}"#);
    }

    #[test]
    fn what_is_no_variable_is_named() {
        let unknown: Vec<String> = unknown_variables("$context.stage $context.no $input.body $").collect();
        assert_eq!(unknown, ["$context.no", "$input.body", "$"]);
    }
}
