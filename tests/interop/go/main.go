// Command peer is the go-libp2p end of the interop tests: the commands and the
// lines on standard output are described in ../README.md.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const (
	agent = "interop-peer-go/1.0"
	usage = "use: peer serve [--listen MULTIADDR]… [--muxer LIST] [--mdns] [--ipv6] [--perf] [--quiet] [--lie KIND]" +
		" | dial MULTIADDR [--muxer LIST] [--do LIST] [--prompt TEXT] [--bytes N]" +
		" | discover --for PEERID --wait SECONDS [--ipv6]" +
		" | bench MULTIADDR [--muxer LIST] [--pings N] [--tasks N] [--total N --concurrency C] [--connections N --parallel P] [--bulk MIB] [--hold N]"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		emit("error", "message", err.Error())
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch args[0] {
	case "serve":
		return runServe(ctx, args[1:])
	case "dial":
		return runDial(ctx, args[1:])
	case "discover":
		return runDiscover(ctx, args[1:])
	case "bench":
		return runBench(ctx, args[1:])
	}
	return fmt.Errorf("unknown command %q; %s", args[0], usage)
}

func runServe(ctx context.Context, args []string) error {
	flags := newFlags("serve")
	var listen []string
	flags.Func("listen", "multiaddr to listen on, may be repeated", func(s string) error {
		listen = append(listen, s)
		return nil
	})
	muxers := flags.String("muxer", "yamux", "muxers, separated by commas")
	withMDNS := flags.Bool("mdns", false, "announce and discover by mDNS")
	flags.Bool("ipv6", false, "no effect: go-libp2p's mDNS always uses both families")
	withPerf := flags.Bool("perf", false, "serve "+perfProtocol)
	quiet := flags.Bool("quiet", false, "no line for each task and each connection")
	lie := flags.String("lie", "", "what to get wrong in every answer")
	if _, err := parse(flags, args, 0); err != nil {
		return err
	}
	if err := checkLie(*lie); err != nil {
		return err
	}
	if listen == nil {
		listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	h, key, err := newHost(*muxers, libp2p.ListenAddrStrings(listen...))
	if err != nil {
		return err
	}
	defer h.Close()

	// Ends when standard input does, so that no peer outlives the test that started it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()

	if !*quiet {
		if err := reportConnections(h); err != nil {
			return err
		}
	}
	p := newProvider(h, key)
	p.lie, p.quiet = *lie, *quiet
	p.register()
	if *withPerf {
		h.SetStreamHandler(perfProtocol, p.servePerf)
	}
	addrs, err := ownAddrs(h)
	if err != nil {
		return err
	}
	emit("listening", "peer", h.ID(), "addrs", addrs)

	if *withMDNS {
		service := mdns.NewMdnsService(h, "", found(func(info peer.AddrInfo) { emitDiscovered(info) }))
		if err := service.Start(); err != nil {
			return fmt.Errorf("mDNS: %w", err)
		}
		defer service.Close()
	}
	<-ctx.Done()
	return nil
}

// parseTarget gives the one address behind the flags.
func parseTarget(flags *flag.FlagSet, args []string) (*peer.AddrInfo, error) {
	positional, err := parse(flags, args, 1)
	if err != nil {
		return nil, err
	}
	target, err := peer.AddrInfoFromString(positional[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", positional[0], err)
	}
	return target, nil
}

func runDial(ctx context.Context, args []string) error {
	flags := newFlags("dial")
	muxers := flags.String("muxer", "yamux", "muxers, separated by commas")
	do := flags.String("do", "identify,ping,info,task,stream,tampered,echo", "steps, separated by commas")
	prompt := flags.String("prompt", "Hello, P2P AI!", "prompt of the tasks")
	size := flags.Int64("bytes", 64<<20, "bytes to echo")
	target, err := parseTarget(flags, args)
	if err != nil {
		return err
	}
	if *size < 0 {
		return errors.New("--bytes must not be negative")
	}
	names := strings.Split(*do, ",")
	for _, name := range names {
		if steps[name] == nil {
			return fmt.Errorf("--do: no step is called %q", name)
		}
	}
	h, key, err := newHost(*muxers, libp2p.NoListenAddrs)
	if err != nil {
		return err
	}
	defer h.Close()
	r, err := connect(ctx, h, key, *target)
	if err != nil {
		return err
	}
	emit("connected", "peer", r.peer, "muxer", r.muxer)
	r.prompt, r.size = *prompt, *size
	for _, name := range names {
		if err := r.step(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func runDiscover(ctx context.Context, args []string) error {
	flags := newFlags("discover")
	wanted := flags.String("for", "", "PeerId to wait for")
	wait := flags.Float64("wait", 30, "seconds to wait")
	flags.Bool("ipv6", false, "no effect: go-libp2p's mDNS always uses both families")
	if _, err := parse(flags, args, 0); err != nil {
		return err
	}
	id, err := peer.Decode(*wanted)
	if err != nil {
		return fmt.Errorf("--for: %w", err)
	}
	// Every address, because the loopback address alone would be announced to nobody who can use it.
	h, _, err := newHost("yamux", libp2p.ListenAddrStrings("/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"))
	if err != nil {
		return err
	}
	defer h.Close()

	hits := make(chan peer.AddrInfo, 1)
	service := mdns.NewMdnsService(h, "", found(func(info peer.AddrInfo) {
		if info.ID != id {
			return
		}
		select {
		case hits <- info:
		default: // the first one is enough
		}
	}))
	start := time.Now()
	if err := service.Start(); err != nil {
		return fmt.Errorf("mDNS: %w", err)
	}
	defer service.Close()

	select {
	case info := <-hits:
		emitDiscovered(info, "ms", milliseconds(time.Since(start)))
		return nil
	case <-time.After(time.Duration(*wait * float64(time.Second))):
		return fmt.Errorf("%s was not discovered within %g s", id, *wait)
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}

// newHost makes a node with a new identity that speaks TCP, Noise and the given muxers and nothing else.
func newHost(muxers string, listen libp2p.Option) (host.Host, crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	options := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent(agent),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		// Said instead of found out, because finding it out means probing the other side for AutoNAT.
		libp2p.ForceReachabilityPrivate(),
		// A refusal shall come from a protocol, never from a quota that a busy test has used up.
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		listen,
	}
	for _, name := range strings.Split(muxers, ",") {
		if name != "yamux" {
			return nil, nil, fmt.Errorf("--muxer: go-libp2p has yamux only, not %q", name)
		}
	}
	options = append(options, libp2p.Muxer(yamux.ID, yamux.DefaultTransport))
	h, err := libp2p.New(options...)
	return h, key, err
}

// ownAddrs gives the addresses that others can dial, with wildcards resolved.
func ownAddrs(h host.Host) ([]string, error) {
	addrs, err := h.Network().InterfaceListenAddresses()
	if err != nil {
		return nil, err
	}
	return dialable(peer.AddrInfo{ID: h.ID(), Addrs: addrs}), nil
}

// dialable gives the addresses of a peer in the form that `dial` takes.
func dialable(info peer.AddrInfo) []string {
	out := []string{}
	for _, addr := range info.Addrs {
		out = append(out, addr.String()+"/p2p/"+info.ID.String())
	}
	return out
}

// found makes a function the receiver of mDNS discoveries.
type found func(peer.AddrInfo)

func (f found) HandlePeerFound(info peer.AddrInfo) { f(info) }

func emitDiscovered(info peer.AddrInfo, more ...any) {
	emit("peer_discovered", append([]any{"peer", info.ID, "addrs", dialable(info)}, more...)...)
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	return flags
}

// parse reads flags and exactly n other arguments, in whatever order they come.
func parse(flags *flag.FlagSet, args []string, n int) ([]string, error) {
	var positional []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			break
		}
		positional = append(positional, flags.Arg(0))
		args = flags.Args()[1:]
	}
	if len(positional) != n {
		return nil, fmt.Errorf("%d arguments besides the options, expected %d; %s", len(positional), n, usage)
	}
	return positional, nil
}

var output sync.Mutex

// emit writes one line to standard output: the event, then its members as name, value, name, value …
func emit(event string, members ...any) {
	output.Lock()
	defer output.Unlock()
	// Text from elsewhere, such as an error, must not be able to stop a line.
	line := jsontext.NewEncoder(os.Stdout, jsontext.AllowInvalidUTF8(true))
	line.WriteToken(jsontext.BeginObject)
	for _, v := range append([]any{"event", event}, members...) {
		if err := json.MarshalEncode(line, v); err != nil {
			panic(err)
		}
	}
	line.WriteToken(jsontext.EndObject)
}
