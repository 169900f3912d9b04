//! More keys than the index has memory for: everything is found, listed, overwritten, versioned and deleted as ever.

use crate::{client::*, server::Server};

/// Rows of so many keys take several times the memory the index gets.
const KEYS: usize = 7_000;
const FLAGS: [&str; 2] = ["--index-memory", "1M"];

fn name(nth: usize) -> String {
    // Long enough, and with little in common, so that a few thousand are too many.
    format!("folder-{:02}/{nth:06}-{}", nth % 16, md5_hex(&nth.to_le_bytes()).repeat(4))
}

fn requests(port: u16, requests: impl Iterator<Item = Request>, method: &str, status: u16) -> Vec<Answer> {
    let mut connection = Connection::open_to(port);
    let one = |request: Request| {
        connection.write(&request.bytes());
        connection.answer(method).expect(status)
    };
    requests.map(one).collect()
}

fn listed(port: u16) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(&format!("/many?list-type=2&start-after={}", after.replace('/', "%2F")));
        let page = page.send_to(port).expect(200);
        found.extend(elements(&page.text(), "Key"));
        if page.element("IsTruncated").as_deref() == Some("false") {
            return found;
        }
        after = found.last().cloned().unwrap_or_default();
    }
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = get("/metrics").send_to(server.ports.admin).text();
    let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    text.lines().filter(of).filter_map(value).sum()
}

fn check(server: &Server, gone: usize) {
    let port = server.ports.s3;
    let there = |nth: &usize| *nth >= gone;
    let mut wanted: Vec<String> = (0..KEYS).filter(there).map(name).collect();
    wanted.sort();
    assert_eq!(listed(port), wanted);
    let probe = (0..KEYS).step_by(7);
    let found = requests(
        port,
        probe.clone().filter(there).map(|nth| get(&format!("/many/{}", name(nth)))),
        "GET",
        200,
    );
    for (nth, answer) in probe.clone().filter(there).zip(found) {
        answer.expect_body(format!("body {nth}").as_bytes());
    }
    let missing = probe.map(|nth| get(&format!("/many/{}x", name(nth))));
    requests(port, missing, "GET", 404);
}

#[test]
fn keys_beyond_the_memory_of_the_index() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(folder.path(), &FLAGS);
    let port = server.ports.s3;
    put("/many", "").send_to(port).expect(200);
    let puts = (0..KEYS).map(|nth| put(&format!("/many/{}", name(nth)), format!("body {nth}")));
    requests(port, puts, "PUT", 200);
    check(&server, 0);
    let (all, in_memory) = (metric(&server, "stria_rows"), metric(&server, "stria_rows_in_memory"));
    assert_eq!(all as usize, KEYS);
    assert!(in_memory * 1.5 < all, "{in_memory} of {all} rows in memory");
    assert!(metric(&server, "stria_index_bytes") < (1 << 20) as f64);
    // What was left to runs is found by conditions, overwritten and deleted.
    put(&format!("/many/{}", name(70)), "x").with("if-none-match", "*").send_to(port).expect(412);
    requests(port, (0..100).map(|nth| delete(&format!("/many/{}", name(nth)))), "DELETE", 204);
    check(&server, 100);
    server.stop();
    let mut server = Server::start_with(folder.path(), &FLAGS);
    check(&server, 100);
    assert!(metric(&server, "stria_pgs_paged") > 0.0, "a start keeps to the budget");
    let port = server.ports.s3;
    requests(port, (100..200).map(|nth| delete(&format!("/many/{}", name(nth)))), "DELETE", 204);
    server.signal("KILL");
    server.wait();
    check(&Server::start_with(folder.path(), &FLAGS), 200);
    // With memory for all of them again.
    let server = Server::start(folder.path());
    check(&server, 200);
    assert_eq!(metric(&server, "stria_pgs_paged") as usize, 0);
}
