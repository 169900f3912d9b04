//! One connection's load, and the audit of what it was promised.
//!
//! Invariant: a worker alone writes its keys. It ends at the first broken connection; whether that was
//! allowed is the caller's to judge. One thread each.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    client::{Client, Response, elements},
    ledger::{Content, Ledger, Verdict},
    random::Random,
};

/// Keys of one worker.
const KEYS: u64 = 40;
/// Most buckets one worker makes.
const BUCKETS_MAX: usize = 8;
/// The bucket under load.
pub const BUCKET: &str = "crash";
/// Bodies, and how often of 100: none, tiny, a page, the largest inline one, the smallest in extents, and up.
const SIZES: &[(u64, usize)] =
    &[(10, 0), (25, 100), (20, 4096), (14, 32 << 10), (14, 40 << 10), (5, 1 << 20), (2, 6 << 20)];
/// Sizes from here go in parts.
const MULTIPART_BYTES: usize = 6 << 20;
const PART_BYTES: usize = 5 << 20;

/// What a load or an audit found to be wrong.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Acknowledged and gone.
    pub lost: u64,
    /// Bytes nobody sent.
    pub torn: u64,
    /// Anything else, in words.
    pub wrong: Vec<String>,
    /// Answers that asked to slow down.
    pub slow_downs: u64,
}

impl Findings {
    /// Adds another worker's.
    pub fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.torn += other.torn;
        self.slow_downs += other.slow_downs;
        self.wrong.extend(other.wrong);
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.lost == 0 && self.torn == 0 && self.wrong.is_empty()
    }
}

/// One connection, its keys and its ledger.
pub struct Worker {
    number: u64,
    random: Random,
    ledger: Ledger,
    buckets: Vec<String>,
    /// Whether a 503 to a write leaves it open: so where devices fail under the server.
    pub failures_leave_open: bool,
}

impl Worker {
    /// Number `number`, deciding by `seed`.
    #[must_use]
    pub fn new(number: u64, seed: u64, ledger: Ledger) -> Self {
        Self {
            number,
            random: Random::new(seed ^ (number + 1) << 48),
            ledger,
            buckets: Vec::new(),
            failures_leave_open: false,
        }
    }

    /// Acknowledged operations so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.ledger.acknowledged
    }

    /// Keys that hold an object, with its size; after an audit.
    pub fn present(&self) -> impl Iterator<Item = (&str, u64)> {
        self.ledger.present()
    }

    /// Loads until `stop` is set or the connection breaks.
    pub fn load(&mut self, client: &mut Client, stop: &AtomicBool) -> Findings {
        let mut findings = Findings::default();
        while !stop.load(Ordering::SeqCst) {
            if let Err(error) = self.step(client, &mut findings) {
                if !stop.load(Ordering::SeqCst) {
                    findings.wrong.push(format!("worker {}: {error} while the server ran", self.number));
                }
                break;
            }
        }
        findings
    }

    fn step(&mut self, client: &mut Client, findings: &mut Findings) -> io::Result<()> {
        // Signs that need escapes, long common prefixes, and keys that are prefixes of others.
        let nth = self.random.below(KEYS);
        let key = match nth % 4 {
            0 => format!("w{}/k{nth}", self.number),
            1 => format!("w{}/k{nth}/deep/er/{}", self.number, "x".repeat(150)),
            2 => format!("w{}/%C3%A4%20%2B{nth}", self.number),
            _ => format!("w{}/k", self.number) + &"0".repeat(nth as usize + 1),
        };
        match self.random.below(100) {
            0..12 => self.delete(client, &key, findings),
            12..24 => self.read(client, &key, findings),
            24 if self.buckets.len() < BUCKETS_MAX => self.make_bucket(client, findings),
            _ => {
                let size = self.size();
                let body = self.random.bytes(size);
                if size < MULTIPART_BYTES {
                    self.put(client, &key, &body, findings)
                } else {
                    self.put_parts(client, &key, &body, findings)
                }
            }
        }
    }

    fn size(&mut self) -> usize {
        let total: u64 = SIZES.iter().map(|(weight, _)| weight).sum();
        let mut at = self.random.below(total);
        for (weight, size) in SIZES {
            if at < *weight {
                return *size;
            }
            at -= weight;
        }
        unreachable!("below the sum of the weights")
    }

    fn put(
        &mut self,
        client: &mut Client,
        key: &str,
        body: &[u8],
        findings: &mut Findings,
    ) -> io::Result<()> {
        self.ledger.begin(key, Some(Content::of(body)))?;
        let response = client.request("PUT", &format!("/{BUCKET}/{key}"), body)?;
        self.settle(key, &response, findings)
    }

    fn delete(&mut self, client: &mut Client, key: &str, findings: &mut Findings) -> io::Result<()> {
        self.ledger.begin(key, None)?;
        let response = client.request("DELETE", &format!("/{BUCKET}/{key}"), b"")?;
        self.settle(key, &response, findings)
    }

    fn settle(&mut self, key: &str, response: &Response, findings: &mut Findings) -> io::Result<()> {
        if response.is_success() {
            return self.ledger.acknowledge(key);
        }
        unexpected(response, key, findings);
        if self.failures_leave_open { self.ledger.leave_open(key) } else { self.ledger.refuse(key) }
    }

    fn put_parts(
        &mut self,
        client: &mut Client,
        key: &str,
        body: &[u8],
        findings: &mut Findings,
    ) -> io::Result<()> {
        let created = client.request("POST", &format!("/{BUCKET}/{key}?uploads"), b"")?;
        let text = String::from_utf8_lossy(&created.body).into_owned();
        let Some(id) = elements(&text, "UploadId").next() else {
            unexpected(&created, key, findings);
            return Ok(());
        };
        let mut complete = String::from("<CompleteMultipartUpload>");
        for (i, part) in body.chunks(PART_BYTES).enumerate() {
            let target = format!("/{BUCKET}/{key}?partNumber={}&uploadId={id}", i + 1);
            let stored = client.request("PUT", &target, part)?;
            let Some(etag) = stored.header("etag").filter(|_| stored.is_success()) else {
                unexpected(&stored, key, findings);
                return Ok(());
            };
            complete.push_str(&format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", i + 1));
        }
        if self.random.below(8) == 0 {
            // Left lying: its parts must neither appear nor be in anybody's way.
            return Ok(());
        }
        complete.push_str("</CompleteMultipartUpload>");
        self.ledger.begin(key, Some(Content::of(body)))?;
        let response =
            client.request("POST", &format!("/{BUCKET}/{key}?uploadId={id}"), complete.as_bytes())?;
        let done = String::from_utf8_lossy(&response.body).contains("CompleteMultipartUploadResult");
        if response.is_success() && !done {
            findings.wrong.push(format!("{key}: completed without a result"));
        }
        self.settle(key, &response, findings)
    }

    fn make_bucket(&mut self, client: &mut Client, findings: &mut Findings) -> io::Result<()> {
        let name = format!("{BUCKET}-{}-{}", self.number, self.random.below(1 << 40));
        let response = client.request("PUT", &format!("/{name}"), b"")?;
        if response.is_success() {
            self.buckets.push(name);
        } else {
            unexpected(&response, &name, findings);
        }
        Ok(())
    }

    fn read(&mut self, client: &mut Client, key: &str, findings: &mut Findings) -> io::Result<()> {
        let response = client.request("GET", &format!("/{BUCKET}/{key}"), b"")?;
        let found = match response.status {
            200 => Some(Content::of(&response.body)),
            404 => None,
            503 => {
                findings.slow_downs += 1;
                return Ok(());
            }
            _ => {
                unexpected(&response, key, findings);
                return Ok(());
            }
        };
        match self.ledger.check(key, found)? {
            Verdict::Good => {}
            Verdict::Lost => findings.lost += 1,
            Verdict::Torn => findings.torn += 1,
        }
        Ok(())
    }

    /// Reads back everything this worker ever wrote.
    pub fn audit(&mut self, client: &mut Client) -> Findings {
        let mut findings = Findings::default();
        let keys: Vec<String> = self.ledger.keys().map(str::to_owned).collect();
        for key in keys {
            if let Err(error) = self.read(client, &key, &mut findings) {
                findings.wrong.push(format!("audit of {key}: {error}"));
            }
        }
        if findings.slow_downs > 0 {
            findings.wrong.push(format!("{} reads of the audit were refused", findings.slow_downs));
        }
        for name in &self.buckets {
            match client.request("HEAD", &format!("/{name}"), b"") {
                Ok(response) if response.is_success() => {}
                Ok(_) => findings.lost += 1,
                Err(error) => findings.wrong.push(format!("audit of bucket {name}: {error}")),
            }
        }
        findings
    }
}

