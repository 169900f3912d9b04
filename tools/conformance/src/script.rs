//! Reads case files: ids, rules, requests and what must come back.
//!
//! Invariant: a line that is not understood is an error, never skipped. Any thread.
//!
//! ```text
//! table                          case area.name: the rule           needs alt
//!                                PUT /key?query | header: value | @flag value | =body
//!                                > 200 | header: value | <Element>=text | $name=header etag
//! rows                           one ;; two ;; three                end
//! ```

/// A request and what must come back.
#[derive(Clone, Debug)]
pub struct Step {
    /// Method and target, then headers, flags and body.
    pub request: Vec<String>,
    /// Status and code, then what has to hold.
    pub expected: Vec<String>,
}

/// One documented rule.
#[derive(Clone, Debug)]
pub struct Case {
    pub id: String,
    pub rule: String,
    /// What an endpoint has to offer beside one account.
    pub needs: Vec<String>,
    pub steps: Vec<Step>,
}

impl Case {
    /// The id's first word.
    pub fn area(&self) -> &str {
        self.id.split('.').next().unwrap_or("")
    }
}

fn segments(line: &str) -> Vec<String> {
    line.split(" | ").map(|part| part.trim_end().to_owned()).collect()
}

/// Writes each row's columns into the lines above it.
fn unroll(text: &str) -> Result<Vec<String>, String> {
    let (mut out, mut template, mut in_table, mut in_rows) = (Vec::new(), Vec::new(), false, false);
    for line in text.lines() {
        match line.trim() {
            "table" => (in_table, template) = (true, Vec::new()),
            "rows" if in_table => in_rows = true,
            "end" if in_rows => (in_table, in_rows) = (false, false),
            "" => {}
            row if in_rows => {
                let columns: Vec<&str> = row.split(";;").map(str::trim).collect();
                for pattern in &template {
                    let fill = |line: String, (at, column): (usize, &&str)| {
                        line.replace(&format!("{{{at}}}"), column)
                    };
                    let line = columns.iter().enumerate().fold(String::clone(pattern), fill);
                    if (0..9).any(|at| line.contains(&format!("{{{at}}}"))) {
                        return Err(format!("too few columns: {row}"));
                    }
                    out.push(line);
                }
            }
            _ if in_table => template.push(line.to_owned()),
            _ => out.push(line.to_owned()),
        }
    }
    if in_table { Err("a table without end".into()) } else { Ok(out) }
}

/// The cases of a file.
///
/// # Errors
/// The line that is not understood.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for line in unroll(text)? {
        let line = line.trim();
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        if let Some(title) = line.strip_prefix("case ") {
            let (id, rule) = title.split_once(": ").ok_or_else(|| format!("no rule: {line}"))?;
            cases.push(Case { id: id.into(), rule: rule.into(), needs: Vec::new(), steps: Vec::new() });
            continue;
        }
        let case = cases.last_mut().ok_or_else(|| format!("outside a case: {line}"))?;
        if let Some(need) = line.strip_prefix("needs ") {
            case.needs.push(need.to_owned());
        } else if let Some(expected) = line.strip_prefix("> ") {
            let step = case.steps.last_mut().filter(|step| step.expected.is_empty());
            step.ok_or_else(|| format!("no request before: {line}"))?.expected = segments(expected);
        } else {
            case.steps.push(Step { request: segments(line), expected: Vec::new() });
        }
    }
    let mut ids: Vec<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two cases are called {}", pair[0]));
    }
    match cases.iter().find(|case| case.steps.last().is_none_or(|step| step.expected.is_empty())) {
        Some(case) => Err(format!("{} demands nothing at its end", case.id)),
        None => Ok(cases),
    }
}
