// Closed-loop production: a full pipeline, or workers with one record in flight each.

package main

import (
	"context"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func payload() []byte {
	if *size < 28 {
		*size = 28
	}
	b := make([]byte, *size)
	rand.New(rand.NewSource(1)).Read(b)
	return b
}

func common(cmd string) map[string]any {
	return map[string]any{"cmd": cmd, "label": *label, "acks": *acks, "idempotent": *idem, "size": *size, "topics": *topics, "partitions": *partitions,
		"rf": *rf, "linger": linger.String(), "spread": *spread, "clients": *clients, "compression": *compression}
}

func cmdProduce() map[string]any {
	ensure()
	ns := names()
	np := int64(len(ns) * *partitions)
	out := common("produce")
	val := payload()
	var acked, errs, sent atomic.Int64
	var measuring atomic.Bool
	lat := &hist{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var cls []*kgo.Client
	for c := 0; c < *clients; c++ {
		cls = append(cls, producer(false))
	}
	start := func(cl *kgo.Client, w int, k int) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			i := int64(w) * 7919
			for ctx.Err() == nil {
				if *maxRecords > 0 && sent.Add(1) > *maxRecords {
					return
				}
				slot := i % np
				i++
				r := &kgo.Record{Topic: ns[slot/int64(*partitions)], Partition: int32(slot % int64(*partitions)), Value: val}
				t := time.Now()
				if k > 0 {
					err := cl.ProduceSync(ctx, r).FirstErr()
					if err == nil {
						acked.Add(1)
						if measuring.Load() {
							lat.add(time.Since(t))
						}
					} else if ctx.Err() == nil {
						errs.Add(1)
					}
					continue
				}
				sample := i&63 == 0
				cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
					if err == nil {
						acked.Add(1)
						if sample && measuring.Load() {
							lat.add(time.Since(t))
						}
					} else if ctx.Err() == nil {
						errs.Add(1)
					}
				})
			}
		}()
	}
	if *maxRecords > 0 {
		measuring.Store(true)
	}
	t0 := time.Now()
	u := use()
	if *syncK > 0 {
		for w := 0; w < *syncK; w++ {
			start(cls[w%*clients], w, *syncK)
		}
	} else {
		for w, cl := range cls {
			start(cl, w, 0)
		}
	}
	var n int64
	var el time.Duration
	if *maxRecords > 0 {
		wg.Wait()
		for _, cl := range cls {
			cl.Flush(context.Background())
		}
		el, n = time.Since(t0), acked.Load()
	} else {
		time.Sleep(*warmup)
		u = use()
		measuring.Store(true)
		a, t := acked.Load(), time.Now()
		time.Sleep(*duration)
		n, el = acked.Load()-a, time.Since(t)
		measuring.Store(false)
	}
	u.report(out)
	cancel()
	wg.Wait()
	out["sync_workers"] = *syncK
	out["seconds"] = round(el.Seconds(), 2)
	out["records"] = n
	out["errors"] = errs.Load()
	out["records_per_s"] = round(float64(n)/el.Seconds(), 0)
	out["mb_per_s"] = round(float64(n)*float64(*size)/el.Seconds()/1e6, 2)
	written.report(out) // of the whole run, warm-up included
	out["ack_latency"] = lat.json()
	for _, cl := range cls {
		cl.Close()
	}
	return out
}
