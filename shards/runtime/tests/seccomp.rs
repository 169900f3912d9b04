//! A core under a seccomp filter that answers EPERM to `io_uring_setup`, as container run times do.
//!
//! Its own test binary, because a filter cannot be taken off again; each test runs in a thread of its own,
//! and a filter binds only the thread that installs it and its children.

use std::io;
use stria_base::CoreId;
use stria_runtime::{ActiveBackend, Backend, CoreConfig, UringMissing, probe, run};

#[path = "../examples/without_uring/filter.rs"]
mod filter;

use filter::refuse_uring;

fn config(backend: Backend) -> CoreConfig {
    CoreConfig { backend, ..CoreConfig::new(CoreId(0)) }
}

#[test]
fn auto_falls_back_and_works() {
    refuse_uring(libc::EPERM);
    let worked = run(config(Backend::Auto), async |core| {
        assert_eq!(core.backend(), ActiveBackend::Epoll);
        let listener = core.listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let mut client = core.connect(listener.local_addr().expect("bound")).await.expect("connected");
        let mut server = listener.accept().await.expect("accepted");
        client.send_bytes(bytes::Bytes::from_static(b"hello")).await.expect("sent");
        server.recv().await.expect("received").to_vec()
    });
    assert_eq!(worked.expect("the core runs"), b"hello");
}

#[test]
fn uring_is_refused_with_the_cause() {
    refuse_uring(libc::EPERM);
    let error = run(config(Backend::Uring), async |_| ()).expect_err("no ring");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let missing = error.get_ref().and_then(|inner| inner.downcast_ref::<UringMissing>()).expect("the cause");
    assert!(matches!(missing, UringMissing::Blocked { sysctl: None | Some(0) }), "{missing:?}");
    assert!(error.to_string().contains("seccomp"), "{error}");
    assert_eq!(probe(), Err(*missing));
}

#[test]
fn a_kernel_without_the_call_is_named() {
    refuse_uring(libc::ENOSYS);
    assert_eq!(probe(), Err(UringMissing::NoSyscall));
    assert!(run(config(Backend::Auto), async |core| core.backend()).expect("runs") == ActiveBackend::Epoll);
}

#[test]
fn without_a_filter_the_probe_tells_what_there_is() {
    match probe() {
        Ok(features) => assert!(features.coop_taskrun || !features.defer_taskrun),
        Err(missing) => assert!(!missing.to_string().contains('\n')),
    }
}
