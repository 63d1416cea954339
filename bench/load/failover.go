// Production through a fault, with the longest gap per partition and a full read back.

package main

import (
	"context"
	"encoding/binary"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type slotState struct {
	mu       sync.Mutex
	seq      int64
	acked    []uint64 // bitmap
	seen     []uint64
	nack     int64
	lastAck  time.Time
	gap      time.Duration // longest time without an ack that touches the time after the fault
	preGap   time.Duration
	maxLat   time.Duration
	preLat   time.Duration
	lastSeen int64
	leader   int32
}

func set(b *[]uint64, i int64) bool {
	for int64(len(*b)) <= i>>6 {
		*b = append(*b, 0)
	}
	o := (*b)[i>>6]&(1<<(i&63)) != 0
	(*b)[i>>6] |= 1 << (i & 63)
	return o
}
func get(b []uint64, i int64) bool { return i>>6 < int64(len(b)) && b[i>>6]&(1<<(i&63)) != 0 }

func dist(v []time.Duration) map[string]any {
	if len(v) == 0 {
		return map[string]any{"partitions": 0}
	}
	sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
	ms := func(d time.Duration) float64 { return round(float64(d.Microseconds())/1000, 1) }
	return map[string]any{"partitions": len(v), "min_ms": ms(v[0]), "p50_ms": ms(v[len(v)/2]), "p99_ms": ms(v[len(v)*99/100]), "max_ms": ms(v[len(v)-1])}
}

func cmdFailover() map[string]any {
	ens := ensure()
	ns := names()
	np := int64(len(ns) * *partitions)
	out := common("failover")
	out["rate"] = *rate
	out["per_partition_interval_ms"] = round(1000*float64(np)/(*rate), 2)
	out["create"] = ens
	st := make([]*slotState, np)
	idx := map[string]int64{}
	for i, n := range ns {
		idx[n] = int64(i)
	}
	for i := range st {
		st[i] = &slotState{leader: -1, lastSeen: -1}
	}
	leaders := func() (gone int) {
		c, err := kgo.NewClient(append(base(), kgo.RetryTimeout(5*time.Second))...)
		die(err, "client")
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		md, err := kadm.NewClient(c).Metadata(ctx, ns...)
		if err != nil {
			return -1
		}
		for _, t := range md.Topics {
			for _, p := range t.Partitions {
				if p.Leader < 0 {
					gone++
				}
				st[idx[t.Topic]*int64(*partitions)+int64(p.Partition)].leader = p.Leader
			}
		}
		return
	}
	pr := producer(true)
	run := uint64(time.Now().UnixNano())
	tpl := payload()
	var errs, acked, sent, skipped atomic.Int64
	var fault atomic.Int64 // unix nanos
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	epoch := time.Now()
	begin := epoch.Add(200 * time.Millisecond)
	end := begin.Add(*warmup).Add(*duration)
	inflightCap := int64(*buffered) - 1000
	var flying atomic.Int64
	send := func(i int64, at time.Time) {
		s := i % np
		if flying.Load() >= inflightCap { // keep the pacing loop open: count, don't block
			skipped.Add(1)
			return
		}
		x := st[s]
		x.mu.Lock()
		seq := x.seq
		x.seq++
		x.mu.Unlock()
		v := make([]byte, len(tpl))
		copy(v, tpl)
		binary.LittleEndian.PutUint64(v[0:], run)
		binary.LittleEndian.PutUint32(v[8:], uint32(s))
		binary.LittleEndian.PutUint64(v[12:], uint64(seq))
		binary.LittleEndian.PutUint64(v[20:], uint64(at.Sub(epoch)))
		sent.Add(1)
		flying.Add(1)
		pr.Produce(ctx, &kgo.Record{Topic: ns[s/int64(*partitions)], Partition: int32(s % int64(*partitions)), Value: v}, func(_ *kgo.Record, err error) {
			flying.Add(-1)
			now := time.Now()
			if err != nil {
				errs.Add(1)
				return
			}
			acked.Add(1)
			x.mu.Lock()
			set(&x.acked, seq)
			x.nack++
			f := fault.Load()
			if !x.lastAck.IsZero() && now.After(begin.Add(*warmup)) {
				g := now.Sub(x.lastAck)
				if f == 0 || now.UnixNano() < f {
					x.preGap = max(x.preGap, g)
					x.preLat = max(x.preLat, now.Sub(at))
				} else {
					x.gap = max(x.gap, g)
					x.maxLat = max(x.maxLat, now.Sub(at))
				}
			}
			if now.After(x.lastAck) {
				x.lastAck = now
			}
			x.mu.Unlock()
		})
	}
	leaders()
	if *victim >= 0 {
		k := 0
		for _, x := range st {
			if x.leader == int32(*victim) {
				k++
			}
		}
		out["led_by_victim"] = k
	}
	var execOut, exec2Out string
	var wg sync.WaitGroup
	sh := func(at time.Duration, c string, mark bool, o *string) {
		if c == "" {
			return
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			time.Sleep(time.Until(begin.Add(*warmup).Add(at)))
			if mark {
				fault.Store(time.Now().UnixNano())
			}
			b, err := exec.Command("sh", "-c", c).CombinedOutput()
			*o = strings.TrimSpace(string(b))
			if err != nil {
				*o += " (" + err.Error() + ")"
			}
		}()
	}
	sh(*execAt, *execCmd, true, &execOut)
	sh(*exec2At, *exec2, false, &exec2Out)
	u := use()
	pace(*rate, begin, func() bool { return time.Now().After(end) }, send)
	u.report(out)
	endAt := time.Now()
	fctx, fc := context.WithTimeout(ctx, *wait)
	ferr := pr.Flush(fctx)
	fc()
	drain := time.Since(endAt)
	wg.Wait()
	notAcked := 0
	for _, x := range st {
		x.mu.Lock()
		if x.nack < x.seq {
			notAcked++
		}
		x.mu.Unlock()
	}
	var vg, og, vl, ol, pre []time.Duration
	for _, x := range st {
		if *victim >= 0 && x.leader == int32(*victim) {
			vg, vl = append(vg, x.gap), append(vl, x.maxLat)
		} else {
			og, ol = append(og, x.gap), append(ol, x.maxLat)
		}
		pre = append(pre, x.preGap)
	}
	out["gap_before_fault"] = dist(pre)
	out["gap_victim_led"], out["gap_other"] = dist(vg), dist(og)
	out["longest_ack_latency_victim_led"], out["longest_ack_latency_other"] = dist(vl), dist(ol)
	out["sent"], out["acked"], out["errors"], out["skipped_client_full"] = sent.Load(), acked.Load(), errs.Load(), skipped.Load()
	out["drain_after_end_ms"], out["partitions_with_unacked"] = drain.Milliseconds(), notAcked
	if ferr != nil {
		out["flush_error"] = ferr.Error()
	}
	out["exec_out"], out["exec2_out"] = execOut, exec2Out
	cancel()
	pr.Close()
	out["leaderless_at_end"] = leaders()
	// read back
	var dup, reord, foreign int64
	n, _, el, want := readAll(func(r *kgo.Record) {
		if len(r.Value) < 28 || binary.LittleEndian.Uint64(r.Value) != run {
			foreign++
			return
		}
		x := st[binary.LittleEndian.Uint32(r.Value[8:])]
		q := int64(binary.LittleEndian.Uint64(r.Value[12:]))
		if set(&x.seen, q) {
			dup++
		}
		if q < x.lastSeen {
			reord++
		}
		x.lastSeen = q
	})
	var lost, unackedPresent int64
	for _, x := range st {
		for q := int64(0); q < x.seq; q++ {
			a, s := get(x.acked, q), get(x.seen, q)
			if a && !s {
				lost++
			}
			if !a && s {
				unackedPresent++
			}
		}
	}
	out["readback"] = map[string]any{"records": n, "expected": want, "seconds": round(el.Seconds(), 2), "acked_lost": lost, "duplicates": dup,
		"reordered": reord, "unacked_present": unackedPresent, "other_runs": foreign}
	return out
}
