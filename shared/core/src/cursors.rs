//! How far a relay has brought its connections, kept so that its successor goes on from there.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::connection::ConnectionId;
use crate::log::{Fence, LogError};
use crate::position::Position;
use crate::topic::Topic;

/// The saved positions of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneCursors {
    /// For each topic the position that all connections of the lane have passed, but for those in `lagging`.
    pub passed: BTreeMap<Topic, Position>,
    /// The positions of the others.
    pub lagging: BTreeMap<ConnectionId, BTreeMap<Topic, Position>>,
}

/// Where a relay's positions are kept. One `save` is all there or not at all, and a save under a smaller fence than one before changes
/// nothing.
#[async_trait]
pub trait CursorStore: Send + Sync {
    /// Replaces the positions of a lane.
    ///
    /// # Errors
    /// [`LogError`].
    async fn save(&self, fence: Fence, lane: u16, cursors: &LaneCursors) -> Result<(), LogError>;

    /// The positions of a lane that were saved last; empty where none were.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn load(&self, lane: u16) -> Result<LaneCursors, LogError>;
}
