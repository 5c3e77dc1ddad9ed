//! One DynamoDB table with the keys `pk` and `sk`: what both registries read and write it with.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{DisplayErrorContext, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use bond_core::store::StoreError;
use bond_core::time::UnixNanos;

/// An item: its attributes by name.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A table. Everything is read consistently: a port's caller sees what a returned call has done.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Table {
    pub(crate) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, DynamoError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key(pk, sk)));
        Ok(request.consistent_read(true).send().await?.item)
    }

    /// All items of a partition, however many pages they take.
    pub(crate) async fn query(&self, pk: &str) -> Result<Vec<Item>, DynamoError> {
        let request = self.client.query().table_name(&self.name).key_condition_expression("pk = :pk");
        let request = request.expression_attribute_values(":pk", text(pk)).consistent_read(true);
        let mut items = request.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = items.next().await {
            found.push(item?);
        }
        Ok(found)
    }
}

/// Why DynamoDB did not do what it was asked, in its own words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DynamoError {
    #[error("dynamodb: {0}")]
    Refused(String),
    #[error("item without a readable {0}")]
    Unreadable(&'static str),
    #[error("too many changes at once; try again")]
    Contended,
}

impl<E: std::error::Error + 'static> From<SdkError<E>> for DynamoError {
    fn from(error: SdkError<E>) -> Self {
        Self::Refused(DisplayErrorContext(error).to_string())
    }
}

impl From<DynamoError> for StoreError {
    fn from(error: DynamoError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The attributes of a key.
pub(crate) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    HashMap::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

pub(crate) fn read_text<'i>(item: &'i Item, name: &'static str) -> Result<&'i str, DynamoError> {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.map(String::as_str).ok_or(DynamoError::Unreadable(name))
}

/// A number, if the item has this attribute.
pub(crate) fn read_number(item: &Item, name: &'static str) -> Result<Option<i64>, DynamoError> {
    item.get(name).map(|value| parse_number(value).ok_or(DynamoError::Unreadable(name))).transpose()
}

pub(crate) fn parse_number(value: &AttributeValue) -> Option<i64> {
    value.as_n().ok().and_then(|digits| digits.parse().ok())
}

/// The value of the attribute by which DynamoDB deletes an item: Unix seconds, an hour after its end, so that no process
/// whose clock is behind misses what it still takes for alive.
pub(crate) fn ttl(ends_at: UnixNanos) -> AttributeValue {
    number(ends_at.as_secs().saturating_add(3600))
}
