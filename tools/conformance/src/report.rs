//! What a run found: a table by area, the failures, and files for machines.
//!
//! Invariant: every case is in exactly one column. Any thread.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::{run::Verdict, script::Case};

/// How many of an area passed, failed, were skipped.
type Areas<'a> = BTreeMap<&'a str, [usize; 3]>;

fn areas<'a>(cases: &'a [Case], verdicts: &[Verdict]) -> Areas<'a> {
    let mut areas = Areas::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        let column = match verdict {
            Verdict::Passed => 0,
            Verdict::Failed(_) => 1,
            Verdict::Skipped => 2,
        };
        areas.entry(case.area()).or_default()[column] += 1;
    }
    areas
}

/// The table and the failures, for a reader.
pub fn table(cases: &[Case], verdicts: &[Verdict], took: Duration) -> String {
    let mut out = String::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        if let Verdict::Failed(why) = verdict {
            let _ = writeln!(out, "FAILED {}: {}\n    {why}\n", case.id, case.rule);
        }
    }
    let _ = writeln!(out, "| area | passed | failed | skipped |\n|---|---|---|---|");
    let mut all = [0; 3];
    for (area, counts) in areas(cases, verdicts) {
        let _ = writeln!(out, "| {area} | {} | {} | {} |", counts[0], counts[1], counts[2]);
        (0..3).for_each(|at| all[at] += counts[at]);
    }
    let _ = writeln!(out, "| **all** | {} | {} | {} |", all[0], all[1], all[2]);
    let _ = writeln!(out, "\n{} cases in {:.1} s", cases.len(), took.as_secs_f64());
    out
}

fn escape(text: &str) -> String {
    let named = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;")];
    let text: String = text.chars().filter(|one| !one.is_control() || *one == '\n').collect();
    named.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// As JUnit XML.
pub fn junit(cases: &[Case], verdicts: &[Verdict]) -> String {
    let failed = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Failed(_))).count();
    let mut out =
        format!("<testsuite name=\"conformance\" tests=\"{}\" failures=\"{failed}\">\n", cases.len());
    for (case, verdict) in cases.iter().zip(verdicts) {
        let inner = match verdict {
            Verdict::Passed => String::new(),
            Verdict::Skipped => "<skipped/>".into(),
            Verdict::Failed(why) => format!("<failure>{}</failure>", escape(why)),
        };
        let _ =
            writeln!(out, "<testcase classname=\"{}\" name=\"{}\">{inner}</testcase>", case.area(), case.id);
    }
    out.push_str("</testsuite>\n");
    out
}

fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for one in text.chars() {
        match one {
            '"' | '\\' => out.extend(['\\', one]),
            one if one.is_control() => {
                let _ = write!(out, "\\u{:04x}", one as u32);
            }
            one => out.push(one),
        }
    }
    out.push('"');
    out
}

/// As a JSON array of `{id, rule, verdict, why}`.
pub fn json(cases: &[Case], verdicts: &[Verdict]) -> String {
    let row = |(case, verdict): (&Case, &Verdict)| {
        let (name, why) = match verdict {
            Verdict::Passed => ("passed", ""),
            Verdict::Skipped => ("skipped", ""),
            Verdict::Failed(why) => ("failed", why.as_str()),
        };
        let (id, rule, why) = (json_text(&case.id), json_text(&case.rule), json_text(why));
        format!("{{\"id\":{id},\"rule\":{rule},\"verdict\":\"{name}\",\"why\":{why}}}")
    };
    let rows: Vec<String> = cases.iter().zip(verdicts).map(row).collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}
