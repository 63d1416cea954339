//! The words of the command line against a real node: what they print, in text and JSON, and what they say when something
//! is wrong.

use crate::node::{Node, PATIENCE, binary};
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// A node and its data directory.
struct Cluster {
    node: Node,
    _directory: TempDir,
}

/// What a word has said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Cluster {
    fn start() -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::start(&directory.path().join("data"), &["group.initial.rebalance.delay.ms=0"]);
        Cluster { node, _directory: directory }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        binary()
            .args(arguments)
            .env("STERNPOST_BOOTSTRAP_SERVER", self.node.address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    fn fed(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.spawn(arguments);
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the word reads");
        ended(child)
    }

    fn say(&self, arguments: &[&str]) -> Said {
        self.fed(arguments, "")
    }

    /// What a word that succeeds prints.
    fn stdout(&self, arguments: &[&str]) -> String {
        let said = self.say(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
        said.stdout
    }

    /// The JSON that a word prints.
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        serde_json::from_str(&self.stdout(&all)).expect("one JSON value")
    }

    /// A word must fail with one sentence in which all of these stand.
    fn refused(&self, arguments: &[&str], parts: &[&str]) {
        let said = self.say(arguments);
        assert_eq!(said.code, Some(1), "{arguments:?}: {}{}", said.stdout, said.stderr);
        let errors: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", said.stderr);
        for part in parts {
            assert!(errors[0].contains(part), "{:?} lacks {part:?}", errors[0]);
        }
    }
}

