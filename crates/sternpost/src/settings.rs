//! Where settings come from: a TOML file, the environment, the command line. Gathers them in layers of rising precedence; what a
//! name or a value means is the registry's work (`runtime::settings`).

use runtime::settings::{Given, NodeSettings, nearest, node_table, parse_node};
use std::path::{Path, PathBuf};

/// Environment variables that begin so are settings.
const PREFIX: &str = "STERNPOST_";
/// Names that begin so leave it out in the environment.
const OWN: &str = "sternpost.";
/// Variables of other words than `serve`: no settings.
const OTHER_WORDS: &[&str] = &["STERNPOST_BOOTSTRAP_SERVER"];
/// Variables that a Kubernetes service called "sternpost" puts into every container beside it: no settings.
const KUBERNETES: &[&str] = &["STERNPOST_SERVICE_", "STERNPOST_PORT"];

/// Settings on the command line.
#[derive(clap::Args, Debug, Default)]
pub struct SettingArgs {
    /// TOML file with settings under Kafka's names (docs/configuration.md)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, under Kafka's name; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Directory that holds everything; made on first start (log.dirs)
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<String>,
    /// Address for Kafka clients; an empty host means all interfaces (listeners)
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Address that clients are told to connect to (advertised.listeners)
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Address of /metrics, /livez and /readyz, or "off" (sternpost.http.listener)
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
}

/// All layers together, with remarks for the log.
///
/// # Errors
/// One clear sentence; nothing was changed.
pub fn settings(
    args: &SettingArgs,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(NodeSettings, Vec<String>), String> {
    let file = args.config.as_deref().map(from_file).transpose()?.unwrap_or_default();
    parse_node(&[file, from_environment(environment)?, from_command_line(args)?])
}

fn from_file(path: &Path) -> Result<Vec<Given>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let place = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        format!("{shown} is no TOML: line {place}: {}", error.message())
    })?;
    let mut given = Vec::new();
    flatten(&shown.to_string(), "", &table, &mut given)?;
    Ok(given)
}

/// `log.retention.ms = 1`, `"log.retention.ms" = 1` and `[log.retention]` with `ms = 1` are the same.
fn flatten(origin: &str, prefix: &str, table: &toml::Table, given: &mut Vec<Given>) -> Result<(), String> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let value = match value {
            toml::Value::Table(inner) => {
                flatten(origin, &name, inner, given)?;
                continue;
            }
            toml::Value::Array(items) => {
                let words: Option<Vec<String>> = items.iter().map(scalar).collect();
                words.map(|words| words.join(","))
            }
            other => scalar(other),
        };
        let value = value.ok_or_else(|| {
            format!("{origin}: {name} must be a string, a number, true, false or a list of such")
        })?;
        given.push(Given { name, value, origin: origin.to_string() });
    }
    Ok(())
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn from_environment(environment: impl Iterator<Item = (String, String)>) -> Result<Vec<Given>, String> {
    let mut given = Vec::new();
    for (variable, value) in environment {
        if !variable.starts_with(PREFIX)
            || OTHER_WORDS.contains(&&*variable)
            || KUBERNETES.iter().any(|start| variable.starts_with(start))
        {
            continue;
        }
        let Some(name) = node_table().map(|setting| setting.name).find(|name| variable_of(name) == variable)
        else {
            let wrong = variable[PREFIX.len()..].to_ascii_lowercase().replace('_', ".");
            return Err(match nearest(&wrong, node_table().map(|setting| setting.name)) {
                Some(near) => format!(
                    "the environment variable {variable} names no setting; did you mean {}?",
                    variable_of(near)
                ),
                None => format!(
                    "the environment variable {variable} names no setting; docs/configuration.md lists all of them"
                ),
            });
        };
        given.push(Given {
            name: name.to_string(),
            value,
            origin: format!("the environment variable {variable}"),
        });
    }
    Ok(given)
}

