// What a run costs: CPU and memory of this client, of the servers (-pids) and of everybody else.

package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type usage struct {
	self   float64
	server float64
	busy   float64
	at     time.Time
}

// busyAll is the CPU time everything on the machine has used: what is left after client and servers is foreign (or kernel threads).
func busyAll() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(strings.SplitN(string(b), "\n", 2)[0])
	var t float64
	for _, i := range []int{1, 2, 3, 6, 7} {
		v, _ := strconv.ParseFloat(f[i], 64)
		t += v
	}
	return t / 100
}

func pidList() []string {
	var l []string
	for _, p := range strings.Split(*pids, ",") {
		if p = strings.TrimSpace(p); p != "" {
			l = append(l, p)
		}
	}
	return l
}
func pidCPU(p string) float64 {
	b, err := os.ReadFile("/proc/" + p + "/stat")
	if err != nil {
		return 0
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+2:])
	u, _ := strconv.ParseFloat(f[11], 64)
	k, _ := strconv.ParseFloat(f[12], 64)
	return (u + k) / 100
}

// pidMemory is the resident memory of a process in MiB: all of it, the anonymous part and the file-backed part.
func pidMemory(p string) map[string]int64 {
	m := map[string]int64{}
	b, err := os.ReadFile("/proc/" + p + "/status")
	if err != nil {
		return m
	}
	names := map[string]string{"VmRSS:": "rss", "RssAnon:": "anon", "RssFile:": "file"}
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) >= 2 && names[f[0]] != "" {
			v, _ := strconv.ParseInt(f[1], 10, 64)
			m[names[f[0]]] = v / 1024
		}
	}
	return m
}

func use() usage {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	u := usage{self: float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9, at: time.Now(), busy: busyAll()}
	for _, p := range pidList() {
		u.server += pidCPU(p)
	}
	return u
}
func (u usage) report(out map[string]any) {
	v := use()
	out["client_cpu_s"] = round(v.self-u.self, 2)
	if *pids != "" {
		out["server_cpu_s"] = round(v.server-u.server, 2)
		var memory []map[string]int64
		for _, p := range pidList() {
			memory = append(memory, pidMemory(p))
		}
		out["server_memory_mib"] = memory
	}
	if *pids != "" {
		out["foreign_cpu_s"] = round(v.busy-u.busy-(v.self-u.self)-(v.server-u.server), 2)
	}
	out["cpu_wall_s"] = round(v.at.Sub(u.at).Seconds(), 2)
	out["cores"] = runtime.NumCPU()
}
