//! Real frames of real venues through `normalize`: nothing is lost, doubled or rejected without a reason.
//!
//! The captures are too large for the repository. `BOND_CAPTURES` names their directory, `../shared/captures` beside the workspace
//! where it is not set. Without them the tests say SKIPPED, and fail where `CI` is `true`.

mod books;
mod file;
mod trades;
