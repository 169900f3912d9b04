//! The documented rules of S3, one case each, asked of any endpoint: bytes out; status, headers and XML in.
//!
//! Invariant: exits 0 only when no case failed and at least one passed. Deliberately absent: every crate of
//! the server, so that a mistake it makes twice cannot hide.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a tool is no data core")]

mod check;
mod date;
mod digest;
mod expand;
mod form;
mod http;
mod options;
mod report;
mod request;
mod run;
mod script;
mod server;
mod sign;
mod target;

use std::{process::ExitCode, time::Instant};

use options::Options;
use run::Verdict;
use script::Case;
use server::Server;

const HELP: &str = "\
stria-conformance [--endpoint http://HOST:PORT --access-key KEY --secret-key SECRET] [--region REGION]
                  [--alt-access-key KEY --alt-secret-key SECRET [--alt-email ADDRESS]] [--domain DOMAIN]
                  [--binary PATH]
                  [--filter AREA|CASE[,...]] [--junit FILE] [--json FILE] [--list]
Without --endpoint a `stria serve` is started on a temporary directory.
";

macro_rules! files {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../cases/", $name, ".cases")))),*] };
}

fn cases(filters: &[String]) -> Result<Vec<Case>, String> {
    let files = files!("acl" "replication" "schema" "auth" "batch" "config" "errors" "http" "post" "checksums" "copy" "tagging" "versions" "buckets" "conditionals" "listing" "multipart" "objects" "ranges");
    let mut all = Vec::new();
    for (name, text) in files {
        all.extend(script::parse(text).map_err(|error| format!("{name}: {error}"))?);
    }
    all.retain(|case| {
        let is_meant = |filter: &String| case.area() == filter || case.id.starts_with(filter.as_str());
        filters.is_empty() || filters.iter().any(is_meant)
    });
    Ok(all)
}

fn judge(options: &Options) -> Result<bool, String> {
    let cases = cases(&options.filters)?;
    if options.lists {
        cases.iter().for_each(|case| println!("{}: {}", case.id, case.rule));
        return Ok(true);
    }
    let given = options.target()?;
    let server = if given.is_none() { Some(Server::start(&options.binary)?) } else { None };
    let target = given.or_else(|| server.as_ref().map(|server| server.target.clone()));
    let target = target.ok_or("no endpoint")?;
    let start = Instant::now();
    let verdicts = run::run(&target, &cases);
    print!("{}", report::table(&cases, &verdicts, start.elapsed()));
    for (path, text) in
        [(&options.junit, report::junit(&cases, &verdicts)), (&options.json, report::json(&cases, &verdicts))]
    {
        if let Some(path) = path {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    let failed = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Failed(_)));
    Ok(!failed && verdicts.contains(&Verdict::Passed))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&words) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match judge(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
#[cfg(test)]
mod tests {
    #[test]
    fn every_file_is_understood_and_ids_differ() {
        let cases = super::cases(&[]).expect("well-formed files");
        let mut ids: Vec<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
