//! The `bond` command.

use std::process::ExitCode;

// All of it is in the library: a future is compiled where it is first polled, and the binary is the last to be built.
fn main() -> ExitCode {
    bond_edge::command::main()
}