/// Anything but 503 is no answer to a correct request.
fn unexpected(response: &Response, key: &str, findings: &mut Findings) {
    if response.status == 503 {
        findings.slow_downs += 1;
        return;
    }
    let body = String::from_utf8_lossy(&response.body);
    findings.wrong.push(format!("{key}: status {} {body}", response.status));
}

/// Lists the bucket page by page and compares with what GET said.
///
/// # Errors
/// Of the connection.
pub fn audit_list(
    client: &mut Client,
    page: u64,
    expected: &BTreeMap<String, u64>,
    findings: &mut Findings,
) -> io::Result<()> {
    let mut listed = BTreeMap::new();
    let mut token = String::new();
    loop {
        let target = format!("/{BUCKET}?list-type=2&encoding-type=url&max-keys={page}{token}");
        let response = client.request("GET", &target, b"")?;
        if !response.is_success() {
            unexpected(&response, "LIST", findings);
            return Ok(());
        }
        let xml = String::from_utf8_lossy(&response.body).into_owned();
        for row in elements(&xml, "Contents") {
            let key = elements(row, "Key").next().unwrap_or_default().to_owned();
            let size = elements(row, "Size").next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
            if listed.last_key_value().is_some_and(|(last, _): (&String, _)| decoded(last) >= decoded(&key)) {
                findings.wrong.push(format!("LIST: {key} is out of order"));
            }
            listed.insert(key, size);
        }
        let Some(next) = elements(&xml, "NextContinuationToken").next() else { break };
        token = format!("&continuation-token={}", next.replace('+', "%2B").replace('=', "%3D"));
    }
    let listed: BTreeMap<Vec<u8>, u64> = listed.iter().map(|(key, size)| (decoded(key), *size)).collect();
    let expected: BTreeMap<Vec<u8>, u64> = expected.iter().map(|(key, size)| (decoded(key), *size)).collect();
    if listed != expected {
        let differ = |(key, size): &(&Vec<u8>, &u64)| expected.get(*key) != Some(*size);
        let extra = listed.iter().filter(differ).map(|(key, _)| key);
        let missing = expected.keys().filter(|key| !listed.contains_key(*key));
        for key in extra.chain(missing).take(5) {
            let key = String::from_utf8_lossy(key);
            findings.wrong.push(format!("LIST and GET disagree about {key}"));
        }
    }
    Ok(())
}

/// Percent escapes and `+` taken off.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = behind;
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    bytes
}
