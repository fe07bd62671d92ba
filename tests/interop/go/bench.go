package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multistream"
)

const (
	benchLimit    = 10 * time.Minute // for each measurement
	benchWarmUp   = 200              // tasks
	benchPingSize = 32
	holdParallel  = 16
)

// bench measures a peer. Every measurement has hosts and connections of its own.
type bench struct {
	target                peer.AddrInfo
	muxers                string
	pings, tasks          int
	total, concurrency    int
	connections, parallel int
	bulk, hold            int
	samples               bool

	muxer any // agreed on with the last connection
}

func runBench(ctx context.Context, args []string) error {
	flags := newFlags("bench")
	var b bench
	flags.StringVar(&b.muxers, "muxer", "yamux", "muxers, separated by commas")
	flags.IntVar(&b.pings, "pings", 0, "pings, one after another")
	flags.IntVar(&b.tasks, "tasks", 0, "tasks, one after another")
	flags.BoolVar(&b.samples, "samples", false, "the times of these tasks as well")
	flags.IntVar(&b.total, "total", 0, "tasks, many at once")
	flags.IntVar(&b.concurrency, "concurrency", 0, "tasks under way at once")
	flags.IntVar(&b.connections, "connections", 0, "connections, in each of two rounds")
	flags.IntVar(&b.parallel, "parallel", 0, "connections under way at once")
	flags.IntVar(&b.bulk, "bulk", 0, "MiB each way")
	flags.IntVar(&b.hold, "hold", 0, "connections to keep")
	target, err := parseTarget(flags, args)
	if err != nil {
		return err
	}
	b.target = *target
	if err := b.check(); err != nil {
		return err
	}

	var all []any
	lines := 0
	for _, one := range []struct {
		name    string
		wanted  bool
		measure func(context.Context) ([]any, error)
	}{
		{"pings", b.pings > 0, b.measurePings},
		{"tasks", b.tasks > 0, b.measureTasks},
		{"concurrent tasks", b.total > 0, b.measureConcurrentTasks},
		{"connections", b.connections > 0, b.measureConnections},
		{"bulk", b.bulk > 0, b.measureBulk},
	} {
		if !one.wanted {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, benchLimit)
		members, err := one.measure(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		b.emit(members)
		all = append(all, members...)
		lines++
	}
	if lines > 1 {
		b.emit(all)
	}
	if b.hold > 0 {
		return b.holdConnections(ctx)
	}
	return nil
}

func (b *bench) check() error {
	for _, n := range []int{b.pings, b.tasks, b.total, b.concurrency, b.connections, b.parallel, b.bulk, b.hold} {
		if n < 0 || n > math.MaxInt32 {
			return errors.New("the numbers must be from 0 to 2147483647")
		}
	}
	switch {
	case b.pings+b.tasks+b.total+b.connections+b.bulk+b.hold == 0:
		return errors.New("nothing to measure; " + usage)
	case b.tasks > 0 && b.tasks <= benchWarmUp:
		return fmt.Errorf("--tasks must be above %d, which don't count", benchWarmUp)
	case (b.total > 0) != (b.concurrency > 0) || b.total > 0 && b.total <= 2*b.concurrency:
		return errors.New("--total goes with --concurrency, and is above twice of that")
	case (b.connections > 0) != (b.parallel > 0):
		return errors.New("--connections goes with --parallel")
	}
	return nil
}

func (b *bench) emit(members []any) { emit("bench", append([]any{"muxer", b.muxer}, members...)...) }

// connect gives a new host's identified connection.
func (b *bench) connect(ctx context.Context) (*requester, error) {
	h, key, err := newHost(b.muxers, libp2p.NoListenAddrs)
	if err != nil {
		return nil, err
	}
	r, err := connect(ctx, h, key, b.target)
	if err != nil {
		h.Close()
		return nil, err
	}
	r.prompt = "Hello, P2P AI!"
	b.muxer = r.muxer
	return r, nil
}

func (b *bench) measurePings(ctx context.Context) ([]any, error) {
	r, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer r.host.Close()
	s, err := r.open(ctx, ping.ID)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	times := make([]time.Duration, b.pings)
	sent, received := make([]byte, benchPingSize), make([]byte, benchPingSize)
	for i := range times {
		rand.Read(sent)
		start := time.Now()
		if _, err := s.Write(sent); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(s, received); err != nil {
			return nil, noEOF(err)
		}
		if !bytes.Equal(sent, received) {
			return nil, errors.New("the answer is not what was sent")
		}
		times[i] = time.Since(start)
	}
	return []any{"ping_ms", summarize(times)}, nil
}

// timedTask takes from before the task is signed to after its result is verified; the end of the stream is waited for behind that.
func timedTask(ctx context.Context, r *requester) (took time.Duration, err error) {
	start := time.Now()
	q, err := r.newTask(nil)
	if err != nil {
		return 0, err
	}
	s, in, got, err := r.result(ctx, q)
	if err != nil {
		return 0, err
	}
	took = time.Since(start)
	defer s.Reset()
	return took, cmp.Or(completed(got.result), finish(s, in))
}

func (b *bench) measureTasks(ctx context.Context) ([]any, error) {
	r, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer r.host.Close()
	times := make([]time.Duration, b.tasks)
	for i := range times {
		if times[i], err = timedTask(ctx, r); err != nil {
			return nil, err
		}
	}
	counted := times[benchWarmUp:]
	if !b.samples {
		return []any{"task_seq_ms", summarize(counted)}, nil
	}
	all := sampled{summarize(counted), make([]float64, len(counted))}
	for i, took := range counted {
		all.Samples[i] = milliseconds(took)
	}
	return []any{"task_seq_ms", all}, nil
}

type sampled struct {
	summary
	Samples []float64 `json:"samples"`
}

type concurrent struct {
	InFlight int     `json:"in_flight"`
	Total    int     `json:"total"`
	PerS     float64 `json:"per_s"`
	Latency  summary `json:"latency_ms"`
}

func (b *bench) measureConcurrentTasks(ctx context.Context) ([]any, error) {
	r, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer r.host.Close()
	times := make([]time.Duration, b.total) // in the order of their ends
	var ended atomic.Int64
	var warm time.Time
	if err := atOnce(ctx, b.total, b.concurrency, func(ctx context.Context, _ int) error {
		took, err := timedTask(ctx, r)
		if err != nil {
			return err
		}
		nth := ended.Add(1)
		times[nth-1] = took
		if nth == int64(b.concurrency) {
			warm = time.Now()
		}
		return nil
	}); err != nil {
		return nil, err
	}
	counted := b.total - b.concurrency
	return []any{"task_conc", concurrent{b.concurrency, b.total, perSecond(counted, time.Since(warm)), summarize(times[b.concurrency:])}}, nil
}

// measureConnections has a host for each connection that is under way at once, because a host has but one with a peer.
func (b *bench) measureConnections(ctx context.Context) ([]any, error) {
	lanes := make([]*requester, b.parallel)
	for i := range lanes {
		h, key, err := newHost(b.muxers, libp2p.NoListenAddrs)
		if err != nil {
			return nil, err
		}
		defer h.Close()
		h.Peerstore().AddAddrs(b.target.ID, b.target.Addrs, benchLimit)
		lanes[i] = &requester{host: h, key: key, peer: b.target.ID}
	}
	times := make([]time.Duration, b.connections)
	var next atomic.Int64
	round := func(until func(network.Conn) error) error {
		next.Store(0)
		return atOnce(ctx, b.parallel, b.parallel, func(ctx context.Context, lane int) error {
			for i := next.Add(1) - 1; i < int64(len(times)); i = next.Add(1) - 1 {
				start := time.Now()
				c, err := lanes[lane].host.Network().DialPeer(ctx, b.target.ID)
				if err == nil && until != nil {
					err = until(c)
				}
				if err != nil {
					return err
				}
				times[i] = time.Since(start)
				if i == 0 {
					b.muxer = muxerOf(c)
				}
				c.Close()
			}
			return nil
		})
	}
	start := time.Now()
	if err := round(nil); err != nil {
		return nil, err
	}
	rate := perSecond(b.connections, time.Since(start))
	connected := summarize(times)
	if err := round(func(c network.Conn) error { return firstByte(ctx, c) }); err != nil {
		return nil, err
	}
	return []any{"connect_ms", connected, "conn", struct {
		PerS float64 `json:"per_s"`
	}{rate}, "first_byte_ms", summarize(times)}, nil
}

// firstByte pings, and returns with the answer's first byte. The host's NewStream would wait for identify.
func firstByte(ctx context.Context, c network.Conn) error {
	s, err := c.NewStream(ctx)
	if err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	s.SetDeadline(deadline)
	lazy := multistream.NewMSSelect(s, protocol.ID(ping.ID))
	sent := make([]byte, benchPingSize)
	rand.Read(sent)
	if _, err := lazy.Write(sent); err != nil {
		return err
	}
	var first [1]byte
	if _, err := io.ReadFull(lazy, first[:]); err != nil {
		return noEOF(err)
	}
	if first[0] != sent[0] {
		return errors.New("the answer is not what was sent")
	}
	return nil
}

type rate struct {
	Bytes uint64  `json:"bytes"`
	MS    float64 `json:"ms"`
	MBps  float64 `json:"MBps"`
}

func (b *bench) measureBulk(ctx context.Context) ([]any, error) {
	r, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer r.host.Close()
	size := uint64(b.bulk) << 20
	one := func(up, down uint64) (rate, error) {
		start := time.Now()
		s, err := r.open(ctx, perfProtocol)
		if err != nil {
			return rate{}, err
		}
		defer s.Reset()
		if err := perf(s, up, down); err != nil {
			return rate{}, err
		}
		took := time.Since(start)
		return rate{size, milliseconds(took), rounded(float64(size) / 1e6 / took.Seconds())}, nil
	}
	up, err := one(size, 0)
	if err != nil {
		return nil, fmt.Errorf("up: %w", err)
	}
	down, err := one(0, size)
	if err != nil {
		return nil, fmt.Errorf("down: %w", err)
	}
	return []any{"bulk_up", up, "bulk_down", down}, nil
}

// holdConnections has a host for each connection, and so a PeerId.
func (b *bench) holdConnections(ctx context.Context) error {
	held := make([]*requester, b.hold)
	defer func() {
		atOnce(context.Background(), len(held), holdParallel, func(_ context.Context, i int) error {
			if held[i] != nil {
				held[i].host.Close()
			}
			return nil
		})
	}()
	if err := atOnce(ctx, b.hold, holdParallel, func(ctx context.Context, i int) (err error) {
		held[i], err = (&bench{target: b.target, muxers: b.muxers}).connect(ctx)
		return err
	}); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	emit("held", "n", b.hold)
	io.Copy(io.Discard, os.Stdin)
	for _, r := range held {
		if r.host.Network().Connectedness(b.target.ID) != network.Connected {
			return errors.New("hold: a connection was lost")
		}
	}
	return nil
}

// atOnce does `do` for 0 to n-1, `parallel` of them at once. The first error ends it.
func atOnce(ctx context.Context, n, parallel int, do func(context.Context, int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, parallel) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					stop(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// summary of single measurements, in ms; the percentiles by nearest rank.
type summary struct {
	N   int     `json:"n"`
	Min float64 `json:"min"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func summarize(times []time.Duration) summary {
	times = slices.Sorted(slices.Values(times))
	n := len(times)
	rank := func(percent int) float64 { return milliseconds(times[(n*percent+99)/100-1]) }
	return summary{n, milliseconds(times[0]), rank(50), rank(99), milliseconds(times[n-1])}
}

func perSecond(n int, took time.Duration) float64 { return rounded(float64(n) / took.Seconds()) }

func rounded(x float64) float64 { return math.Round(x*10) / 10 }
