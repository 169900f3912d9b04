//! A core under a seccomp filter that answers EPERM to `io_uring_setup`, as container run times do.
//!
//! Its own test binary, because a filter cannot be taken off again; each test runs in a thread of its own,
//! and a filter binds only the thread that installs it and its children.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the filter below names the x86-64 architecture");

use std::io;
use stria_base::CoreId;
use stria_runtime::{ActiveBackend, Backend, CoreConfig, UringMissing, probe, run};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump_if_equal(k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k }
}

fn refuse_uring(errno: i32) {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let answer = libc::BPF_RET | libc::BPF_K;
    let mut program = [
        statement(load, ARCH_OFFSET),
        jump_if_equal(AUDIT_ARCH_X86_64, 0, 3),
        statement(load, NUMBER_OFFSET),
        jump_if_equal(libc::SYS_io_uring_setup as u32, 0, 1),
        statement(answer, libc::SECCOMP_RET_ERRNO | errno as u32),
        statement(answer, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a well-formed program of the stated length, copied by the kernel.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter), 0);
    }
}

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
