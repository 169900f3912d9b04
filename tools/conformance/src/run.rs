//! Runs cases on a few threads, each case on buckets and a connection of its own.
//!
//! Invariant: what a case made is removed, whatever came of it. Any thread.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{
    check::{check, elements},
    expand::{Names, expand},
    http::{Answer, Connection},
    request::Request,
    script::{Case, Step},
    target::Target,
};

const THREADS: usize = 8;
/// Buckets a case may make: `{bucket}`, made for it, and these two.
const BUCKETS: [&str; 3] = ["bucket", "bucket2", "bucket3"];

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Skipped,
    /// What did not hold, at which request, and the answer.
    Failed(String),
}

/// Runs them all. In the order of `cases`.
pub fn run(target: &Target, cases: &[Case]) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let prefix = format!("cf-{:08x}", random());
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Relaxed);
            let Some(case) = cases.get(at) else { return done };
            done.push((at, one(target, case, &format!("{prefix}-{at}"))));
        }
    };
    let mut all: Vec<(usize, Verdict)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a case reports, it never panics"))
            .collect()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, verdict)| verdict).collect()
}

fn random() -> u32 {
    getrandom::u32().unwrap_or(std::process::id())
}

fn one(target: &Target, case: &Case, bucket: &str) -> Verdict {
    if !case.needs.iter().all(|need| target.offers(need)) {
        return Verdict::Skipped;
    }
    let mut names = Names::new();
    for (at, name) in BUCKETS.iter().enumerate() {
        let name_of = if at == 0 { bucket.to_owned() } else { format!("{bucket}-{}", at + 1) };
        names.insert((*name).into(), name_of);
    }
    names.insert("access_key".into(), target.access_key.clone());
    names.insert("region".into(), target.region.clone());
    names.insert("address".into(), target.address.clone());
    names.insert("alt_email".into(), target.alt_email.clone().unwrap_or_default());
    names.insert("domain".into(), target.domain.clone().unwrap_or_default());
    let mut session = Session { target, connection: None };
    let made = session.send(&["PUT /".into()], &names).map(|(answer, _)| answer.status);
    let mut verdict = match made {
        Ok(200) => Verdict::Passed,
        other => Verdict::Failed(format!("the bucket cannot be made: {other:?}")),
    };
    for step in &case.steps {
        if verdict == Verdict::Passed {
            verdict = session.step(step, &mut names);
        }
    }
    for name in BUCKETS {
        session.remove(&names[name], &names);
    }
    verdict
}

struct Session<'a> {
    target: &'a Target,
    connection: Option<Connection>,
}

impl Session<'_> {
    fn step(&mut self, step: &Step, names: &mut Names) -> Verdict {
        let (answer, method) = match self.send(&step.request, names) {
            Ok(answer) => answer,
            Err(error) if step.expected.first().is_some_and(|expected| expected == "nothing") => {
                self.connection = None;
                let closed = error.starts_with("closed");
                return if closed { Verdict::Passed } else { Verdict::Failed(error) };
            }
            Err(error) => return Verdict::Failed(format!("{}\n    {error}", step.request.join(" | "))),
        };
        let default = [String::from("200/204")];
        let expected = if step.expected.is_empty() { &default[..] } else { &step.expected };
        let Some(connection) = &mut self.connection else { return Verdict::Failed("no connection".into()) };
        let verdict = check(expected, &method, &answer, connection, names);
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if closes || expected.iter().any(|demand| demand == "closed") {
            self.connection = None;
        }
        verdict.map_or_else(
            |why| {
                let request: String = expand(names, &step.request.join(" | ")).chars().take(1500).collect();
                let body: String = answer.text().chars().take(1500).collect();
                let (status, headers) = (answer.status, &answer.headers);
                Verdict::Failed(format!("{why}\n    {request}\n    {status} {headers:?}\n    {body}"))
            },
            |()| Verdict::Passed,
        )
    }

    fn send(&mut self, segments: &[String], names: &Names) -> Result<(Answer, String), String> {
        let mut signer = self.target.signer();
        let request = Request::parse(segments, names, self.target, &mut signer)?;
        let (method, expects, ends) = (request.method.clone(), request.expects, request.ends);
        let (head, body) = request.encode(&self.target.address, &signer);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.target.address)?),
        };
        connection.write(&head);
        if expects {
            let first = connection.head()?;
            if first.status != 100 {
                return Ok((connection.body(&method, first)?, method));
            }
        }
        connection.write(&body);
        if ends {
            connection.end_writing();
        }
        let mut answer = connection.answer(&method)?;
        answer.continued |= expects;
        Ok((answer, method))
    }

    /// Removes a bucket and all in it; one that is not there is as good.
    fn remove(&mut self, bucket: &str, names: &Names) {
        self.connection = None;
        for _ in 0..8 {
            let done = self.send(&[format!("DELETE //{bucket}")], names);
            if !matches!(&done, Ok((answer, _)) if answer.status == 409) {
                return;
            }
            let listed = self.send(&[format!("GET //{bucket}?versions&encoding-type=url")], names);
            let text = listed.map(|(answer, _)| answer.text()).unwrap_or_default();
            for kind in ["Version", "DeleteMarker"] {
                let (keys, ids) =
                    (elements(&text, &format!("{kind}/Key")), elements(&text, &format!("{kind}/VersionId")));
                for (key, id) in keys.iter().zip(&ids) {
                    let key = key.replace('+', "%20");
                    let _ = self.send(&[format!("DELETE //{bucket}/{key}?versionId={id}")], names);
                }
            }
        }
    }
}
