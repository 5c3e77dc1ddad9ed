//! Who is connected, in DynamoDB.
//!
//! | access | request | key |
//! |---|---|---|
//! | keep a connection unless what is kept is newer | PutItem if `asked_ns` is not greater | `lane#07`, connection id |
//! | change the version that was read | PutItem if `asked_ns` is as it was | `lane#07`, connection id |
//! | one connection | GetItem | `lane#07`, connection id |
//! | forget a connection | DeleteItem | `lane#07`, connection id |
//! | all connections of a lane | Query | `lane#07` |
//!
//! The lane comes from the id, so that nothing needs an index. `connection` is the connection's JSON, `asked_ns` the time of the
//! request behind it, `ttl` some time after API Gateway has closed it in any case; until DynamoDB deletes such an item, which may
//! take days, it is left out on reading.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValue;
use bond_core::connection::{Connection, ConnectionId, ConnectionStore, LIFETIME};
use bond_core::store::StoreError;
use bond_core::time::UnixNanos;

use crate::table::{DynamoError, Item, Table, key, number, read_text, text, ttl};

/// A [`ConnectionStore`] in a DynamoDB table. A clone is another handle.
#[derive(Clone)]
pub struct DynamoConnections(Table);

impl DynamoConnections {
    pub(crate) const fn new(table: Table) -> Self {
        Self(table)
    }

    /// Writes the connection if `condition` holds of what is kept, with `:asked` for the time `asked`. Whether it did.
    async fn write(
        &self,
        connection: &Connection,
        condition: &str,
        asked: UnixNanos,
    ) -> Result<bool, StoreError> {
        let request = self.0.client.put_item().table_name(&self.0.name).set_item(Some(item(connection)));
        let request = request
            .condition_expression(condition)
            .expression_attribute_values(":asked", number(asked.as_nanos()));
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if is_stale(error.as_service_error()) => Ok(false),
            Err(error) => Err(DynamoError::from(error).into()),
        }
    }
}

#[async_trait]
impl ConnectionStore for DynamoConnections {
    async fn put(&self, connection: &Connection) -> Result<bool, StoreError> {
        let condition = "attribute_not_exists(pk) OR asked_ns <= :asked";
        self.write(connection, condition, connection.asked_at).await
    }

    async fn replace(&self, connection: &Connection, was: UnixNanos) -> Result<bool, StoreError> {
        self.write(connection, "asked_ns = :asked", was).await
    }

    async fn get(&self, id: &ConnectionId, now: UnixNanos) -> Result<Option<Connection>, StoreError> {
        let item = self.0.get(&partition(id.lane()), id.as_str()).await?;
        let found = item.as_ref().map(read).transpose()?;
        Ok(found.filter(|connection| !connection.is_over(now)))
    }

    async fn remove(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        let key = key(partition(id.lane()), id.as_str());
        let request = self.0.client.delete_item().table_name(&self.0.name).set_key(Some(key));
        let removed = request.return_values(ReturnValue::AllOld).send().await.map_err(DynamoError::from)?;
        Ok(removed.attributes.is_some())
    }

    async fn lane(&self, lane: u16, now: UnixNanos) -> Result<Vec<Connection>, StoreError> {
        let items = self.0.query(&partition(lane)).await?;
        let open = items.iter().filter_map(read_or_report).filter(|connection| !connection.is_over(now));
        Ok(open.collect())
    }
}

fn is_stale(error: Option<&PutItemError>) -> bool {
    matches!(error, Some(PutItemError::ConditionalCheckFailedException(_)))
}

fn partition(lane: u16) -> String {
    format!("lane#{lane:02}")
}

fn item(connection: &Connection) -> Item {
    let mut item = key(partition(connection.id.lane()), connection.id.as_str());
    item.insert("connection".to_owned(), text(connection.to_json()));
    item.insert("asked_ns".to_owned(), number(connection.asked_at.as_nanos()));
    item.insert("ttl".to_owned(), ttl(connection.opened_at.plus(LIFETIME)));
    item
}

fn read(item: &Item) -> Result<Connection, DynamoError> {
    let text = read_text(item, "connection")?;
    Connection::from_json(text).map_err(|error| {
        tracing::error!(%error, connection = ?item.get("sk"), "unreadable connection");
        DynamoError::Unreadable("connection")
    })
}

/// One unreadable item must not keep a whole lane from its clients.
fn read_or_report(item: &Item) -> Option<Connection> {
    read(item).ok()
}
