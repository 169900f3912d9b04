//! docs/config.md, from the table.

use super::table::{Kind, OPTIONS, Scope, env_name};

/// The whole page. `cargo xtask ci` fails when docs/config.md differs from it.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Generated from `src/config/table.rs` by `stria options --markdown`; do not edit.\n\n\
         Every option is a flag (`--name VALUE`), an environment variable and a key of the TOML file given by\n\
         `--config FILE` (or `STRIA_CONFIG`). A flag wins over the environment, the environment over the file.\n\
         Sizes take K, M, G or T (binary), times s, m, h or d. Options of scope *store* are fixed when the store is made; all others\n\
         are read at start. In the file `_` may stand for `-`, the names of S3 may stand in a table `[s3]` (`s3.region`), and\n\
         `[lifecycle]` `day_seconds` is `lifecycle-day-seconds`.\n\n\
         | option | environment | value | default | scope | meaning |\n|---|---|---|---|---|---|\n",
    );
    for option in OPTIONS {
        let value = match option.kind {
            Kind::Path => "path".to_owned(),
            Kind::Paths => "paths, repeatable".to_owned(),
            Kind::Address => "host:port".to_owned(),
            Kind::Count { min, max } => format!("{min} to {max}"),
            Kind::Size { min, .. } => format!("size, at least {}", super::print_size(min)),
            Kind::Choice(words) => words.join(", "),
            Kind::Duration { .. } => "time: s, m, h, d".to_owned(),
            Kind::Bool => "true, false".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Texts => "texts, repeatable".to_owned(),
            Kind::Secret => "text, never logged".to_owned(),
        };
        let scope = match option.scope {
            Scope::Store => "store",
            Scope::Node => "node",
        };
        let default =
            if option.default.is_empty() { "–".to_owned() } else { format!("`{}`", option.default) };
        page.push_str(&format!(
            "| `--{}` | `{}` | {value} | {default} | {scope} | {} |\n",
            option.name,
            env_name(option),
            option.help
        ));
    }
    page.push_str(IDENTITIES);
    page
}

const IDENTITIES: &str = "
## Accounts

The file may have any number of tables `[[identity]]`, each an account or a user of one, beside the root credentials. All share
one namespace of buckets. The owner of a bucket, and every identity of his account, may do everything to it; others
what its access control lists allow. Root is the operator and may use every bucket.

```toml
[[identity]]
name = \"alice\"                  # what people call it
access_key = \"AKALICE\"
secret_key = \"...\"              # never logged
canonical_id = \"...\"            # shown as owner; made up from the account or the access key when left out
display_name = \"Alice\"          # shown as owner; the name when left out
email = \"alice@example.com\"     # unique
account = \"111122223333\"        # identities of one account own what any of them made
tenant = \"\"
root = false                      # whether it is the root user of its account
```
";
