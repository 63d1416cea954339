//! docs/configuration.md, written from the registry.

use super::inert_table::INERT;
use super::node_table::ACTIVE;
use super::setting::{Change, Setting, kind_name};
use super::topic_table::TOPIC;
use std::fmt::Write;

const HEAD: &str = "# Configuration

This page is written from the registry in `crates/broker/src/config` (a test keeps it current; set `STERNPOST_WRITE_DOCS=1` for that
test to write it anew). Names, units, defaults and ranges are Apache Kafka 4.4's wherever the meaning exists here.

## Where values come from

A later source wins over an earlier one:

1. the registry's default,
2. a TOML file, `sternpost serve --config sternpost.toml`: each name as a key, quoted (`\"log.retention.ms\" = 86400000`) or as
   nested tables (`[log.retention]`, `ms = 86400000`),
3. the environment: `STERNPOST_` and the name in capitals with `_` for `.` (`STERNPOST_LOG_RETENTION_MS=86400000`); names that begin
   with `sternpost.` are not given the word twice (`STERNPOST_HTTP_LISTENER=off`),
4. the command line: `--set name=value`, or the flags `--data-dir` (log.dirs), `--listen` (listeners), `--advertise`
   (advertised.listeners) and `--http` (sternpost.http.listener),
5. at run time, for settings marked dynamic: `AlterConfigs` for all nodes, then for one node, then (topic settings) for the topic.

An unknown name, an illegal value and two different values for one thing in one source are refused before anything is changed.
A name that Apache Kafka knows and that has no meaning here is accepted with a line in the log.

";

/// The whole page.
pub fn configuration_page() -> String {
    let mut page = HEAD.to_string();
    page.push_str("## Topic settings with effect\n\nAll are dynamic. \"Node setting\" is what counts when the topic has no value of its own.\n\n");
    page.push_str(
        "| name | kind | default | range | node setting | meaning |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in TOPIC.iter().filter(|row| row.setting.effect) {
        let synonyms: Vec<String> = row.synonyms.iter().map(|(name, _)| format!("`{name}`")).collect();
        line(&mut page, &row.setting, &synonyms.join(", "));
    }
    page.push_str("\n## Node settings with effect\n\n");
    page.push_str(
        "| name | kind | default | range | change | meaning |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let mut active: Vec<&Setting> = ACTIVE.iter().filter(|setting| setting.effect).collect();
    active.sort_by_key(|setting| setting.name);
    for setting in active {
        line(&mut page, setting, change_name(setting.change));
    }
    page.push_str("\n## Topic settings without effect\n\nAccepted, checked and shown.\n\n");
    page.push_str(
        "| name | kind | default | range | node setting | why |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in TOPIC.iter().filter(|row| !row.setting.effect) {
        let synonyms: Vec<String> = row.synonyms.iter().map(|(name, _)| format!("`{name}`")).collect();
        line(&mut page, &row.setting, &synonyms.join(", "));
    }
    page.push_str(
        "\n## Node settings without effect\n\nAccepted, checked and shown, with a line in the log.\n\n",
    );
    page.push_str(
        "| name | kind | default | range | change | why |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for setting in ACTIVE.iter().filter(|setting| !setting.effect).chain(INERT) {
        line(&mut page, setting, change_name(setting.change));
    }
    page
}

fn change_name(change: Change) -> &'static str {
    match change {
        Change::ReadOnly => "restart",
        Change::Dynamic => "dynamic",
    }
}

fn line(page: &mut String, setting: &Setting, middle: &str) {
    let default = match setting.default {
        None => "unset".to_string(),
        Some("") => "empty".to_string(),
        Some(value) => format!("`{value}`"),
    };
    writeln!(
        page,
        "| `{}` | {} | {default} | {} | {middle} | {} |",
        setting.name,
        kind_name(setting.kind),
        setting.range.text(),
        setting.doc
    )
    .expect("writing to a string");
}
