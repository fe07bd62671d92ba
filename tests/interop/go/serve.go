package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
)

// patience is how long a stream may stay without its task, and without its end after the result.
const patience = 30 * time.Second

// provider answers tasks with the mock executor.
type provider struct {
	host    host.Host
	key     crypto.PrivKey
	refused atomic.Int64
}

func (p *provider) register() {
	p.host.SetStreamHandler(taskProtocol, p.serveTask)
	p.host.SetStreamHandler(infoProtocol, p.serveInfo)
	p.host.SetStreamHandler(echoProtocol, p.serveEcho)
}

func (p *provider) serveTask(s network.Stream) {
	remote := s.Conn().RemotePeer()
	in := bufio.NewReader(s)
	s.SetReadDeadline(time.Now().Add(patience))
	m, err := receive(in, maxFrame, remote, kindTask)
	if err == io.EOF {
		s.Close()
		return
	}
	if err != nil {
		p.refuse(s, err)
		return
	}
	t, rejection := p.judge(m.payload)
	if t.TimeoutMS > 0 {
		s.SetWriteDeadline(time.Now().Add(time.Duration(t.TimeoutMS) * time.Millisecond))
	}
	// The mock takes no time, so that a cancellation can only come while it writes, and then ends the writing.
	status, err := p.answer(s, remote, m.payload, t, rejection)
	if err == nil {
		err = s.CloseWrite()
	}
	if err != nil {
		p.refuse(s, fmt.Errorf("task %s given up: %w", t.ID, err))
		return
	}
	emit("task", "task_id", t.ID, "status", status, "peer", remote)

	// Nothing more may come. Reading on is the only way to see it if something does.
	s.SetReadDeadline(time.Now().Add(patience))
	if _, err := in.ReadByte(); err == nil {
		p.refuse(s, errors.New("more than one task on a stream"))
		return
	}
	s.Close()
}

// judge gives the task, and the error to reject it with or nil.
func (p *provider) judge(payload []byte) (task, *errorObj) {
	t, err := parseTask(payload)
	if err != nil {
		return t, &errorObj{"invalid_task", err.Error()}
	}
	if t.Recipient != "" {
		// Decoded, because a PeerId has more than one text.
		if id, err := peer.Decode(t.Recipient); err != nil || id != p.host.ID() {
			return t, &errorObj{"wrong_recipient", "this is " + p.host.ID().String() + "; send the task to its recipient"}
		}
	}
	if t.Type != "inference" {
		return t, &errorObj{"unsupported_task_type", "only inference is served here"}
	}
	if t.Input.Model != "" && t.Input.Model != "mock" {
		return t, &errorObj{"unsupported_model", "the mock has no models; leave the model out or ask for mock"}
	}
	return t, nil
}

// answer writes the updates and the result, and gives the result's status.
func (p *provider) answer(w io.Writer, to peer.ID, payload []byte, t task, rejection *errorObj) (string, error) {
	r := result{TaskID: t.ID, Timestamp: now(), Recipient: to.String(), TaskSHA256: sha256Hex(payload)}
	if rejection != nil {
		r.Status, r.Error = "rejected", rejection
		return r.Status, p.send(w, kindResult, r)
	}
	text := "Processed: " + t.Input.Prompt
	r.Status, r.Executor, r.Output = "completed", "mock", &answer{text}

	// Before the updates, because a result that is too large for a frame has no output for them to add up to.
	last, err := p.envelope(kindResult, r)
	if err != nil {
		return "", err
	}
	if len(last) > maxFrame {
		r.Status, r.Output = "failed", nil
		r.Error = &errorObj{"output_too_large", "the answer doesn't fit a frame; send a shorter prompt"}
		return r.Status, p.send(w, kindResult, r)
	}
	if t.Stream {
		if err := p.send(w, kindUpdate, update{TaskID: t.ID, State: "running"}); err != nil {
			return "", err
		}
		for i, piece := range cut(text) {
			if err := p.send(w, kindUpdate, update{TaskID: t.ID, Seq: int64(i) + 1, Text: piece}); err != nil {
				return "", err
			}
		}
	}
	return r.Status, writeFrame(w, last)
}

// cut divides a text between code points into three pieces, or more if they would be too large for an update.
func cut(text string) []string {
	n := max(3, len(text)/(maxUpdateText-utf8.UTFMax)+1)
	var pieces []string
	start := 0
	for i := 1; i <= n; i++ {
		end := i * len(text) / n
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end--
		}
		if end > start {
			pieces = append(pieces, text[start:end])
		}
		start = end
	}
	return pieces
}

func (p *provider) serveInfo(s network.Stream) {
	s.SetWriteDeadline(time.Now().Add(patience))
	err := p.send(s, kindInfo, info{
		Agent:     agent,
		Timestamp: now(),
		Recipient: s.Conn().RemotePeer().String(),
		Executors: jsontext.Value(`[{"task_type":"inference","executor":"mock","models":[]}]`),
		Queue:     jsontext.Value(`{"running":0,"waiting":0,"slots":1,"capacity":0}`),
	})
	if err != nil {
		p.refuse(s, err)
		return
	}
	s.Close()
}

func (p *provider) serveEcho(s network.Stream) {
	if _, err := io.Copy(s, s); err != nil {
		p.refuse(s, err)
		return
	}
	s.Close()
}

func (p *provider) send(w io.Writer, kind string, content any) error {
	envelope, err := p.envelope(kind, content)
	if err != nil {
		return err
	}
	return writeFrame(w, envelope)
}

func (p *provider) envelope(kind string, content any) ([]byte, error) {
	payload, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	return seal(p.key, kind, payload)
}

// refuse ends a stream that broke the rules, or that broke, without a word to the other side.
func (p *provider) refuse(s network.Stream, reason error) {
	s.Reset()
	log.Printf("%s stream of %s ended (no. %d): %v", s.Protocol(), s.Conn().RemotePeer(), p.refused.Add(1), reason)
}

// reportConnections prints who comes and goes. The event bus tells it by peer, not by connection.
func reportConnections(h host.Host) error {
	sub, err := h.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(256))
	if err != nil {
		return err
	}
	go func() {
		for e := range sub.Out() {
			switch e := e.(event.EvtPeerConnectednessChanged); e.Connectedness {
			case network.Connected:
				emit("connected", "peer", e.Peer)
			case network.NotConnected:
				emit("disconnected", "peer", e.Peer)
			}
		}
	}()
	return nil
}
