//! A store on raw devices: two loop devices, with sectors of 512 and of 4,096 bytes. Writes, kills, reads back, and
//! tries every device that has to be refused.
//!
//! Invariant: passes only when every byte came back after each kill and every refusal left its device as it was;
//! without loop devices it says that it was skipped, and why. No loop device outlives the run. One thread.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    client::{Client, elements},
    options::Options,
    random::Random,
    server::Setup,
};

/// Size of a device of the store; the files behind are sparse.
const DEVICE_BYTES: u64 = 1 << 30;
const SMALL_BYTES: u64 = 128 << 20;
/// Inline in the log, its border, extents, several segments of a part.
const SIZES: [usize; 7] = [0, 10, 32 << 10, (32 << 10) + 1, 300_000, 1 << 20, 6 << 20];
const ROUNDS: u64 = 3;
const PART_BYTES: usize = 5 << 20;
/// What a refusal must not touch: everything a volume is made of at its start.
const WITNESS_BYTES: usize = 5 << 20;

/// `devices`: true when everything held.
///
/// # Errors
/// When the server cannot be run, or a promise was broken: the message says which.
pub fn run(options: &Options) -> io::Result<bool> {
    let home = options.data.join(format!("devices-{}", options.seed));
    std::fs::create_dir_all(&home)?;
    let outcome = run_in(options, &home);
    if outcome.is_ok() {
        std::fs::remove_dir_all(&home)?;
    }
    outcome
}

fn run_in(options: &Options, home: &Path) -> io::Result<bool> {
    for sector_bytes in [512, 4096] {
        let started = Instant::now();
        let devices = ["a", "b"].map(|name| Loop::new(home, name, DEVICE_BYTES, sector_bytes));
        let [first, second] = match devices {
            [Ok(first), Ok(second)] => [first, second],
            [Err(why), _] | [_, Err(why)] => {
                println!("devices: SKIPPED, this machine gives no loop devices ({why})");
                return Ok(true);
            }
        };
        let (objects, kills) = store(options, home, &first, &second)?;
        let refusals = refusals(options, home, &first, sector_bytes)?;
        exchanged(options, home, &first, &second)?;
        println!(
            "devices: sectors of {sector_bytes}: {objects} objects over {kills} kills, {refusals} refusals, {:.1} s",
            started.elapsed().as_secs_f64()
        );
        for name in ["data", "other"] {
            let _ = std::fs::remove_dir_all(home.join(name));
        }
    }
    Ok(true)
}

/// A loop device and the file behind it.
pub struct Loop {
    /// Of the device.
    pub path: PathBuf,
    file: PathBuf,
}

impl Loop {
    /// A new one of `bytes`, its file in `home`.
    ///
    /// # Errors
    /// When the machine gives none: the message says why.
    pub fn new(home: &Path, name: &str, bytes: u64, sector_bytes: u32) -> io::Result<Self> {
        let file = home.join(format!("device-{name}"));
        let _ = std::fs::remove_file(&file);
        File::create(&file)?.set_len(bytes)?;
        let sector = format!("--sector-size={sector_bytes}");
        let output = Command::new("losetup").args(["--find", "--show", &sector]).arg(&file).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(Self { path: String::from_utf8_lossy(&output.stdout).trim().into(), file })
    }

