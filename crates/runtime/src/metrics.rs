//! The node's numbers as OpenMetrics text. Every metric name of Sternpost stands here, with its help text.

use crate::counters::{API_KEYS_MAX, Counters};
use crate::histogram::Histogram;
use broker::Status;
use kafka::message::ApiKey;
use std::fmt::Write;

/// Content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bytes that the node holds for clients, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Requests that wait for their answers.
    pub requests: u64,
    /// Frames of which only a part has come.
    pub half_frames: u64,
    /// Answers that clients have not taken.
    pub unsent: u64,
    /// Memory of earlier requests, kept for the next ones.
    pub idle_buffers: u64,
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}").expect("writing to a string");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        writeln!(self.0, "{name} {value}").expect("writing to a string");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        writeln!(self.0, "{name}_total {value}").expect("writing to a string");
    }

    fn histogram(&mut self, name: &str, label: &str, histogram: &Histogram) {
        let (rows, count, sum) = histogram.read();
        let inner = if label.is_empty() { String::new() } else { format!("{label},") };
        let outer = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let write = || -> std::fmt::Result {
            for (bound, below) in rows {
                writeln!(self.0, "{name}_bucket{{{inner}le=\"{bound}\"}} {below}")?;
            }
            writeln!(self.0, "{name}_bucket{{{inner}le=\"+Inf\"}} {count}")?;
            writeln!(self.0, "{name}_sum{outer} {sum}")?;
            writeln!(self.0, "{name}_count{outer} {count}")
        };
        write().expect("writing to a string");
    }
}

/// The whole exposition.
pub fn metrics_text(counters: &Counters, held: Held, status: &Status) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    node(&mut text, status);
    let text = &mut text;
    text.gauge("sternpost_connections", "Open client connections.", counters.connections.get());
    text.counter(
        "sternpost_connections_accepted",
        "Client connections accepted.",
        counters.connections_accepted.get(),
    );
    text.counter(
        "sternpost_connections_refused",
        "Client connections closed at once because of a limit.",
        counters.connections_refused.get(),
    );
    text.counter(
        "sternpost_connections_broken",
        "Client connections ended because of what came on them: bad frames, time-outs, slow readers.",
        counters.connections_broken.get(),
    );
    text.counter(
        "sternpost_requests_left_out",
        "Produce requests with acks=all and fetches whose clients had closed the connection before they were taken up.",
        counters.requests_left_out.get(),
    );
    text.counter("sternpost_network_receive_bytes", "Bytes read from clients.", counters.bytes_in.get());
    text.counter("sternpost_network_transmit_bytes", "Bytes written to clients.", counters.bytes_out.get());
    peers(text, counters);
    text.gauge(
        "sternpost_request_held_bytes",
        "Bytes of requests that wait for their answers.",
        held.requests,
    );
    text.gauge(
        "sternpost_request_partial_bytes",
        "Bytes of requests of which only a part has come.",
        held.half_frames,
    );
    text.gauge(
        "sternpost_response_unsent_bytes",
        "Bytes of answers that clients have not taken yet.",
        held.unsent,
    );
    text.gauge(
        "sternpost_request_buffer_idle_bytes",
        "Memory of earlier large requests, kept for the next ones.",
        held.idle_buffers,
    );
    let name = "sternpost_request_duration_seconds";
    text.head(name, "histogram", "From a request's last byte to its answer being ready to write, by API.");
    for key in 0..API_KEYS_MAX {
        let histogram = &counters.requests[key];
        if histogram.read().1 == 0 {
            continue;
        }
        let api = i16::try_from(key).ok().and_then(ApiKey::from_code).map_or("other", ApiKey::name);
        text.histogram(name, &format!("api=\"{api}\""), histogram);
    }
    let name = "sternpost_wal_append_duration_seconds";
    text.head(name, "histogram", "Group commits: one write and one fsync.");
    text.histogram(name, "", &counters.wal_append_seconds);
    let name = "sternpost_checkpoint_duration_seconds";
    text.head(name, "histogram", "Checkpoints: segments and state made durable.");
    text.histogram(name, "", &counters.checkpoint_seconds);
    let name = "sternpost_segment_read_duration_seconds";
    text.head(name, "histogram", "Reads and look-ups in segments.");
    text.histogram(name, "", &counters.read_seconds);
    text.0.push_str("# EOF\n");
    std::mem::take(&mut text.0)
}

