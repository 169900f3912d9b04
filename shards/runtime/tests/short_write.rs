//! Writes that the kernel cuts short, provoked by a limit on the length of files.
//!
//! Its own test binary and one test, because the limit is the process's.

use std::io;
use stria_base::CoreId;
use stria_runtime::{Backend, CoreConfig, OpenOptions, run};

const LIMIT_BYTES: u64 = 8_192;

fn limit_file_length() {
    let limit = libc::rlimit { rlim_cur: LIMIT_BYTES, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one rlimit; ignoring the signal turns it into EFBIG.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[test]
fn a_short_write_is_completed_or_its_error_is_told() {
    limit_file_length();
    for backend in [Backend::Auto, Backend::Epoll] {
        let path = std::env::temp_dir().join(format!("stria-short-{}", std::process::id()));
        let config = CoreConfig { backend, ..CoreConfig::new(CoreId(0)) };
        let outcome = run(config, async |core| {
            let options = OpenOptions { create: true, ..OpenOptions::default() };
            let file = core.open_file(&path, options).expect("opened");
            for linked in [false, true] {
                let mut buf = core.buf(16_384).expect("room");
                buf.fill(1);
                let (outcome, buf) = if linked {
                    file.write_at_and_flush(buf, 0).await
                } else {
                    file.write_at(buf, 0, false).await
                };
                let error = outcome.expect_err("the second half does not fit");
                assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
                assert_eq!((buf.len(), file.len_bytes().expect("a file")), (16_384, LIMIT_BYTES));
            }
        });
        outcome.expect("the core runs");
        std::fs::remove_file(&path).expect("removed");
    }
}