    /// Its first bytes, as the device shows them.
    fn witness(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; WITNESS_BYTES];
        File::open(&self.path)?.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Zeros over the start, or bytes at some place of it.
    fn overwrite(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let device = File::options().write(true).open(&self.path)?;
        device.write_all_at(bytes, at)?;
        device.sync_all()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // The file goes with the folder; a device left behind would be found by `losetup -a`.
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

fn demand(holds: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if holds { Ok(()) } else { Err(io::Error::other(what())) }
}

fn setup(options: &Options, data: &Path, devices: &[&Path]) -> io::Result<Setup> {
    let mut setup = Setup::new(&options.binary, data)?;
    setup.flags = ["--memory", "256M", "--pg-count", "16"].map(str::to_owned).to_vec();
    for device in devices {
        setup.flags.extend(["--device".to_owned(), device.display().to_string()]);
    }
    Ok(setup)
}

/// Fills a store on two devices, kills it after every round, reads everything back. Objects and kills.
fn store(options: &Options, home: &Path, first: &Loop, second: &Loop) -> io::Result<(usize, u64)> {
    let setup = setup(options, &home.join("data"), &[&first.path, &second.path])?;
    let (log, mut random) = (home.join("server.log"), Random::new(options.seed));
    let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut client = Client::new(setup.listen);
    for round in 0..ROUNDS {
        // The last rounds have fewer cores than volumes: one core owns both devices.
        let (server, _) = setup.start(if round == 0 { 2 } else { 1 }, &log)?;
        if round == 0 {
            ok(client.request("PUT", "/devices", b""), "the bucket")?;
        }
        verify(&mut client, &expected)?;
        for (i, bytes) in SIZES.into_iter().enumerate() {
            let (key, body) = (format!("/devices/{}", random.below(10) * 10 + i as u64), random.bytes(bytes));
            ok(client.request("PUT", &key, &body), &key)?;
            expected.insert(key, body);
        }
        let (key, body) = (format!("/devices/parts-{round}"), random.bytes(2 * PART_BYTES + 77));
        multipart(&mut client, &key, &body)?;
        expected.insert(key, body);
        if let Some(gone) = expected.keys().next().cloned() {
            ok(client.request("DELETE", &gone, b""), &gone)?;
            expected.remove(&gone);
        }
        verify(&mut client, &expected)?;
        server.kill()?;
        client = Client::new(setup.listen);
    }
    let (server, _) = setup.start(2, &log)?;
    verify(&mut client, &expected)?;
    server.stop()?;
    Ok((expected.len(), ROUNDS))
}

fn ok(response: io::Result<crate::client::Response>, what: &str) -> io::Result<Vec<u8>> {
    let response = response?;
    demand(response.is_success(), || {
        format!("{what}: {} {}", response.status, String::from_utf8_lossy(&response.body))
    })?;
    Ok(response.body)
}

fn multipart(client: &mut Client, key: &str, body: &[u8]) -> io::Result<()> {
    let begun = ok(client.request("POST", &format!("{key}?uploads="), b""), key)?;
    let begun = String::from_utf8_lossy(&begun).into_owned();
    let id = elements(&begun, "UploadId").next().ok_or_else(|| io::Error::other("no UploadId"))?;
    let mut list = String::from("<CompleteMultipartUpload>");
    for (i, part) in body.chunks(PART_BYTES).enumerate() {
        let target = format!("{key}?partNumber={}&uploadId={id}", i + 1);
        let response = client.request("PUT", &target, part)?;
        let etag = response.header("etag").unwrap_or_default().to_owned();
        demand(response.is_success(), || format!("part {} of {key}: {}", i + 1, response.status))?;
        list += &format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", i + 1);
    }
    list += "</CompleteMultipartUpload>";
    ok(client.request("POST", &format!("{key}?uploadId={id}"), list.as_bytes()), key).map(drop)
}

fn verify(client: &mut Client, expected: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for (key, body) in expected {
        let got = ok(client.request("GET", key, b""), key)?;
        demand(got == *body, || format!("{key}: {} bytes came back changed", body.len()))?;
    }
    let listed = client.request("GET", "/devices?list-type=2", b"")?;
    let listed = String::from_utf8_lossy(&listed.body).into_owned();
    let keys: Vec<String> = elements(&listed, "Key").map(|key| format!("/devices/{key}")).collect();
    demand(keys.iter().eq(expected.keys()), || {
        format!("the listing has {} keys, not {}", keys.len(), expected.len())
    })
}

/// Starts a server that must refuse within one line that contains `cause`, and leave the device alone.
fn refused(options: &Options, home: &Path, devices: &[&Loop], cause: &str) -> io::Result<()> {
    let before = devices.iter().map(|device| device.witness()).collect::<io::Result<Vec<_>>>()?;
    let paths: Vec<&Path> = devices.iter().map(|device| device.path.as_path()).collect();
    let setup = setup(options, &home.join("other"), &paths)?;
    let said = says(&setup)?;
    demand(said.lines().count() == 1 && said.starts_with("stria: ") && said.contains(cause), || {
        format!("instead of one line about '{cause}' the server said: {said}")
    })?;
    let after = devices.iter().map(|device| device.witness()).collect::<io::Result<Vec<_>>>()?;
    demand(before == after, || format!("a device refused for '{cause}' was written to"))
}

/// What a server that does not start says.
fn says(setup: &Setup) -> io::Result<String> {
    let mut command = Command::new(&setup.binary);
    command.arg("serve").arg("--data").arg(&setup.data).args(["--cores", "2"]).args(&setup.flags);
    command.args(["--listen", &setup.listen.to_string(), "--admin-listen", &setup.admin.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + std::time::Duration::from_secs(60);
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("the server started, or did not end"));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let said = child.wait_with_output()?.stderr;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// Every device that must not become part of a new store.
fn refusals(options: &Options, home: &Path, used: &Loop, sector_bytes: u32) -> io::Result<u32> {
    refused(options, home, &[used], "another store")?;
    let small = Loop::new(home, "small", SMALL_BYTES, sector_bytes)?;
    refused(options, home, &[&small], "needs at least 256 MiB")?;
    let device = Loop::new(home, "c", DEVICE_BYTES, sector_bytes)?;
    refused(options, home, &[&device, &device], "given twice")?;
    let mut count = 3;
    let gpt = u64::from(sector_bytes);
    let marks: [(u64, &[u8], &str); 3] =
        [(0, b"XFSB", "an XFS file system"), (gpt, b"EFI PART", "GPT"), (0x1fe, b"\x55\xaa", "MBR")];
    for (at, bytes, cause) in marks {
        device.overwrite(at, bytes)?;
        refused(options, home, &[&device], cause)?;
        device.overwrite(at, &vec![0; bytes.len()])?;
        count += 1;
    }
    if done(Command::new("mkfs.ext4").arg("-q").arg(&device.path)) {
        refused(options, home, &[&device], "wipefs --all")?;
        count += 1;
        let mount = home.join("mount");
        std::fs::create_dir_all(&mount)?;
        if done(Command::new("mount").arg(&device.path).arg(&mount)) {
            let outcome = refused(options, home, &[&device], "in use");
            let _ = done(Command::new("umount").arg(&mount));
            outcome?;
            count += 1;
        }
        // The remedy that the refusal names works.
        if done(Command::new("wipefs").args(["--all", "--quiet"]).arg(&device.path)) {
            let _ = std::fs::remove_dir_all(home.join("other"));
            let setup = setup(options, &home.join("other"), &[&device.path])?;
            setup.start(1, &home.join("server.log"))?.0.stop()?;
        }
    }
    Ok(count)
}

fn done(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Another store's device, or an empty one, in the place of one of ours.
fn exchanged(options: &Options, home: &Path, first: &Loop, second: &Loop) -> io::Result<()> {
    let setup = setup(options, &home.join("data"), &[])?;
    let start = first.witness()?;
    first.overwrite(0, &second.witness()?)?;
    let said = says(&setup)?;
    demand(said.contains("in the place of volume 0"), || format!("an exchanged device: {said}"))?;
    first.overwrite(0, &vec![0; WITNESS_BYTES])?;
    let said = says(&setup)?;
    demand(said.contains("carries no store"), || format!("an empty device: {said}"))?;
    first.overwrite(0, &start)?;
    setup.start(2, &home.join("server.log"))?.0.stop()?;
    demand(first.file.exists(), || "the file behind a device is gone".to_owned())
}
