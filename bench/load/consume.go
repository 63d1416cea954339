// Catch-up reading of everything below the end offsets.

package main

import (
	"context"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func endOffsets(adm *kadm.Client) (map[string]map[int32]int64, map[string]map[int32]int64, int64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list := func(what string, f func(context.Context, ...string) (kadm.ListedOffsets, error)) kadm.ListedOffsets {
		for {
			l, err := f(ctx, names()...)
			if err == nil {
				err = l.Error()
			}
			if err == nil {
				return l
			}
			if ctx.Err() != nil { // leaders may still be settling after a create or a fault
				die(err, what)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	e, s := list("end offsets", adm.ListEndOffsets), list("start offsets", adm.ListStartOffsets)
	ends, starts := map[string]map[int32]int64{}, map[string]map[int32]int64{}
	var total int64
	e.Each(func(o kadm.ListedOffset) {
		die(o.Err, "end offset")
		if ends[o.Topic] == nil {
			ends[o.Topic] = map[int32]int64{}
		}
		ends[o.Topic][o.Partition] = o.Offset
		total += o.Offset
	})
	s.Each(func(o kadm.ListedOffset) {
		if starts[o.Topic] == nil {
			starts[o.Topic] = map[int32]int64{}
		}
		starts[o.Topic][o.Partition] = o.Offset
		total -= o.Offset
	})
	return ends, starts, total
}

// readAll reads every record below the current end offsets; f may be nil.
func readAll(f func(*kgo.Record)) (recs, bytes int64, el time.Duration, want int64) {
	cl, err := kgo.NewClient(base()...)
	die(err, "client")
	adm := kadm.NewClient(cl)
	ends, starts, total := endOffsets(adm)
	cl.Close()
	var slots []struct {
		t string
		p int32
	}
	for t, ps := range ends {
		for p, e := range ps {
			if e > starts[t][p] {
				slots = append(slots, struct {
					t string
					p int32
				}{t, p})
			}
		}
	}
	sort.Slice(slots, func(i, j int) bool {
		return slots[i].t < slots[j].t || slots[i].t == slots[j].t && slots[i].p < slots[j].p
	})
	var nrec, nbytes atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	t0 := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), *wait)
	defer cancel()
	for c := 0; c < *clients; c++ {
		m := map[string]map[int32]kgo.Offset{}
		left := 0
		for i, s := range slots {
			if i%*clients == c {
				if m[s.t] == nil {
					m[s.t] = map[int32]kgo.Offset{}
				}
				m[s.t][s.p] = kgo.NewOffset().At(starts[s.t][s.p])
				left++
			}
		}
		if left == 0 {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			cl, err := kgo.NewClient(append(base(), kgo.ConsumePartitions(m), kgo.FetchMaxBytes(int32(*fetchBytes)), kgo.FetchMaxPartitionBytes(int32(*fetchPart)), kgo.FetchMaxWait(500*time.Millisecond))...)
			die(err, "client")
			defer cl.Close()
			for left > 0 && ctx.Err() == nil {
				fs := cl.PollFetches(ctx)
				fs.EachPartition(func(p kgo.FetchTopicPartition) {
					e := ends[p.Topic][p.Partition]
					var k, b int64
					for _, r := range p.Records {
						if r.Offset >= e {
							continue
						}
						k++
						b += int64(len(r.Value))
						if f != nil {
							mu.Lock()
							f(r)
							mu.Unlock()
						}
						if r.Offset == e-1 {
							left--
						}
					}
					nrec.Add(k)
					nbytes.Add(b)
				})
			}
		}()
	}
	wg.Wait()
	return nrec.Load(), nbytes.Load(), time.Since(t0), total
}

func cmdConsume() map[string]any {
	out := common("consume")
	u := use()
	n, b, el, want := readAll(nil)
	u.report(out)
	out["records"], out["expected"], out["seconds"] = n, want, round(el.Seconds(), 2)
	out["records_per_s"] = round(float64(n)/el.Seconds(), 0)
	out["mb_per_s"] = round(float64(b)/el.Seconds()/1e6, 2)
	return out
}
