//! Replays every target over its corpus, then over mutations of it, on a stable compiler.
//!
//! The mutations come from a fixed sequence, so a failure repeats; it prints the input to put into the
//! corpus. `FUZZ_ROUNDS` sets the mutations per seed.

use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "a test of the tools reads its seeds; no core runs here")]
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    files.iter().map(|file| std::fs::read(file).expect("a readable file")).collect()
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

const TOKENS: [&[u8]; 16] = [
    b"\r\n",
    b"\n",
    b"\0",
    b":",
    b" ",
    b"%2F",
    b"%00",
    b"&",
    b"?",
    b"=",
    b"<",
    b"&lt;",
    b"chunked",
    b"0",
    b"ffffffff",
    b"\r\n\r\n",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.next(4) {
        let at = random.next(bytes.len() + 1);
        match random.next(5) {
            0 if at < bytes.len() => bytes[at] = random.next(256) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.next(8),
            2 if at < bytes.len() => {
                let end = (at + 1 + random.next(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + random.next(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                bytes.splice(at..at, TOKENS[random.next(TOKENS.len())].iter().copied());
            }
        }
    }
}

/// Prints the input if the target panics.
struct Report<'a>(&'a str, &'a [u8]);

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {:?}", self.0, String::from_utf8_lossy(self.1));
            eprintln!("bytes: {:?}", self.1);
        }
    }
}

#[test]
fn corpus_and_mutations() {
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    for (name, target) in stria_fuzz::TARGETS {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for seed in seeds(name) {
            let mut bytes = seed.clone();
            for round in 0..rounds {
                let _report = Report(name, &bytes);
                target(&bytes);
                drop(_report);
                if round % 8 == 0 {
                    bytes = seed.clone();
                }
                mutate(&mut bytes, &mut random);
            }
        }
    }
}
