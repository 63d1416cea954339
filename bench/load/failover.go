// Production through faults, with the longest gap per partition and a full read back.

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
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
		return map[string]any{"count": 0}
	}
	sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
	ms := func(d time.Duration) float64 { return round(float64(d.Microseconds())/1000, 1) }
	return map[string]any{"count": len(v), "min_ms": ms(v[0]), "p50_ms": ms(v[len(v)/2]), "p90_ms": ms(v[len(v)*9/10]), "p99_ms": ms(v[len(v)*99/100]), "max_ms": ms(v[len(v)-1])}
}

// stream is production to every partition at a steady rate, and what became of each record.
type stream struct {
	names                      []string
	slots                      []*slotState
	index                      map[string]int64
	client                     *kgo.Client
	ctx                        context.Context
	cancel                     context.CancelFunc
	run                        uint64
	payload                    []byte
	epoch                      time.Time
	counts                     time.Time    // gaps are measured from here on
	fault                      atomic.Int64 // unix nanos of the newest fault
	flying                     atomic.Int64
	errs, acked, sent, skipped atomic.Int64
}

func newStream(epoch, counts time.Time) *stream {
	f := &stream{names: names(), index: map[string]int64{}, client: producer(true), run: uint64(epoch.UnixNano()), payload: payload(), epoch: epoch, counts: counts}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for i, n := range f.names {
		f.index[n] = int64(i)
	}
	f.slots = make([]*slotState, len(f.names)**partitions)
	for i := range f.slots {
		f.slots[i] = &slotState{leader: -1, lastSeen: -1}
	}
	return f
}

// leaders notes who leads each partition; how many nobody leads, and how many lack a replica in sync. -1: nobody answered.
func (f *stream) leaders() (gone, thin int) {
	c, err := kgo.NewClient(append(base(), kgo.RetryTimeout(5*time.Second))...)
	die(err, "client")
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	md, err := kadm.NewClient(c).Metadata(ctx, f.names...)
	if err != nil {
		return -1, -1
	}
	for _, t := range md.Topics {
		for _, p := range t.Partitions {
			if p.Leader < 0 {
				gone++
			}
			if len(p.ISR) < len(p.Replicas) {
				thin++
			}
			f.slots[f.index[t.Topic]*int64(*partitions)+int64(p.Partition)].leader = p.Leader
		}
	}
	return
}

