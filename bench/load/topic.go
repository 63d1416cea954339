// Topics: created and settled before a run, deleted after it; first ack after a start; the metadata quorum.

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ensure creates the topics (in requests of at most ~5,000 partitions) and waits for leaders and full ISRs.
func ensure() map[string]any {
	out := map[string]any{}
	cl, err := kgo.NewClient(append(base(), kgo.RetryTimeout(2*time.Minute))...)
	die(err, "client")
	defer cl.Close()
	adm := kadm.NewClient(cl)
	adm.SetTimeoutMillis(60000)
	ctx, cancel := context.WithTimeout(context.Background(), *wait)
	defer cancel()
	var cfg map[string]*string
	if *tconf != "" {
		cfg = map[string]*string{}
		for _, kv := range strings.Split(*tconf, ",") {
			k, v, _ := strings.Cut(kv, "=")
			cfg[k] = &v
		}
	}
	t0 := time.Now()
	if *create {
		ns := names()
		step := 5000 / *partitions
		if step < 1 {
			step = 1
		}
		for i := 0; i < len(ns); i += step {
			j := min(i+step, len(ns))
			rs, err := adm.CreateTopics(ctx, int32(*partitions), int16(*rf), cfg, ns[i:j]...)
			die(err, "create topics")
			for _, r := range rs.Sorted() {
				if r.Err != nil && r.Err != kerr.TopicAlreadyExists {
					die(r.Err, "create "+r.Topic)
				}
			}
		}
	}
	out["create_ms"] = time.Since(t0).Milliseconds()
	for {
		lead, full := 0, 0
		want := len(names()) * *partitions
		md, err := adm.Metadata(ctx, names()...)
		if err == nil {
			for _, t := range md.Topics {
				for _, p := range t.Partitions {
					if p.Err == nil && p.Leader >= 0 {
						lead++
						if len(p.ISR) >= len(p.Replicas) {
							full++
						}
					}
				}
			}
		}
		if lead >= want && out["leaders_ms"] == nil {
			out["leaders_ms"] = time.Since(t0).Milliseconds()
		}
		if full >= want {
			out["isr_ms"] = time.Since(t0).Milliseconds()
			break
		}
		if ctx.Err() != nil {
			out["incomplete"] = fmt.Sprintf("leaders %d, full ISR %d of %d", lead, full, want)
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	out["partitions_total"] = len(names()) * *partitions
	return out
}

func cmdFirstAck() map[string]any {
	t0 := time.Now()
	if *since != "" {
		for { // the file may not be there yet: the server is about to be started
			b, err := os.ReadFile(*since)
			if err == nil {
				if f, e := strconv.ParseFloat(strings.TrimSpace(string(b)), 64); e == nil {
					t0 = time.Unix(0, int64(f*1e9))
					break
				}
			}
			time.Sleep(5 * time.Millisecond)
			if time.Since(t0) > *wait {
				die(fmt.Errorf("timeout"), "since")
			}
		}
	}
	out := common("firstack")
	for time.Since(t0) < *wait {
		cl, err := kgo.NewClient(append(base(), kgo.RequestRetries(0), kgo.RetryTimeout(time.Second), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DialTimeout(500*time.Millisecond))...)
		die(err, "client")
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		rs, err := kadm.NewClient(cl).CreateTopics(ctx, int32(*partitions), int16(*rf), nil, *topic)
		ok := err == nil
		if ok {
			for _, r := range rs {
				ok = ok && (r.Err == nil || r.Err == kerr.TopicAlreadyExists)
			}
		}
		cancel()
		if ok {
			if out["created_ms"] == nil {
				out["created_ms"] = time.Since(t0).Milliseconds()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			err := cl.ProduceSync(ctx, &kgo.Record{Topic: *topic, Value: payload()}).FirstErr()
			cancel()
			if err == nil {
				out["first_ack_ms"] = time.Since(t0).Milliseconds()
				cl.Close()
				break
			}
		}
		cl.Close()
		time.Sleep(20 * time.Millisecond)
	}
	return out
}

func cmdQuorum() map[string]any {
	cl, err := kgo.NewClient(base()...)
	die(err, "client")
	defer cl.Close()
	req := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	p := kmsg.NewDescribeQuorumRequestTopicPartition()
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, cl)
	die(err, "describe quorum")
	if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		die(fmt.Errorf("error code %d", resp.ErrorCode), "describe quorum")
	}
	q := resp.Topics[0].Partitions[0]
	return map[string]any{"cmd": "quorum", "leader": q.LeaderID, "epoch": q.LeaderEpoch}
}

func cmdDelete() map[string]any {
	cl, err := kgo.NewClient(base()...)
	die(err, "client")
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ctx, cancel := context.WithTimeout(context.Background(), *wait)
	defer cancel()
	ts, err := adm.ListTopics(ctx)
	die(err, "list")
	var l []string
	for _, n := range ts.Names() {
		if strings.HasPrefix(n, *topic) {
			l = append(l, n)
		}
	}
	t0 := time.Now()
	if len(l) > 0 {
		_, err = adm.DeleteTopics(ctx, l...)
		die(err, "delete")
	}
	return map[string]any{"cmd": "delete", "topics": len(l), "ms": time.Since(t0).Milliseconds()}
}
