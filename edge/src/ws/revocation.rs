//! Users who are disconnected: learned from topics of Bond's own, which every edge follows through its hub.

use std::sync::Arc;

use bond_api::jwt::Revocations;
use bond_core::code::{CloseCode, Code};
use bond_core::revocation;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use smol_str::SmolStr;
use tokio_util::sync::CancellationToken;

use super::post::WorkerMessage;
use super::shared::Shared;
use super::worker::Worker;
use crate::delivery::mailbox::Mailbox;
use crate::delivery::ring::Ring;

/// What a client is told whose user was disconnected.
const DISCONNECTED: &str = "the user was disconnected: sign in anew";

/// Follows the topics until `stop`. `mailbox` is that of the listener `index`.
pub(super) async fn follow(
    shared: Arc<Shared>,
    (index, mailbox): (usize, Arc<Mailbox>),
    stop: CancellationToken,
) {
    let Some(revocations) = shared.admission.revocations().cloned() else {
        return stop.cancelled().await;
    };
    let topics = revocation::topics().into_iter().map(Topic::Published);
    let rings: Vec<_> = topics.map(|topic| shared.hub.follow(&topic)).collect();
    rings.iter().for_each(|ring| ring.interest(index, true));
    loop {
        for ring in &rings {
            ring.look(index);
            learn(&shared, &revocations, ring);
        }
        if stop.run_until_cancelled(mailbox.woken()).await.is_none() {
            return;
        }
        // What is told to all listeners is nothing for this one.
        mailbox.take(&mut Vec::new(), &mut Vec::new());
    }
}

fn learn(shared: &Shared, revocations: &Revocations, ring: &Ring) {
    let Some(told) = ring.state() else { return };
    for user in revocations.learn(revocation::read(&told), shared.clock.now()) {
        tracing::info!(%user, "a user is disconnected");
        shared.tell(|| WorkerMessage::Disconnect(user.clone()));
    }
}

impl Worker {
    /// Closes the connections of a user.
    pub(super) fn disconnect(&mut self, user: &SmolStr) {
        let ids = self.connections.ids(|connection| connection.user() == Some(user));
        ids.into_iter().for_each(|id| self.send_away(id));
    }

    /// Closes a connection whose user was disconnected after it was let in.
    pub(super) fn disconnect_if_revoked(&mut self, id: usize, admitted_at: UnixNanos) {
        let user = self.connections.get(id).and_then(|connection| connection.user());
        let revocations = self.shared.admission.revocations();
        let is_revoked = user.zip(revocations).is_some_and(|(user, known)| known.ends(user, admitted_at));
        if is_revoked {
            self.send_away(id);
        }
    }

    fn send_away(&mut self, id: usize) {
        self.close(id, CloseCode::UserRevoked, &format!("{}: {DISCONNECTED}", Code::AuthInvalid));
    }
}