func (f *stream) send(i int64, at time.Time) {
	s := i % int64(len(f.slots))
	if f.flying.Load() >= int64(*buffered)-1000 { // keep the pacing loop open: count, don't block
		f.skipped.Add(1)
		return
	}
	x := f.slots[s]
	x.mu.Lock()
	seq := x.seq
	x.seq++
	x.mu.Unlock()
	v := make([]byte, len(f.payload))
	copy(v, f.payload)
	binary.LittleEndian.PutUint64(v[0:], f.run)
	binary.LittleEndian.PutUint32(v[8:], uint32(s))
	binary.LittleEndian.PutUint64(v[12:], uint64(seq))
	binary.LittleEndian.PutUint64(v[20:], uint64(at.Sub(f.epoch)))
	f.sent.Add(1)
	f.flying.Add(1)
	f.client.Produce(f.ctx, &kgo.Record{Topic: f.names[s/int64(*partitions)], Partition: int32(s % int64(*partitions)), Value: v}, func(_ *kgo.Record, err error) {
		f.flying.Add(-1)
		now := time.Now()
		if err != nil {
			f.errs.Add(1)
			return
		}
		f.acked.Add(1)
		x.mu.Lock()
		defer x.mu.Unlock()
		set(&x.acked, seq)
		x.nack++
		fault := f.fault.Load()
		if !x.lastAck.IsZero() && now.After(f.counts) {
			g := now.Sub(x.lastAck)
			if fault == 0 || now.UnixNano() < fault {
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
	})
}

// drain waits for the last acks; what is told of them.
func (f *stream) drain(out map[string]any) {
	end := time.Now()
	ctx, cancel := context.WithTimeout(f.ctx, *wait)
	err := f.client.Flush(ctx)
	cancel()
	out["drain_after_end_ms"] = time.Since(end).Milliseconds()
	notAcked := 0
	for _, x := range f.slots {
		x.mu.Lock()
		if x.nack < x.seq {
			notAcked++
		}
		x.mu.Unlock()
	}
	out["sent"], out["acked"], out["errors"], out["skipped_client_full"] = f.sent.Load(), f.acked.Load(), f.errs.Load(), f.skipped.Load()
	out["partitions_with_unacked"] = notAcked
	if err != nil {
		out["flush_error"] = err.Error()
	}
	f.cancel()
	f.client.Close()
	out["leaderless_at_end"], _ = f.leaders()
}

// readBack reads everything and compares it with what was acknowledged.
func (f *stream) readBack() map[string]any {
	var dup, reord, foreign, lost, unackedPresent int64
	n, _, el, want := readAll(func(r *kgo.Record) {
		if len(r.Value) < 28 || binary.LittleEndian.Uint64(r.Value) != f.run {
			foreign++
			return
		}
		x := f.slots[binary.LittleEndian.Uint32(r.Value[8:])]
		q := int64(binary.LittleEndian.Uint64(r.Value[12:]))
		if set(&x.seen, q) {
			dup++
		}
		if q < x.lastSeen {
			reord++
		}
		x.lastSeen = q
	})
	for _, x := range f.slots {
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
	return map[string]any{"records": n, "expected": want, "seconds": round(el.Seconds(), 2), "acked_lost": lost, "duplicates": dup,
		"reordered": reord, "unacked_present": unackedPresent, "other_runs": foreign}
}

func shell(command string) string {
	b, err := exec.Command("sh", "-c", command).CombinedOutput()
	o := strings.TrimSpace(string(b))
	if err != nil {
		o += " (" + err.Error() + ")"
	}
	return o
}

func cmdFailover() map[string]any {
	out := common("failover")
	out["create"] = ensure()
	epoch := time.Now()
	begin := epoch.Add(200 * time.Millisecond)
	counts := begin.Add(*warmup)
	end := counts.Add(*duration)
	f := newStream(epoch, counts)
	defer f.cancel()
	out["rate"] = *rate
	out["per_partition_interval_ms"] = round(1000*float64(len(f.slots))/(*rate), 2)
	f.leaders()
	if *victim >= 0 {
		k := 0
		for _, x := range f.slots {
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
			time.Sleep(time.Until(counts.Add(at)))
			if mark {
				f.fault.Store(time.Now().UnixNano())
			}
			*o = shell(c)
		}()
	}
	sh(*execAt, *execCmd, true, &execOut)
	sh(*exec2At, *exec2, false, &exec2Out)
	u := use()
	pace(*rate, begin, func() bool { return time.Now().After(end) }, f.send)
	u.report(out)
	leaders := make([]int32, len(f.slots)) // as they were before the fault
	for i, x := range f.slots {
		leaders[i] = x.leader
	}
	f.drain(out)
	wg.Wait()
	var vg, og, vl, ol, pre []time.Duration
	for i, x := range f.slots {
		if *victim >= 0 && leaders[i] == int32(*victim) {
			vg, vl = append(vg, x.gap), append(vl, x.maxLat)
		} else {
			og, ol = append(og, x.gap), append(ol, x.maxLat)
		}
		pre = append(pre, x.preGap)
	}
	out["gap_before_fault"] = dist(pre)
	out["gap_victim_led"], out["gap_other"] = dist(vg), dist(og)
	out["longest_ack_latency_victim_led"], out["longest_ack_latency_other"] = dist(vl), dist(ol)
	out["exec_out"], out["exec2_out"] = execOut, exec2Out
	out["readback"] = f.readBack()
	return out
}

// cmdKills breaks the node that leads the most partitions, again and again, and lets it come back: the outage of each fault.
func cmdKills() map[string]any {
	out := common("kills")
	out["create"] = ensure()
	epoch := time.Now()
	f := newStream(epoch, epoch.Add(*warmup))
	defer f.cancel()
	out["rate"] = *rate
	var stopped atomic.Bool
	var paced sync.WaitGroup
	paced.Add(1)
	go func() {
		defer paced.Done()
		pace(*rate, epoch, stopped.Load, f.send)
	}()
	time.Sleep(*warmup)
	var seen *probe
	var probed []time.Duration
	var unprobed int
	if *probing {
		if *topics > 1 {
			die(fmt.Errorf("it knows one topic"), "-probe")
		}
		seen = newProbe(f.names[0])
		defer seen.client.Close()
	}
	var outages, others []time.Duration // longest of the partitions that the node led, of the other ones
	var outstanding, unsettled int
	for k := 0; k < *faults; k++ {
		settled := time.Now()
		for gone, thin := f.leaders(); gone != 0 || thin != 0; gone, thin = f.leaders() {
			if time.Since(settled) > *wait {
				die(fmt.Errorf("%d partitions without a leader, %d without all replicas", gone, thin), "the cluster does not settle")
			}
			time.Sleep(50 * time.Millisecond)
		}
		led := map[int32]int{}
		for _, x := range f.slots {
			led[x.leader]++
		}
		node := int32(-1)
		for n, count := range led {
			if node < 0 || count > led[node] || count == led[node] && n < node {
				node = n
			}
		}
		leaders := make([]int32, len(f.slots))
		for i, x := range f.slots {
			x.mu.Lock()
			x.gap, leaders[i] = 0, x.leader
			x.mu.Unlock()
		}
		var nodes []int32
		if seen != nil {
			nodes = seen.warm()
		}
		f.fault.Store(time.Now().UnixNano())
		broken := shell(strings.ReplaceAll(*execCmd, "{}", fmt.Sprint(node)))
		now := time.Now()
		if f.flying.Load() > 0 {
			outstanding++
		}
		end := now.Add(*exec2At)
		var line string
		if seen != nil {
			var led []int32
			for i, l := range leaders {
				if l == node {
					led = append(led, int32(i))
				}
			}
			d := seen.outage(nodes, node, led, time.Unix(0, f.fault.Load()), end)
			if d < 0 {
				unprobed++
				d = *exec2At
			}
			probed, line = append(probed, d), fmt.Sprintf("; single writes %d ms", d.Milliseconds())
		}
		time.Sleep(time.Until(end))
		var outage, other time.Duration
		now = time.Now()
		for i, x := range f.slots {
			x.mu.Lock()
			g := x.gap
			if x.nack < x.seq && now.Sub(x.lastAck) > g { // it goes on
				g = now.Sub(x.lastAck)
				unsettled++
			}
			x.mu.Unlock()
			if leaders[i] == node {
				outage = max(outage, g)
			} else {
				other = max(other, g)
			}
		}
		outages, others = append(outages, outage), append(others, other)
		fmt.Fprintf(os.Stderr, "fault %d at %s: node %d, which led %d: %d ms; others %d ms%s\n", k+1,
			time.Unix(0, f.fault.Load()).UTC().Format("15:04:05.000"), node, led[node], outage.Milliseconds(), other.Milliseconds(), line)
		mended := shell(strings.ReplaceAll(*exec2, "{}", fmt.Sprint(node)))
		if broken != "" || mended != "" {
			out["exec_out"], out["exec2_out"] = broken, mended
		}
		if *settle > 0 {
			time.Sleep(*settle)
		}
	}
	stopped.Store(true)
	paced.Wait()
	f.drain(out)
	out["faults"], out["faults_with_outstanding"], out["partitions_without_ack_when_mended"] = len(outages), outstanding, unsettled
	out["outage_led_by_victim"], out["outage_other"] = dist(outages), dist(others)
	if seen != nil {
		out["outage_single_writes"], out["single_writes_without_ack_when_mended"] = dist(probed), unprobed
	}
	out["gap_before_fault"] = dist([]time.Duration{maxPreGap(f.slots)})
	out["readback"] = f.readBack()
	return out
}

func maxPreGap(slots []*slotState) (longest time.Duration) {
	for _, x := range slots {
		longest = max(longest, x.preGap)
	}
	return
}
