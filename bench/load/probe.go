// What a cluster itself makes its clients wait for: single writes, each tried again at once and at whoever leads now.

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	probeEvery = 10 * time.Millisecond  // between two writes or questions
	probeTime  = 100 * time.Millisecond // an answer is waited for
)

// probe speaks to every node over a connection of its own and never waits for the broken one: it asks the others who leads.
type probe struct {
	client *kgo.Client
	topic  string
	batch  []byte
}

func newProbe(topic string) *probe {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(*brokers, ",")...), kgo.ClientID("probe"), kgo.MaxVersions(kversion.V3_0_0()),
		kgo.RequestTimeoutOverhead(*giveUp), kgo.RequestRetries(0))
	die(err, "probe")
	return &probe{client: cl, topic: topic, batch: oneRecord(payload())}
}

// oneRecord is a record batch (format 2) of one record.
func oneRecord(value []byte) []byte {
	r := kmsg.Record{Value: value}
	body := r.AppendTo(nil)
	r.Length = int32(len(body) - 1) // without itself: a zero takes one byte
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1,
		FirstSequence: -1, NumRecords: 1, Records: r.AppendTo(nil)}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// warm opens the connections that the next fault is not to wait for, and says which nodes there are.
func (p *probe) warm() (nodes []int32) {
	ctx, cancel := context.WithTimeout(context.Background(), *wait)
	defer cancel()
	m, err := p.client.Request(ctx, kmsg.NewPtrMetadataRequest())
	for ; err != nil && ctx.Err() == nil; m, err = p.client.Request(ctx, kmsg.NewPtrMetadataRequest()) {
		time.Sleep(probeEvery)
	}
	die(err, "probe: metadata")
	for _, b := range m.(*kmsg.MetadataResponse).Brokers {
		nodes = append(nodes, b.NodeID)
		for { // a connection may be of before the node was started again
			_, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, p.client.Broker(int(b.NodeID)))
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				die(err, fmt.Sprintf("probe: node %d", b.NodeID))
			}
			time.Sleep(probeEvery)
		}
	}
	return
}

// ask asks one node who leads; nil when it does not answer in time.
func (p *probe) ask(node int32) []kmsg.MetadataResponseTopicPartition {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	q := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(p.topic)
	q.Topics = append(q.Topics, t)
	m, err := q.RequestWith(ctx, p.client.Broker(int(node)))
	if err != nil || len(m.Topics) != 1 {
		return nil
	}
	return m.Topics[0].Partitions
}

// write writes one record at one node; whether it was acknowledged.
func (p *probe) write(node, partition int32) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	q := kmsg.NewPtrProduceRequest()
	q.Acks, q.TimeoutMillis = -1, int32(probeTime.Milliseconds())
	t, x := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, x.Partition, x.Records = p.topic, partition, p.batch
	t.Partitions = append(t.Partitions, x)
	q.Topics = append(q.Topics, t)
	a, err := q.RequestWith(ctx, p.client.Broker(int(node)))
	return err == nil && len(a.Topics) == 1 && len(a.Topics[0].Partitions) == 1 && a.Topics[0].Partitions[0].ErrorCode == 0
}

// outage is the longest time from `fault` to the first acknowledged write among `partitions`, which `node` led; -1 when it goes on at `end`.
func (p *probe) outage(nodes []int32, node int32, partitions []int32, fault, end time.Time) time.Duration {
	leaders := make(map[int32]*atomic.Int32)
	for _, x := range partitions {
		leaders[x] = new(atomic.Int32)
		leaders[x].Store(node)
	}
	var asked, written sync.WaitGroup
	var done atomic.Bool
	for _, n := range nodes {
		if n == node {
			continue
		}
		asked.Add(1)
		go func() {
			defer asked.Done()
			for ; !done.Load() && time.Now().Before(end); time.Sleep(probeEvery) {
				for _, x := range p.ask(n) {
					if l := leaders[x.Partition]; l != nil && x.ErrorCode == 0 && x.Leader >= 0 {
						l.Store(x.Leader)
					}
				}
			}
		}()
	}
	var longest atomic.Int64
	for _, x := range partitions {
		written.Add(1)
		go func() {
			defer written.Done()
			for ; time.Now().Before(end); time.Sleep(probeEvery) {
				if p.write(leaders[x].Load(), x) {
					took := int64(time.Since(fault))
					for was := longest.Load(); was >= 0 && took > was && !longest.CompareAndSwap(was, took); was = longest.Load() {
					}
					return
				}
			}
			longest.Store(-1)
		}()
	}
	written.Wait()
	done.Store(true)
	asked.Wait()
	return time.Duration(longest.Load())
}
