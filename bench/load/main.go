// load: a neutral Kafka-protocol load client. It talks to any bootstrap address and prints one JSON object per run.
//
//	load topic    create topics and wait until every partition has a leader and a full ISR
//	load produce  closed pipeline throughput (as fast as acks allow), or -sync K workers with one record in flight each
//	load consume  read everything from the beginning (catch-up)
//	load e2e      open loop at a fixed rate: ack latency and end-to-end latency from the *intended* send time
//	load failover continuous acks=all production to every partition while -exec runs (kill a node);
//	              longest gap per partition; then reads everything back: lost, duplicated, reordered
//	load kills    the same, but breaks the node that leads the most partitions -faults times, and tells the outage of each
//	load firstack poll until a topic can be created and one record is acknowledged; time since -since
//	load quorum   who leads the KRaft metadata quorum (peers that answer DescribeQuorum)
//	load delete   delete topics with a prefix
//	load disk     appends with fdatasync to a preallocated file: what the disk itself can do
//
// Every sub-command accepts -brokers, -topic, -topics, -partitions, -rf and -pids (server pids: CPU and RSS are reported).
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

var (
	brokers     = flag.String("brokers", "127.0.0.1:19092", "bootstrap addresses, comma separated")
	topic       = flag.String("topic", "bench", "topic name, or prefix when -topics > 1")
	topics      = flag.Int("topics", 1, "number of topics (named TOPIC-0..)")
	partitions  = flag.Int("partitions", 1, "partitions per topic")
	rf          = flag.Int("rf", 1, "replication factor")
	tconf       = flag.String("config", "", "topic configs k=v,k=v")
	create      = flag.Bool("create", true, "create the topics when they are missing")
	size        = flag.Int("size", 1024, "record value bytes (>= 28)")
	duration    = flag.Duration("duration", 15*time.Second, "measured time")
	warmup      = flag.Duration("warmup", 5*time.Second, "not measured, before the measured time")
	maxRecords  = flag.Int64("records", 0, "produce: stop after so many records instead of -duration")
	clients     = flag.Int("clients", 1, "producer or consumer clients (connections sets)")
	syncK       = flag.Int("sync", 0, "produce: K workers with one record in flight each (closed loop)")
	rate        = flag.Float64("rate", 1000, "e2e and failover: records per second, all partitions together")
	acks        = flag.String("acks", "all", "all | 1 | 0")
	idem        = flag.Bool("idempotent", true, "idempotent producer")
	linger      = flag.Duration("linger", 0, "producer linger")
	batch       = flag.Int("batch", 1000012, "largest batch, bytes")
	buffered    = flag.Int("buffered", 50000, "largest number of buffered records a client")
	inflight    = flag.Int("inflight", 5, "produce requests in flight per broker (only without idempotence)")
	spread      = flag.String("spread", "rr", "rr: record i to partition i mod N | sticky: fill a batch, then the next partition")
	compression = flag.String("compression", "none", "none | lz4 | snappy | zstd | gzip")
	pids        = flag.String("pids", "", "server pids, comma separated: report their CPU and RSS")
	execCmd     = flag.String("exec", "", "failover: shell command that breaks something")
	execAt      = flag.Duration("at", 10*time.Second, "failover: when -exec runs, after warm-up")
	exec2       = flag.String("exec2", "", "failover: second shell command (recovery)")
	exec2At     = flag.Duration("at2", 0, "failover: when -exec2 runs")
	faults      = flag.Int("faults", 10, "kills: how many; -exec breaks node {}, -exec2 mends it -at2 later")
	settle      = flag.Duration("settle", 0, "kills: a pause after a node came back, before all replicas are waited for")
	probing     = flag.Bool("probe", false, "kills: measure each fault with single writes too, that nothing queues behind and that go to whoever leads now")
	victim      = flag.Int("victim", -1, "failover: node id that dies; splits partitions into led-by-victim and others")
	metaMin     = flag.Duration("meta-min-age", 100*time.Millisecond, "smallest time between metadata refreshes (Java's default backoff is 100 ms)")
	retryBack   = flag.Duration("retry-backoff", 100*time.Millisecond, "retry backoff (Java's default is 100 ms)")
	reqTimeout  = flag.Duration("request-timeout", 30*time.Second, "produce request timeout sent to the broker")
	giveUp      = flag.Duration("give-up", 10*time.Second, "how long beyond its time-out a request is waited for before the connection is given up (>= 100ms)")
	since       = flag.String("since", "", "firstack: a file that holds the start as unix seconds")
	fetchBytes  = flag.Int("fetch-bytes", 50<<20, "consume: fetch max bytes")
	fetchPart   = flag.Int("fetch-partition-bytes", 1<<20, "consume: fetch max bytes a partition")
	wait        = flag.Duration("wait", 5*time.Minute, "longest wait for leaders / drain / read back")
	dir         = flag.String("dir", ".", "disk: folder on the disk to measure")
	label       = flag.String("label", "", "free text copied into the output")
)

func main() {
	cmds := map[string]func() map[string]any{"produce": cmdProduce, "consume": cmdConsume, "e2e": cmdE2E, "failover": cmdFailover, "kills": cmdKills, "firstack": cmdFirstAck, "quorum": cmdQuorum, "delete": cmdDelete, "disk": cmdDisk,
		"topic": func() map[string]any {
			o := common("topic")
			u := use()
			for k, v := range ensure() {
				o[k] = v
			}
			u.report(o)
			return o
		}}
	if len(os.Args) < 2 || cmds[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: load topic|produce|consume|e2e|failover|kills|firstack|quorum|delete|disk [flags]; load produce -h lists the flags")
		os.Exit(2)
	}
	flag.CommandLine.Parse(os.Args[2:])
	out := cmds[os.Args[1]]()
	b, _ := json.Marshal(out)
	fmt.Println(string(b))
}
