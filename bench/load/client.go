// Clients as the flags ask for them: brokers, acks, idempotence, compression, linger.

package main

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func die(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "load: %s: %v\n", what, err)
		os.Exit(1)
	}
}

func names() []string {
	if *topics <= 1 {
		return []string{*topic}
	}
	var l []string
	for i := 0; i < *topics; i++ {
		l = append(l, fmt.Sprintf("%s-%d", *topic, i))
	}
	return l
}

func base() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(strings.Split(*brokers, ",")...),
		kgo.MetadataMinAge(*metaMin),
		kgo.RetryBackoffFn(func(int) time.Duration { return *retryBack }),
		kgo.RequestTimeoutOverhead(*giveUp),
		kgo.ClientID("load"),
	}
}

// batchCounter counts the record batches that producers wrote, and their bytes as sent.
type batchCounter struct{ batches, records, bytes atomic.Int64 }

func (c *batchCounter) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	c.batches.Add(1)
	c.records.Add(int64(m.NumRecords))
	c.bytes.Add(int64(m.CompressedBytes))
}

func (c *batchCounter) report(out map[string]any) {
	if n := float64(c.batches.Load()); n > 0 {
		out["records_per_batch"] = round(float64(c.records.Load())/n, 1)
		out["bytes_per_batch"] = round(float64(c.bytes.Load())/n, 0)
	}
}

var written batchCounter

func producer(manual bool) *kgo.Client {
	o := append(base(), kgo.WithHooks(&written))
	o = append(o, kgo.ProducerLinger(*linger), kgo.ProducerBatchMaxBytes(int32(*batch)), kgo.MaxBufferedRecords(*buffered),
		kgo.ProduceRequestTimeout(*reqTimeout), kgo.RecordDeliveryTimeout(0), kgo.UnknownTopicRetries(-1))
	switch *acks {
	case "all", "-1":
		o = append(o, kgo.RequiredAcks(kgo.AllISRAcks()))
	case "1":
		o = append(o, kgo.RequiredAcks(kgo.LeaderAck()))
		*idem = false
	case "0":
		o = append(o, kgo.RequiredAcks(kgo.NoAck()))
		*idem = false
	}
	if !*idem {
		o = append(o, kgo.DisableIdempotentWrite())
	}
	if !*idem { // with idempotence franz-go manages it: one request in flight until the broker is known to allow five
		o = append(o, kgo.MaxProduceRequestsInflightPerBroker(*inflight))
	}
	switch *compression {
	case "none":
		o = append(o, kgo.ProducerBatchCompression(kgo.NoCompression()))
	case "lz4":
		o = append(o, kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	case "snappy":
		o = append(o, kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	case "zstd":
		o = append(o, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	case "gzip":
		o = append(o, kgo.ProducerBatchCompression(kgo.GzipCompression()))
	}
	if manual || *spread == "rr" {
		o = append(o, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	cl, err := kgo.NewClient(o...)
	die(err, "client")
	return cl
}
