//! Which addresses may be connected to.

pub mod guard;
