// What the disk itself can do: one writer appends to a preallocated file and calls fdatasync after each append.

package main

import (
	"math/rand"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const diskFileBytes = 1 << 30

// cmdDisk measures appends of -size bytes for -duration. The file is written over from its start when it is full, as a
// recycled log is; its blocks exist before the clock starts, so no append waits for an allocation.
func cmdDisk() map[string]any {
	out := map[string]any{"cmd": "disk", "label": *label, "size": *size}
	path := filepath.Join(*dir, "disk-bench.tmp")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	die(err, "create "+path)
	defer os.Remove(path)
	defer f.Close()
	block := make([]byte, 1<<20)
	rand.New(rand.NewSource(1)).Read(block)
	for at := int64(0); at < diskFileBytes; at += int64(len(block)) {
		_, err := f.WriteAt(block, at)
		die(err, "fill "+path)
	}
	die(f.Sync(), "sync "+path)
	record := block
	for len(record) < *size {
		record = append(record, block...)
	}
	record = record[:*size]
	lat := &hist{}
	var n, at int64
	began := time.Now()
	for time.Since(began) < *duration {
		if at+int64(*size) > diskFileBytes {
			at = 0
		}
		t := time.Now()
		_, err := f.WriteAt(record, at)
		die(err, "append")
		die(syscall.Fdatasync(int(f.Fd())), "fdatasync")
		lat.add(time.Since(t))
		at += int64(*size)
		n++
	}
	el := time.Since(began).Seconds()
	out["records"] = n
	out["seconds"] = round(el, 2)
	out["records_per_s"] = round(float64(n)/el, 0)
	out["mb_per_s"] = round(float64(n)*float64(*size)/el/1e6, 2)
	out["ack_latency"] = lat.json()
	return out
}
