//! What clients are told beside events, and what they are answered.