fn ended(child: Child) -> Said {
    let output = child.wait_with_output().expect("the word ends");
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_cluster_of_one_is_healthy_and_needs_its_node() {
    let cluster = Cluster::start();
    cluster.stdout(&["topic", "create", "flights", "--partitions", "3"]);
    let told = cluster.stdout(&["cluster", "status"]);
    for line in [
        "NODE  ADDRESS",
        "1 topic, 3 partitions: 0 without a leader, 0 under-replicated, 0 under min.insync.replicas, 3 at it",
        "healthy: yes",
        "safe to take the next node down: no (node 1: 3 partitions would keep no majority of replicas in sync",
    ] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
    cluster
        .refused(&["cluster", "status", "--safe-to-stop"], &["not safe to take the next node down: node 1"]);
    let told = cluster.json(&["cluster", "status"]);
    assert_eq!((&told["healthy"], &told["nodes"][0]["leads"]), (&true.into(), &3.into()));
}

#[test]
fn a_topic_from_its_making_to_its_end() {
    let cluster = Cluster::start();
    let made = cluster.stdout(&[
        "topic",
        "create",
        "flights",
        "--partitions",
        "3",
        "--config",
        "retention.ms=1000000",
    ]);
    assert_eq!(made, "created topic flights with 3 partitions and 1 replica\n");
    cluster.stdout(&["topic", "create", "flights", "--if-not-exists"]);
    assert_eq!(cluster.stdout(&["topic", "list"]), "TOPIC    PARTITIONS  REPLICAS\nflights  3           1\n");
    let told = cluster.json(&["topic", "describe", "flights"]);
    assert_eq!(told[0]["configs"][0]["name"], "retention.ms");
    assert_eq!(told[0]["configs"][0]["source"], "topic");
    assert_eq!(told[0]["partitions"][2]["end_offset"], 0);
    let could = cluster.stdout(&["topic", "alter", "flights", "--partitions", "5", "--dry-run"]);
    assert_eq!(could, "could alter topic flights: 5 partitions\n");
    cluster.stdout(&["topic", "alter", "flights", "--partitions", "5", "--delete-config", "retention.ms"]);
    let told = cluster.json(&["topic", "describe", "--topic", "flights"]);
    assert_eq!(told[0]["partitions"].as_array().unwrap().len(), 5);
    assert_eq!(told[0]["configs"].as_array().unwrap().len(), 0);
    let told = cluster.say(&["topic", "delete", "flights", "--dry-run"]);
    assert_eq!(told.stdout, "would delete topic flights\n");
    assert!(told.stderr.contains("5 partitions, about 0 records"), "{}", told.stderr);
    assert_eq!(cluster.json(&["topic", "list"]).as_array().unwrap().len(), 1);
    assert_eq!(cluster.json(&["topic", "delete", "flights", "--yes"])["deleted"], true);
    assert_eq!(cluster.json(&["topic", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn records_there_and_back() {
    let cluster = Cluster::start();
    cluster.stdout(&["topic", "create", "flights", "-p", "3"]);
    let written = cluster.fed(
        &[
            "produce",
            "-t",
            "flights",
            "--property",
            "parse.key=true",
            "--property",
            "key.separator=:",
            "-o",
            "json",
        ],
        "UA:1\nAA:2\nB6:3\nUA:4\n",
    );
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let written: serde_json::Value = serde_json::from_str(&written.stdout).unwrap();
    assert_eq!((written["records"].as_u64(), written["failed"].as_u64()), (Some(4), Some(0)));
    let read = cluster.stdout(&["consume", "-t", "flights", "--from-beginning", "--exit", "-k", ":"]);
    assert_eq!(sorted(&read), ["AA:2", "B6:3", "UA:1", "UA:4"]);
    assert!(read.find("UA:1") < read.find("UA:4"), "a key keeps its order: {read}");
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let wrote = cluster.fed(
            &[
                "produce",
                "-t",
                codec,
                "--compression-codec",
                codec,
                "--header",
                "by=me",
                "--timestamp",
                "2013-01-01",
            ],
            &"the same line\n".repeat(100),
        );
        assert_eq!(wrote.code, Some(0), "{}", wrote.stderr);
        let read = cluster.stdout(&["consume", "-t", codec, "--from-beginning", "-m", "1", "-o", "json"]);
        let read: serde_json::Value = serde_json::from_str(&read).unwrap();
        assert_eq!(read["value"], "the same line");
        assert_eq!(read["timestamp"], 1_356_998_400_000i64);
        assert_eq!(read["headers"][0]["value"], "me");
    }
    // Offsets, times and idleness end and bound what is read.
    let at = cluster.stdout(&["consume", "-t", "gzip", "--partition", "0", "--offset", "97", "--exit"]);
    assert_eq!(at.lines().count(), 3);
    let late =
        cluster.stdout(&["consume", "-t", "gzip", "--from-timestamp", "2014-01-01", "--timeout-ms", "200"]);
    assert_eq!(late, "");
    let early = cluster.stdout(&["consume", "-t", "gzip", "--from-timestamp", "2012-01-01", "--exit"]);
    assert_eq!(early.lines().count(), 100);
}

#[test]
fn a_record_that_is_refused_stops_no_other() {
    let cluster = Cluster::start();
    cluster.stdout(&["topic", "create", "small", "-p", "1", "-c", "max.message.bytes=1000"]);
    let input = format!("before\n{}\nbehind\n", "x".repeat(5000));
    let said = cluster.fed(&["produce", "-t", "small", "--batch-size", "1", "-o", "json"], &input);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("1 record was not written"), "{}", said.stderr);
    assert!(said.stderr.contains("MESSAGE_TOO_LARGE"), "{}", said.stderr);
    assert!(said.stderr.contains("max.message.bytes is the limit"), "{}", said.stderr);
    let told: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((told["records"].as_u64(), told["failed"].as_u64()), (Some(2), Some(1)));
    assert_eq!(cluster.stdout(&["consume", "-t", "small", "--from-beginning", "--exit"]), "before\nbehind\n");
}

#[test]
fn a_group_shares_a_topic() {
    let cluster = Cluster::start();
    cluster.stdout(&["topic", "create", "flights", "-p", "2"]);
    let consume = ["consume", "-t", "flights", "--group", "g", "--from-beginning", "--max-messages", "2"];
    let readers = [cluster.spawn(&consume), cluster.spawn(&consume)];
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the group does not settle");
        let said = cluster.say(&["group", "describe", "g", "--output", "json"]);
        let Ok(told) = serde_json::from_str::<serde_json::Value>(&said.stdout) else { continue };
        let partitions = told[0]["partitions"].as_array().unwrap();
        let mut members: Vec<_> = partitions.iter().filter_map(|row| row["member_id"].as_str()).collect();
        members.sort_unstable();
        members.dedup();
        if told[0]["state"] == "Stable" && members.len() == 2 {
            break;
        }
    }
    for partition in ["0", "1"] {
        let input = format!("a{partition}\nb{partition}\n");
        let written = cluster.fed(&["produce", "-t", "flights", "--partition", partition], &input);
        assert_eq!(written.code, Some(0), "{}", written.stderr);
    }
    let read: String = readers.map(|reader| ended(reader).stdout).concat();
    assert_eq!(sorted(&read), ["a0", "a1", "b0", "b1"]);
}

#[test]
fn offsets_of_a_group_are_reset() {
    let cluster = Cluster::start();
    cluster.stdout(&["topic", "create", "flights", "-p", "1"]);
    cluster.fed(&["produce", "-t", "flights"], "1\n2\n3\n4\n");
    let consume = ["consume", "-t", "flights", "--group", "g", "--from-beginning", "--exit"];
    assert_eq!(cluster.stdout(&consume), "1\n2\n3\n4\n");
    assert_eq!(cluster.stdout(&consume), "");
    let told = cluster.json(&["group", "describe", "g"]);
    assert_eq!(told[0]["state"], "Empty");
    assert_eq!((told[0]["partitions"][0]["lag"].as_i64()), Some(0));
    let reset = |to: &[&str]| {
        let mut all = vec!["group", "reset-offsets", "--group", "g", "--topic", "flights:0"];
        all.extend(to);
        cluster.json(&all)["partitions"][0]["new_offset"].as_i64().unwrap()
    };
    assert_eq!(reset(&["--to-earliest"]), 0);
    assert_eq!(reset(&["--to-latest"]), 4);
    assert_eq!(reset(&["--to-offset", "99"]), 4, "no further than the end");
    assert_eq!(reset(&["--to-datetime", "2013-01-01T00:00:00.000"]), 0);
    assert_eq!(cluster.stdout(&consume), "", "nothing has changed without --execute");
    assert_eq!(reset(&["--shift-by", "-1", "--execute"]), 3);
    assert_eq!(cluster.stdout(&consume), "4\n");
    assert_eq!(cluster.stdout(&["group", "list"]), "GROUP  STATE\ng      Empty\n");
    let delete = ["group", "delete-offsets", "g", "--topic", "flights:0"];
    let told = cluster.json(&[&delete[..], &["--dry-run"]].concat());
    assert_eq!(
        (&told["partitions"][0]["offset"], &told["partitions"][0]["deleted"]),
        (&4.into(), &false.into())
    );
    let table = "TOPIC    PARTITION  OFFSET  RESULT\nflights  0          4       deleted\n";
    assert_eq!(cluster.stdout(&delete), table);
    cluster.refused(&delete, &["group g has committed nothing there"]);
    cluster.refused(&["group", "delete-offsets", "nobody", "--all-topics"], &["group nobody does not exist"]);
    assert_eq!(cluster.stdout(&["group", "delete", "g"]), "deleted group g\n");
    cluster.refused(&["group", "describe", "g"], &["group g does not exist", "group list"]);
}

#[test]
fn loads_are_measured() {
    let cluster = Cluster::start();
    let window = ["--duration", "300ms", "--warmup", "100ms", "--record-size", "100"];
    let bench = |arguments: &[&str]| {
        let mut all = vec!["bench"];
        all.extend(arguments);
        all.extend(["-t", "load"]);
        cluster.json(&all)
    };
    let pipeline = bench(&["produce", "-p", "2", "--records", "500", "--clients", "2"]);
    assert_eq!((pipeline["records"].as_u64(), pipeline["partitions"].as_u64()), (Some(500), Some(2)));
    let read = bench(&["consume", "--clients", "2"]);
    assert_eq!(read["records"], 500);
    for mode in
        [&["produce", "--rate", "100"][..], &["produce", "--in-flight", "3"], &["e2e", "--rate", "100"]]
    {
        let result = bench(&[mode, &window].concat());
        assert_eq!(result["failed"], 0, "{result}");
        assert_eq!(result["acked"], result["sent"], "{result}");
        let latency = &result["ack_latency"];
        assert!(latency["n"].as_u64() > Some(0), "{result}");
        assert!(latency["p50_ms"].as_f64() <= latency["max_ms"].as_f64(), "{result}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let disk = cluster.json(&["bench", "disk", path, "--duration", "50ms", "--file-mib", "2"]);
    let sizes: Vec<_> =
        disk["appends"].as_array().unwrap().iter().map(|row| row["append_bytes"].as_u64()).collect();
    assert_eq!(sizes, [Some(4096), Some(65536), Some(1 << 20)]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn wrong_use_gets_one_sentence() {
    let cluster = Cluster::start();
    cluster.stdout(&["topic", "create", "flights", "-p", "1"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    drop(free);
    cluster.refused(
        &["topic", "list", "-b", &nobody],
        &["no broker answers at", &nobody, "refused", "sternpost serve"],
    );
    cluster.refused(&["topic", "list", "-b", "a:b"], &["\"a:b\" is no broker address"]);
    cluster.refused(&["consume", "-t", "trains"], &["topic trains does not exist", "topic list"]);
    cluster.refused(&["topic", "describe", "trains"], &["topic trains does not exist"]);
    cluster.refused(&["topic", "delete", "flights", "trains"], &["topic trains does not exist"]);
    cluster.refused(&["bench", "consume", "-t", "trains"], &["topic trains does not exist"]);
    cluster.refused(&["bench", "consume", "-t", "flights"], &["holds no records"]);
    cluster.refused(&["topic", "create", "flights"], &["TOPIC_ALREADY_EXISTS", "topic alter"]);
    cluster.refused(&["topic", "create", "new", "-c", "nonsense=1"], &["INVALID_CONFIG", "nonsense"]);
    cluster.refused(&["topic", "create", "no/slash"], &["INVALID_TOPIC_EXCEPTION"]);
    cluster.refused(&["topic", "create", "new", "-r", "3"], &["INVALID_REPLICATION_FACTOR"]);
    cluster.refused(&["topic", "alter", "flights", "-p", "1"], &["INVALID_PARTITIONS"]);
    cluster.refused(&["consume", "-t", "flights", "-p", "7"], &["has no partition 7, only 0 to 0"]);
    cluster.refused(&["consume", "-t", "flights", "--offset", "3"], &["--partition"]);
    cluster.refused(
        &["consume", "-t", "flights", "-p", "0", "--offset", "99", "--timeout-ms", "20000"],
        &["OFFSET_OUT_OF_RANGE"],
    );
    cluster.refused(&["produce", "-t", "flights", "--property", "a=b"], &["--property a is not known"]);
    cluster.refused(&["produce", "-t", "flights", "-f", "/no/such"], &["cannot open /no/such"]);
    cluster.refused(&["group", "describe", "nobody"], &["group nobody does not exist"]);
    cluster.refused(
        &["group", "reset-offsets", "nobody", "--all-topics", "--to-latest"],
        &["has committed nothing"],
    );
    cluster.refused(&["bench", "disk", "/no/such"], &["cannot create /no/such"]);
    let bad = cluster.fed(&["produce", "-t", "flights", "-k", ":"], "k:v\nwithout\n");
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.contains("line 2 cannot be read: no \":\" behind its key"), "{}", bad.stderr);
    for arguments in [
        &["topic", "alter", "flights"][..],
        &["topic", "create", "x", "-p", "0"],
        &["topic", "create", "x", "-c", "novalue"],
        &["consume", "-t", "flights", "--group", "g", "--partition", "0"],
        &["consume", "-t", "flights", "--from-beginning", "--offset", "latest"],
        &["produce", "-t", "flights", "--compression-codec", "rar"],
        &["group", "reset-offsets", "g", "--all-topics"],
        &["bench", "produce", "--rate", "0"],
        &["no-such-word"],
    ] {
        let said = cluster.say(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.starts_with("error: ") && said.stdout.is_empty(), "{}", said.stderr);
    }
    // Nothing of it has left a trace.
    assert_eq!(cluster.json(&["topic", "list", "--exclude-internal"]).as_array().unwrap().len(), 1);
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = binary().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("reset-offsets"), "{shell}");
    }
}
