package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
)

// served gives a bench of a provider that serves perf as well.
func served(t *testing.T) (bench, *provider) {
	_, p := pair(t)
	p.quiet = true
	p.host.SetStreamHandler(perfProtocol, p.servePerf)
	return bench{target: *host.InfoFromHost(p.host), muxers: "yamux"}, p
}

func value[T any](t *testing.T, members []any, err error, name string) (v T) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(members); i += 2 {
		if members[i] == name {
			return members[i+1].(T)
		}
	}
	t.Fatalf("no %s in %v", name, members)
	return v
}

func TestPercentilesAreByNearestRank(t *testing.T) {
	var times []time.Duration
	for i := 200; i > 0; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	if got, want := summarize(times), (summary{200, 1, 100, 198, 200}); got != want {
		t.Errorf("%v instead of %v", got, want)
	}
	if got, want := summarize(times[197:]), (summary{3, 1, 2, 3, 3}); got != want {
		t.Errorf("%v instead of %v", got, want)
	}
	if got, want := summarize(times[199:]), (summary{1, 1, 1, 1, 1}); got != want {
		t.Errorf("%v instead of %v", got, want)
	}
}

func TestBenchCountsWhatItMeasures(t *testing.T) {
	b, p := served(t)
	ctx := context.Background()
	b.pings, b.tasks, b.total, b.concurrency, b.connections, b.parallel, b.bulk = 5, 203, 70, 8, 6, 3, 3

	members, err := b.measurePings(ctx)
	if s := value[summary](t, members, err, "ping_ms"); s.N != 5 || s.Min <= 0 || s.Min > s.P50 || s.P50 > s.P99 || s.P99 > s.Max {
		t.Errorf("%+v", s)
	}
	members, err = b.measureTasks(ctx)
	if s := value[summary](t, members, err, "task_seq_ms"); s.N != 3 || s.Min <= 0 {
		t.Errorf("%+v", s)
	}
	members, err = b.measureConcurrentTasks(ctx)
	if s := value[concurrent](t, members, err, "task_conc"); s.InFlight != 8 || s.Total != 70 || s.PerS <= 0 || s.Latency.N != 62 || s.Latency.Min <= 0 {
		t.Errorf("%+v", s)
	}
	if n := len(p.memory.finished); n != 203+70 {
		t.Errorf("%d tasks were run", n)
	}
	members, err = b.measureConnections(ctx)
	for _, name := range []string{"connect_ms", "first_byte_ms"} {
		if s := value[summary](t, members, err, name); s.N != 6 || s.Min <= 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	members, err = b.measureBulk(ctx)
	for _, name := range []string{"bulk_up", "bulk_down"} {
		if r := value[rate](t, members, err, name); r.Bytes != 3<<20 || r.MS <= 0 || r.MBps <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if b.muxer != "yamux" {
		t.Errorf("muxer %v", b.muxer)
	}
}

func TestPerfIsRefusedUnlessAllComesBack(t *testing.T) {
	b, p := served(t)
	p.host.SetStreamHandler(perfProtocol, func(s network.Stream) {
		discard(s)
		writeZeros(s, 7)
		s.Close()
	})
	b.bulk = 1
	if _, err := b.measureBulk(context.Background()); err == nil || !strings.Contains(err.Error(), "7 bytes came back of 0") {
		t.Error(err)
	}
}

func TestBenchFailsWithATaskThatFails(t *testing.T) {
	b, p := served(t)
	p.lie = "signature"
	b.tasks, b.total, b.concurrency = 201, 10, 2
	if _, err := b.measureTasks(context.Background()); err == nil {
		t.Error("no error, one after another")
	}
	if _, err := b.measureConcurrentTasks(context.Background()); err == nil {
		t.Error("no error, many at once")
	}
}

func TestBenchRefusesNumbersThatDoNotFit(t *testing.T) {
	for _, b := range []bench{{}, {pings: -1}, {tasks: 200}, {total: 20, concurrency: 10}, {total: 20}, {concurrency: 1},
		{connections: 1}, {parallel: 1}} {
		if b.check() == nil {
			t.Errorf("%+v is accepted", b)
		}
	}
	if err := (&bench{tasks: 201, total: 21, concurrency: 10, connections: 1, parallel: 1}).check(); err != nil {
		t.Error(err)
	}
}