/// The environment variable of a setting.
fn variable_of(name: &str) -> String {
    let rest = name.strip_prefix(OWN).unwrap_or(name);
    format!("{PREFIX}{}", rest.to_ascii_uppercase().replace('.', "_"))
}

fn from_command_line(args: &SettingArgs) -> Result<Vec<Given>, String> {
    let mut given = Vec::new();
    for pair in &args.set {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(format!("--set wants name=value, not {pair:?}"));
        };
        given.push(Given {
            name: name.trim().to_string(),
            value: value.to_string(),
            origin: "--set".to_string(),
        });
    }
    let flags = [
        ("--data-dir", "log.dirs", &args.data_dir),
        ("--listen", "listeners", &args.listen),
        ("--advertise", "advertised.listeners", &args.advertise),
        ("--http", "sternpost.http.listener", &args.http),
    ];
    for (flag, name, value) in flags {
        if let Some(value) = value {
            given.push(Given { name: name.to_string(), value: value.clone(), origin: flag.to_string() });
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn layers_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        let text = "\"log.retention.ms\" = 5\nnum.partitions = 2\nlisteners = [\":7000\"]\n[log.segment]\nbytes = 2000000\n[sternpost.http]\nlistener = \"off\"\n";
        std::fs::write(&path, text).unwrap();
        let args = SettingArgs {
            config: Some(path),
            listen: Some(":7002".into()),
            set: vec!["num.partitions=4".into()],
            ..SettingArgs::default()
        };
        let variables = environment(&[
            ("STERNPOST_NUM_PARTITIONS", "3"),
            ("STERNPOST_LISTENERS", ":7001"),
            ("STERNPOST_PORT_9092_TCP", "x"),
            ("STERNPOST_BOOTSTRAP_SERVER", "localhost:9092"),
            ("HOME", "/"),
        ]);
        let (settings, _) = settings(&args, variables).unwrap();
        assert_eq!(settings.num_partitions, 4);
        assert_eq!(settings.listener.port, 7002);
        assert_eq!(settings.http, None);
        assert_eq!(settings.value("log.retention.ms"), Some("5"));
        assert_eq!(settings.value("log.segment.bytes"), Some("2000000"));
    }

    #[test]
    fn refusals_are_one_sentence() {
        let refused = |args: &SettingArgs, pairs: &[(&str, &str)], part: &str| {
            let why = settings(args, environment(pairs)).expect_err("refused");
            assert!(why.contains(part), "{why}");
            assert!(!why.contains('\n'), "{why}");
        };
        let plain = SettingArgs::default();
        refused(&plain, &[("STERNPOST_NUM_PARTITION", "3")], "STERNPOST_NUM_PARTITIONS?");
        refused(
            &SettingArgs { set: vec!["num.partitions".into()], ..SettingArgs::default() },
            &[],
            "name=value",
        );
        let both = SettingArgs {
            set: vec!["listeners=:1".into()],
            listen: Some(":2".into()),
            ..SettingArgs::default()
        };
        refused(&both, &[], "given twice");
        let twins = SettingArgs {
            set: vec!["log.dir=a".into()],
            data_dir: Some("b".into()),
            ..SettingArgs::default()
        };
        refused(&twins, &[], "contradict");
        refused(
            &SettingArgs { config: Some("/nowhere/at/all.toml".into()), ..SettingArgs::default() },
            &[],
            "cannot read",
        );
        let directory = tempfile::tempdir().unwrap();
        for (text, part) in [
            ("a = = 1", "is no TOML: line 1"),
            ("num.partitions = 1979-05-27", "must be a string"),
            ("nun.partitions = 1", "did you mean num.partitions?"),
        ] {
            let path = directory.path().join("bad.toml");
            std::fs::write(&path, text).unwrap();
            refused(&SettingArgs { config: Some(path), ..SettingArgs::default() }, &[], part);
        }
    }

    #[test]
    fn every_setting_has_its_own_variable() {
        let mut variables: Vec<String> = node_table().map(|setting| variable_of(setting.name)).collect();
        let count = variables.len();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), count);
    }
}
