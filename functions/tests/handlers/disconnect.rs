//! `$disconnect`.

use std::sync::Arc;

use bond_core::connection::{Carries, Connection, ConnectionId, ConnectionStore};
use bond_core::control::Command;
use bond_core::time::UnixNanos;
use bond_functions::disconnect::Disconnect;

use super::support::*;

#[tokio::test]
async fn a_client_that_left_is_forgotten_and_whatever_fails_changes_no_answer() {
    let (connections, told) = (Arc::new(Connections::default()), Arc::new(Told::default()));
    let id = ConnectionId::new(CONNECTION);
    let connection = Connection::opened(id.clone(), CONNECTED, Carries::Feed(Box::default()));
    connections.put(&connection).await.expect("kept");
    let disconnect = Disconnect { connections: connections.clone(), control: told.clone() };
    let left = || event(include_str!("../fixtures/disconnect.json"), |_| {});
    assert_eq!(disconnect.handle(left()).await.expect("an event").status_code, 200);
    assert!(connections.kept.lock().is_empty());
    let at = UnixNanos::from_millis(1_700_000_039_000);
    assert_eq!(told.take(), [Command::Disconnected { connection: id, at }]);
    (*connections.unavailable.lock(), *told.out_of_reach.lock()) = (true, true);
    assert_eq!(disconnect.handle(left()).await.expect("an event").status_code, 200);
}
