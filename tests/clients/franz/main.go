// The flights job's driver for franz-go. Verbs and options: see ../README.md.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	slotSent = iota
	slotAcked
	slotFailed
	slotStop
	slotAssigned
	slotConsumed
	slotCommits
	slotCommitFailures
	slots
)

const (
	commitEvery      = time.Second
	finalCommitLimit = time.Minute
)

var options = map[string]string{}

func die(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func number(name string) int {
	n, err := strconv.Atoi(options[name])
	die(err, "option --"+name)
	return n
}

// state maps the file of eight u64 slots described in flights/state.py.
func state() *[slots]atomic.Uint64 {
	f, err := os.OpenFile(options["state"], os.O_RDWR, 0)
	die(err, "open state")
	defer f.Close()
	b, err := syscall.Mmap(int(f.Fd()), 0, slots*8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	die(err, "map state")
	return (*[slots]atomic.Uint64)(unsafe.Pointer(&b[0]))
}

func client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts,
		kgo.SeedBrokers(strings.Split(options["bootstrap"], ",")...),
		kgo.ClientID("flights-franz"),
		// A server that is killed every second must still be met alive: no back-off of seconds.
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
		kgo.MetadataMinAge(100*time.Millisecond),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	)...)
	die(err, "client")
	return cl
}

func create() {
	cl := client()
	defer cl.Close()
	_, err := kadm.NewClient(cl).CreateTopic(context.Background(), int32(number("partitions")), -1, nil, options["topic"])
	die(err, "create topic")
}

func loadRows() [][2]string {
	f, err := os.Open(options["rows"])
	die(err, "open rows")
	defer f.Close()
	var rows [][2]string
	limit := number("limit")
	for lines := bufio.NewScanner(f); len(rows) < limit && lines.Scan(); {
		key, rest, _ := strings.Cut(lines.Text(), "\t")
		rows = append(rows, [2]string{key, rest})
	}
	return rows
}

func produce() {
	rows := loadRows()
	st := state()
	acks, err := os.Create(options["acks"])
	die(err, "create acks")
	out := bufio.NewWriter(acks)
	var rate float64
	if options["rate"] != "" {
		rate, err = strconv.ParseFloat(options["rate"], 64)
		die(err, "option --rate")
	}
	cl := client(
		kgo.RequiredAcks(kgo.AllISRAcks()), // idempotence is franz-go's default
		kgo.ProducerBatchCompression(kgo.SnappyCompression()),
		kgo.RecordDeliveryTimeout(3*time.Minute),
	)
	ctx := context.Background()
	head := `{"client":"` + options["client"] + `","seq":`
	started := time.Now()
	for seq := 0; seq < len(rows) || options["repeat"] == "1" && st[slotStop].Load() == 0; seq++ {
		if rate > 0 && seq%50 == 0 {
			time.Sleep(time.Duration(float64(seq)/rate*1e9) - time.Since(started))
		}
		row := rows[seq%len(rows)]
		st[slotSent].Store(uint64(seq + 1))
		record := &kgo.Record{Topic: options["topic"], Key: []byte(row[0]), Value: []byte(head + strconv.Itoa(seq) + "," + row[1])}
		cl.Produce(ctx, record, func(r *kgo.Record, err error) { // promises run one after the other
			if err != nil {
				st[slotFailed].Add(1)
				fmt.Fprintf(os.Stderr, "row %d failed: %v\n", seq, err)
				return
			}
			fmt.Fprintf(out, "%d %d %d %d\n", seq, r.Partition, r.Offset, time.Now().UnixMilli())
			st[slotAcked].Add(1)
		})
	}
	die(cl.Flush(ctx), "flush")
	cl.Close()
	die(out.Flush(), "write acks")
	die(acks.Close(), "close acks")
}

func writeRow(out *bufio.Writer, r *kgo.Record) {
	fmt.Fprintf(out, "%d\t%d\t%s\t%s\n", r.Partition, r.Offset, r.Key, r.Value)
}

