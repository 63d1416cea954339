// Latency histograms with buckets of 1 %, in milliseconds when reported.

package main

import (
	"math"
	"sync"
	"time"
)

type hist struct {
	mu sync.Mutex
	b  [2048]int64
	n  int64
	mx int64
}

// buckets: 1 % wide, from 1 us
func bucket(us int64) int {
	if us < 1 {
		us = 1
	}
	i := int(math.Log(float64(us)) / math.Log(1.01))
	if i > 2047 {
		i = 2047
	}
	return i
}
func (h *hist) add(d time.Duration) {
	us := d.Microseconds()
	i := bucket(us)
	h.mu.Lock()
	h.b[i]++
	h.n++
	if us > h.mx {
		h.mx = us
	}
	h.mu.Unlock()
}
func (h *hist) q(p float64) float64 {
	if h.n == 0 {
		return 0
	}
	want := int64(math.Ceil(p * float64(h.n)))
	var c int64
	for i, v := range h.b {
		c += v
		if c >= want {
			return round(math.Min(math.Pow(1.01, float64(i+1)), float64(h.mx))/1000, 3)
		}
	}
	return float64(h.mx) / 1000
}
func (h *hist) json() map[string]any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return map[string]any{"n": h.n, "p50_ms": h.q(.5), "p90_ms": h.q(.9), "p99_ms": h.q(.99), "p999_ms": h.q(.999), "max_ms": round(float64(h.mx)/1000, 3)}
}
func round(f float64, d int) float64 { p := math.Pow(10, float64(d)); return math.Round(f*p) / p }
