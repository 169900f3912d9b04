//! Each rule shown a tree that breaks it and one that does not.

use super::{Source, floors, sources, texts};

fn file(path: &str, text: &str) -> Vec<Source> {
    vec![Source { path: path.into(), text: text.into() }]
}

#[test]
fn a_file_without_a_header_is_named() {
    assert_eq!(sources::headers(&file("a.rs", "use x;")).len(), 1);
    assert!(sources::headers(&file("a.rs", "//! What it is.\n")).is_empty());
}

#[test]
fn long_files_and_functions_are_named() {
    assert_eq!(sources::file_lengths(&file("a.rs", &"x\n".repeat(601))).len(), 1);
    let function = |lines: usize| {
        format!("impl X {{\n    pub async fn long(&self) {{\n{}    }}\n}}\n", "        x;\n".repeat(lines))
    };
    assert_eq!(sources::function_lengths(&file("a.rs", &function(69))).len(), 1);
    assert!(sources::function_lengths(&file("a.rs", &function(68))).is_empty());
    let declared = format!("trait X {{\n    fn short(&self);\n}}\nfn f() {{\n{}}}\n", "    x;\n".repeat(60));
    assert!(sources::function_lengths(&file("a.rs", &declared)).is_empty());
}

#[test]
fn leftovers_and_machine_paths_are_named() {
    let word = ["FIX", "ME"].concat();
    assert_eq!(sources::banned_words(&file("a.rs", &word)).len(), 1);
    assert_eq!(sources::banned_words(&file("README.md", &["cd /wo", "rk/x"].concat())).len(), 1);
    assert!(sources::banned_words(&file("a.rs", "fn fixes_me() {}")).is_empty());
}

#[test]
fn a_renamed_function_makes_the_data_path_false() {
    let mut tree = file("docs/data-path.md", "first `Engine::put_object()`");
    assert_eq!(texts::data_path(&tree).len(), 1);
    tree.extend(file("a.rs", "pub async fn put_object(&self) {}"));
    assert!(texts::data_path(&tree).is_empty());
}

#[test]
fn a_feature_that_works_names_its_test() {
    let page = |state: &str, proof: &str| {
        file("docs/features.md", &format!("| API-01 | Buckets | {state} | {proof} |"))
    };
    assert!(texts::features(&page("works", "tools/e2e")).is_empty());
    assert_eq!(texts::features(&page("works", "")).len(), 1);
    assert_eq!(texts::features(&page("nearly", "x")).len(), 1);
    assert_eq!(
        texts::features(&file("docs/features.md", "| API-01 | a | not yet | |\n| API-01 | b | not yet | |"))
            .len(),
        1
    );
}

#[test]
fn a_dependency_without_its_line_is_named() {
    let mut tree = file(
        "Cargo.toml",
        "[workspace.dependencies]\nbytes = \"1\"\nstria-base = { path = \"x\" }\n\n[profile.dev]\n",
    );
    tree.extend(file("docs/dependencies.md", "| `crc-fast` | x |"));
    assert_eq!(texts::dependencies(&tree), ["docs/dependencies.md: no line for `bytes`"]);
}

#[test]
fn a_crate_that_depends_upwards_is_named() {
    let metadata = r#"{"packages": [
        {"name": "low", "metadata": {"floor": 1}, "dependencies": [{"name": "high", "kind": null}]},
        {"name": "high", "metadata": {"floor": 5}, "dependencies": [{"name": "low", "kind": null}]},
        {"name": "none", "metadata": null, "dependencies": []}
    ]}"#;
    let complaints = floors::check(metadata);
    assert_eq!(complaints.len(), 2, "{complaints:?}");
}
