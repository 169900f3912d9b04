//! One suite for both back ends: sockets, files, timers, queues between cores.
//!
//! Each test is a function of a configuration and runs once per back end. `STRIA_TEST_IO_BACKEND`
//! (`uring` or `epoll`) restricts the suite to one; `auto` says that io_uring may be refused here, as under a
//! seccomp filter, and leaves its half out.

mod cores;
mod files;
mod sockets;
mod tasks;

use crate::{Backend, Core, CoreConfig, run};
use std::future::Future;
use stria_base::CoreId;

/// Makes each test twice, once per back end.
macro_rules! on_each_backend {
    ($($name:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $name() { crate::tests::on(crate::Backend::Uring, super::$name) })*
        }
        mod epoll {
            $(#[test] fn $name() { crate::tests::on(crate::Backend::Epoll, super::$name) })*
        }
    };
}
pub(crate) use on_each_backend;

const MS: u64 = 1_000_000;

fn on(backend: Backend, test: fn(CoreConfig)) {
    let only = std::env::var("STRIA_TEST_IO_BACKEND").unwrap_or_default();
    let skipped = match backend {
        Backend::Uring => matches!(only.as_str(), "epoll" | "auto"),
        _ => only == "uring",
    };
    if !skipped {
        test(small(backend));
    }
}

fn small(backend: Backend) -> CoreConfig {
    CoreConfig { backend, sq_entries: 64, ..CoreConfig::new(CoreId(0)) }
}

/// Runs `main` on a core of its own thread, so that a hang fails the test instead of stopping the suite.
fn go<F: Future<Output = ()>>(config: CoreConfig, main: impl FnOnce(Core) -> F + Send + 'static) {
    let (done, outcome) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        run(config, async move |core| {
            main(core.clone()).await;
            assert_eq!(core.stats().completions_stale, 0);
        })
        .expect("the core runs");
        drop(done);
    });
    let thread = thread.expect("a thread");
    let waited = outcome.recv_timeout(std::time::Duration::from_secs(120));
    assert_eq!(waited, Err::<(), _>(std::sync::mpsc::RecvTimeoutError::Disconnected), "the core hangs");
    thread.join().expect("the core's main succeeds");
}
