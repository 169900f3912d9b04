//! Runs a command where io_uring is refused with EPERM: `without_uring COMMAND [ARGUMENT...]`. CI runs the
//! whole test suite under it once.

mod filter;

use std::{os::unix::process::CommandExt, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: without_uring COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    filter::refuse_uring(libc::EPERM);
    let error = std::process::Command::new(&program).args(arguments).exec();
    eprintln!("cannot start {}: {error}", program.display());
    ExitCode::FAILURE
}