fn peers(text: &mut Text, counters: &Counters) {
    text.gauge(
        "sternpost_peer_connections",
        "Open connections to other nodes that this node dialled; three for each.",
        counters.peer_connections.get(),
    );
    text.counter(
        "sternpost_peer_connections_broken",
        "Connections with other nodes that broke, or that brought what is no message.",
        counters.peer_connections_broken.get(),
    );
    text.counter(
        "sternpost_peer_messages_dropped",
        "Messages to other nodes that found no connection or no room.",
        counters.peer_messages_dropped.get(),
    );
    text.counter(
        "sternpost_peer_receive_bytes",
        "Bytes read from other nodes.",
        counters.peer_bytes_in.get(),
    );
    text.counter(
        "sternpost_peer_transmit_bytes",
        "Bytes written to other nodes.",
        counters.peer_bytes_out.get(),
    );
}

fn node(text: &mut Text, status: &Status) {
    text.gauge(
        "sternpost_node_ready",
        "1 when the log is applied, the node does not stop, and it knows who serves the metadata group.",
        u64::from(status.ready),
    );
    text.gauge(
        "sternpost_node_conditions",
        "Conditions that an operator should know; /readyz says which.",
        status.conditions.len() as u64,
    );
    text.gauge(
        "sternpost_cluster_safe_to_stop",
        "1 when any one node may be taken down, as far as this node knows; /readyz/safe-to-stop says why not.",
        u64::from(status.ready && status.must_stay.is_empty()),
    );
    text.gauge(
        "sternpost_protocol_level",
        "What every node of the cluster can read, as far as this node knows (docs/nodes.md).",
        u64::from(status.level),
    );
    text.gauge("sternpost_topics", "Topics.", status.topics);
    text.gauge("sternpost_partitions", "Partitions.", status.partitions);
    text.gauge("sternpost_shards", "Raft groups, the metadata group included.", status.shards);
    text.counter(
        "sternpost_elections",
        "Elections of Raft groups in which this node asked for votes, hand-overs aside.",
        status.elections_total,
    );
    text.counter(
        "sternpost_leader_changes",
        "Raft groups' leaders that this node learnt of, each beginning.",
        status.leader_changes_total,
    );
    text.gauge("sternpost_groups", "Consumer groups.", status.groups);
    text.gauge(
        "sternpost_delayed_produces",
        "Produce requests waiting for their commit.",
        status.delayed_produces,
    );
    text.gauge("sternpost_delayed_fetches", "Fetch requests waiting for data.", status.delayed_fetches);
    text.gauge(
        "sternpost_tail_bytes",
        "Bytes of committed batches kept in memory for readers.",
        status.tail_bytes,
    );
    text.gauge("sternpost_wal_held_bytes", "WAL bytes that a restart would read.", status.wal_held_bytes);
    text.gauge("sternpost_wal_room_bytes", "Preallocated WAL bytes left.", status.wal_room_bytes);
    text.counter("sternpost_wal_appends", "Group commits.", status.wal_appends_total);
    text.counter("sternpost_checkpoints", "Checkpoints.", status.checkpoints_total);
    text.counter("sternpost_append_batches", "Record batches appended.", status.batches_in_total);
    text.counter("sternpost_append_bytes", "Bytes of record batches appended.", status.bytes_in_total);
    text.counter(
        "sternpost_fetch_bytes",
        "Bytes of record batches handed to readers.",
        status.bytes_out_total,
    );
    text.counter("sternpost_segment_reads", "Reads that needed a segment.", status.segment_reads_total);
    text.gauge(
        "sternpost_damaged_segments",
        "Segments found damaged that are not whole again yet.",
        status.damaged_segments,
    );
    text.counter(
        "sternpost_mended_segments",
        "Damaged segments that were mended.",
        status.mended_segments_total,
    );
    text.counter(
        "sternpost_mended_bytes",
        "Bytes of records that mended segments got from other nodes.",
        status.mended_bytes_total,
    );
    text.counter(
        "sternpost_scrub_passes",
        "How often the scrub has read everything.",
        status.scrub_passes_total,
    );
    text.counter(
        "sternpost_log_renewals",
        "How often the log was written anew because some of it was damaged.",
        status.log_renewals_total,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_text_is_well_formed() {
        let counters = Counters::default();
        counters.request(0).observe(Duration::from_millis(1));
        counters.bytes_in.add(7);
        let text = metrics_text(&counters, Held::default(), &Status { ready: true, ..Status::default() });
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("sternpost_node_ready 1\n"));
        assert!(text.contains("sternpost_cluster_safe_to_stop 1\n"));
        let stopped = metrics_text(&counters, Held::default(), &Status::default());
        assert!(stopped.contains("sternpost_cluster_safe_to_stop 0\n"), "it says nothing: not safe");
        assert!(text.contains("sternpost_network_receive_bytes_total 7\n"));
        assert!(text.contains("sternpost_request_duration_seconds_count{api=\"Produce\"} 1\n"));
        assert!(text.contains("sternpost_wal_append_duration_seconds_bucket{le=\"+Inf\"} 0\n"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with("sternpost_"), "{line}");
            value.parse::<f64>().expect("a number");
        }
    }
}