func member() {
	st := state()
	f, err := os.Create(options["out"])
	die(err, "create out")
	out := bufio.NewWriter(f)
	commit := func(ctx context.Context, cl *kgo.Client) bool {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := cl.CommitUncommittedOffsets(ctx); err != nil {
			st[slotCommitFailures].Add(1)
			fmt.Fprintf(os.Stderr, "commit: %v\n", err)
			return false
		}
		st[slotCommits].Add(1)
		return true
	}
	var owned atomic.Int64
	changed := func(by int, ps map[string][]int32) {
		st[slotAssigned].Store(uint64(owned.Add(int64(by * len(ps[options["topic"]])))))
	}
	cl := client(
		kgo.ConsumerGroup(options["group"]),
		kgo.ConsumeTopics(options["topic"]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(30*time.Second),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { changed(1, ps) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, ps map[string][]int32) {
			commit(ctx, cl)
			changed(-1, ps)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { changed(-1, ps) }),
	)
	read := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		fs := cl.PollRecords(ctx, 2000)
		fs.EachError(func(t string, p int32, err error) {
			if ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "read %s[%d]: %v\n", t, p, err)
			}
		})
		fs.EachRecord(func(r *kgo.Record) { writeRow(out, r) })
		die(out.Flush(), "write out")
		st[slotConsumed].Add(uint64(fs.NumRecords()))
	}
	due := time.Now()
	for st[slotStop].Load() == 0 {
		read()
		if time.Now().After(due) {
			commit(context.Background(), cl)
			due = time.Now().Add(commitEvery)
		}
		cl.AllowRebalance()
	}
	for deadline := time.Now().Add(finalCommitLimit); !commit(context.Background(), cl); {
		if time.Now().After(deadline) {
			die(context.DeadlineExceeded, "last commit")
		}
		read()
		cl.AllowRebalance()
	}
	cl.CloseAllowingRebalance()
	die(f.Close(), "close out")
}

func bounds(cl *kgo.Client) (low, high kadm.ListedOffsets) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	adm := kadm.NewClient(cl)
	low, err := adm.ListStartOffsets(ctx, options["topic"])
	die(err, "start offsets")
	die(low.Error(), "start offsets")
	high, err = adm.ListEndOffsets(ctx, options["topic"])
	die(err, "end offsets")
	die(high.Error(), "end offsets")
	return low, high
}

func dump() {
	f, err := os.Create(options["out"])
	die(err, "create out")
	out := bufio.NewWriter(f)
	probe := client()
	low, high := bounds(probe)
	probe.Close()
	from := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	low.Each(func(o kadm.ListedOffset) {
		end, _ := high.Lookup(o.Topic, o.Partition)
		if end.Offset > o.Offset {
			from[o.Partition] = kgo.NewOffset().At(o.Offset)
			left[o.Partition] = end.Offset
		}
	})
	cl := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{options["topic"]: from}))
	defer cl.Close()
	for len(left) > 0 {
		fs := cl.PollFetches(context.Background())
		fs.EachError(func(t string, p int32, err error) { fmt.Fprintf(os.Stderr, "read %s[%d]: %v\n", t, p, err) })
		fs.EachRecord(func(r *kgo.Record) {
			writeRow(out, r)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	die(out.Flush(), "write out")
	die(f.Close(), "close out")
}

func offsets() {
	cl := client()
	defer cl.Close()
	low, high := bounds(cl)
	committed, err := kadm.NewClient(cl).FetchOffsets(context.Background(), options["group"])
	die(err, "committed offsets")
	for _, l := range low.Offsets().Sorted() {
		h, _ := high.Lookup(l.Topic, l.Partition)
		at := int64(-1)
		if c, ok := committed.Lookup(l.Topic, l.Partition); ok {
			die(c.Err, "committed offset")
			at = c.At
		}
		fmt.Println(l.Partition, l.At, h.Offset, at)
	}
}

func main() {
	verbs := map[string]func(){"create": create, "produce": produce, "member": member, "dump": dump, "offsets": offsets}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: flights-franz create|produce|member|dump|offsets --name value ...")
		os.Exit(2)
	}
	for i := 2; i+1 < len(os.Args); i += 2 {
		options[strings.TrimPrefix(os.Args[i], "--")] = os.Args[i+1]
	}
	verbs[os.Args[1]]()
}
