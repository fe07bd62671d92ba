package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multiaddr"
)

const stepTimeout = 60 * time.Second

// requester does the steps of `dial` over one connection.
type requester struct {
	host       host.Host
	key        crypto.PrivKey
	peer       peer.ID
	addrs      []multiaddr.Multiaddr
	identified event.Subscription
	muxer      any // null if not told
	prompt     string
	size       int64
}

var steps = map[string]func(*requester, context.Context) error{
	"identify": (*requester).identify,
	"ping":     (*requester).ping,
	"info":     (*requester).info,
	"task":     (*requester).task,
	"stream":   (*requester).stream,
	"tampered": (*requester).tampered,
	"echo":     (*requester).echo,
	"cancel":   (*requester).cancel,
	"retry":    (*requester).retry,
	"conflict": (*requester).conflict,
	"codes":    (*requester).codes,
	"deadline": (*requester).deadline,
}

func connect(ctx context.Context, h host.Host, key crypto.PrivKey, target peer.AddrInfo) (*requester, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	// From before the connection on, because identify begins by itself and is reported once.
	identified, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed)}, eventbus.BufSize(16))
	if err != nil {
		return nil, err
	}
	if err := h.Connect(ctx, target); err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	connections := h.Network().ConnsToPeer(target.ID)
	if len(connections) == 0 {
		return nil, errors.New("the connection was closed at once")
	}
	return &requester{host: h, key: key, peer: target.ID, addrs: target.Addrs, identified: identified, muxer: muxerOf(connections[0])}, nil
}

func muxerOf(c network.Conn) any {
	if id := c.ConnState().StreamMultiplexer; id != "" {
		return strings.Split(string(id), "/")[1]
	}
	return nil
}

func (r *requester) step(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	return steps[name](r, ctx)
}

// open opens a stream on the connection that is there: a lost one is an error, not a reason to dial again.
func (r *requester) open(ctx context.Context, id protocol.ID) (network.Stream, error) {
	s, err := r.host.NewStream(network.WithNoDial(ctx, "one connection for all steps"), r.peer, id)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	s.SetDeadline(deadline)
	return s, nil
}

func (r *requester) identify(ctx context.Context) error {
	for {
		select {
		case e := <-r.identified.Out():
			switch e := e.(type) {
			case event.EvtPeerIdentificationCompleted:
				if e.Peer != r.peer {
					continue
				}
				addrs := []string{}
				for _, a := range e.ListenAddrs {
					addrs = append(addrs, a.String())
				}
				var observed any
				if e.ObservedAddr != nil {
					observed = e.ObservedAddr.String()
				}
				emit("identify", "agent", e.AgentVersion, "protocol_version", e.ProtocolVersion,
					"protocols", append([]protocol.ID{}, e.Protocols...), "listen_addrs", addrs, "observed", observed)
				return nil
			case event.EvtPeerIdentificationFailed:
				if e.Peer == r.peer {
					return e.Reason
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *requester) ping(ctx context.Context) error {
	ctx, cancel := context.WithCancel(network.WithNoDial(ctx, "one connection for all steps"))
	defer cancel()
	results := ping.Ping(ctx, r.host, r.peer)
	times := []float64{}
	for len(times) < 3 {
		one, open := <-results
		if !open {
			return fmt.Errorf("no answer: %w", ctx.Err())
		}
		if one.Error != nil {
			return one.Error
		}
		times = append(times, milliseconds(one.RTT))
	}
	emit("ping", "ms", times)
	return nil
}

func (r *requester) info(ctx context.Context) error {
	s, err := r.open(ctx, infoProtocol)
	if err != nil {
		return err
	}
	defer s.Reset() // without effect on a stream that has ended on both sides
	if err := s.CloseWrite(); err != nil {
		return err
	}
	in := bufio.NewReader(s)
	m, err := receive(in, maxInfoFrame, r.peer, kindInfo)
	if err != nil {
		return noEOF(err)
	}
	i, err := parseInfo(m.payload, r.host.ID())
	if err != nil {
		return err
	}
	if err := ended(in); err != nil {
		return err
	}
	emit("info", "agent", i.Agent, "executors", i.Executors, "queue", i.Queue)
	return nil
}

func (r *requester) tampered(ctx context.Context) error {
	q, err := r.newTask(nil)
	if err != nil {
		return err
	}
	// A bit of the prompt's first letter or so: the JSON stays whole, and only the signature can tell.
	at := bytes.Index(q.envelope, q.payload) + bytes.Index(q.payload, []byte(`"prompt":"`)) + len(`"prompt":"`)
	q.envelope[at] ^= 1
	// Forgotten, so that the protocol is agreed on before anything is sent: otherwise the stream of a listener
	// that doesn't know it could end in the same way.
	if err := r.host.Peerstore().RemoveProtocols(r.peer, taskProtocol); err != nil {
		return err
	}
	s, err := r.open(ctx, taskProtocol)
	if err != nil {
		return err
	}
	defer s.Reset()
	if err := writeFrame(s, q.envelope); err != nil && !errors.Is(err, network.ErrReset) {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(s, 1))
	if len(content) > 0 {
		return errors.New("the tampered task was answered with content")
	}
	if err != nil && !errors.Is(err, network.ErrReset) {
		return fmt.Errorf("the stream did not end: %w", err)
	}
	if len(r.host.Network().ConnsToPeer(r.peer)) == 0 {
		return errors.New("the connection ended together with the stream")
	}
	emit("tampered", "refused", true)
	return nil
}

func (r *requester) echo(ctx context.Context) error {
	s, err := r.open(ctx, echoProtocol)
	if err != nil {
		return err
	}
	defer s.Reset()
	start := time.Now()
	sent, received := sha256.New(), sha256.New()
	written := make(chan error, 1)
	go func() {
		err := writeRandom(s, sent, r.size)
		if err == nil {
			err = s.CloseWrite()
		}
		if err != nil {
			s.Reset() // otherwise the reader would wait in vain
		}
		written <- err
	}()
	n, readErr := io.Copy(received, s)
	took := time.Since(start)
	if readErr != nil {
		s.Reset()
	}
	if err := errors.Join(readErr, <-written); err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, r.size, err)
	}
	if n != r.size {
		return fmt.Errorf("%d bytes came back of %d", n, r.size)
	}
	sum := hex.EncodeToString(received.Sum(nil))
	if sum != hex.EncodeToString(sent.Sum(nil)) {
		return errors.New("the bytes that came back are not those that were sent")
	}
	emit("echo", "bytes", n, "sha256", sum, "ms", milliseconds(took))
	return nil
}

func writeRandom(w io.Writer, sum hash.Hash, size int64) error {
	var seed [32]byte
	rand.Read(seed[:])
	_, err := io.CopyN(io.MultiWriter(sum, w), mathrand.NewChaCha8(seed), size)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
