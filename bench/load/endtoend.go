// Open-loop end-to-end latency: measured from the intended send time, so that a stalled server cannot hide.

package main

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func pace(ratePerS float64, begin time.Time, stop func() bool, f func(i int64, at time.Time)) {
	step := float64(time.Second) / ratePerS
	for i := int64(0); ; i++ {
		at := begin.Add(time.Duration(float64(i) * step))
		if d := time.Until(at); d > 0 {
			time.Sleep(d)
		}
		if i&15 == 0 && stop() {
			return
		}
		f(i, at)
	}
}

func cmdE2E() map[string]any {
	ensure()
	ns := names()
	np := int64(len(ns) * *partitions)
	out := common("e2e")
	out["rate"] = *rate
	tmp, err := kgo.NewClient(base()...)
	die(err, "client")
	ends, _, _ := endOffsets(kadm.NewClient(tmp))
	tmp.Close()
	m := map[string]map[int32]kgo.Offset{}
	for t, ps := range ends {
		m[t] = map[int32]kgo.Offset{}
		for p, e := range ps {
			m[t][p] = kgo.NewOffset().At(e)
		}
	}
	cons, err := kgo.NewClient(append(base(), kgo.ConsumePartitions(m), kgo.FetchMaxWait(500*time.Millisecond), kgo.FetchMinBytes(1))...)
	die(err, "client")
	pr := producer(true)
	ackL, e2eL := &hist{}, &hist{}
	epoch := time.Now()
	begin := epoch.Add(500 * time.Millisecond)
	from, to := begin.Add(*warmup), begin.Add(*warmup).Add(*duration)
	in := func(t time.Time) bool { return !t.Before(from) && t.Before(to) }
	ctx, cancel := context.WithCancel(context.Background())
	var got, errs, acked, sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fs := cons.PollFetches(ctx)
			now := time.Now()
			fs.EachRecord(func(r *kgo.Record) {
				if len(r.Value) < 28 {
					return
				}
				at := epoch.Add(time.Duration(binary.LittleEndian.Uint64(r.Value[20:])))
				got.Add(1)
				if in(at) {
					e2eL.add(now.Sub(at))
				}
			})
		}
	}()
	tpl := payload()
	var u usage
	started := false
	pace(*rate, begin, func() bool {
		if !started && time.Now().After(from) {
			started = true
			u = use()
		}
		return time.Now().After(to)
	}, func(i int64, at time.Time) {
		v := make([]byte, len(tpl))
		copy(v, tpl)
		binary.LittleEndian.PutUint64(v[20:], uint64(at.Sub(epoch)))
		slot := i % np
		sent.Add(1)
		pr.Produce(ctx, &kgo.Record{Topic: ns[slot/int64(*partitions)], Partition: int32(slot % int64(*partitions)), Value: v}, func(_ *kgo.Record, err error) {
			if err != nil {
				errs.Add(1)
				return
			}
			acked.Add(1)
			if in(at) {
				ackL.add(time.Since(at))
			}
		})
	})
	u.report(out)
	fctx, fc := context.WithTimeout(ctx, 30*time.Second)
	pr.Flush(fctx)
	fc()
	for w := time.Now().Add(10 * time.Second); got.Load() < acked.Load() && time.Now().Before(w); {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	<-done
	out["sent"], out["acked"], out["received"], out["errors"] = sent.Load(), acked.Load(), got.Load(), errs.Load()
	out["seconds"] = duration.Seconds()
	out["ack_latency"], out["e2e_latency"] = ackL.json(), e2eL.json()
	pr.Close()
	cons.Close()
	return out
}
