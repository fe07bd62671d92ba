package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
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

// closing is how much later than its streams a connection may be seen to be lost.
const closing = 200 * time.Millisecond

// provider answers tasks with the mock executor.
type provider struct {
	host    host.Host
	key     crypto.PrivKey
	memory  *memory
	lie     string // what is wrong with its answers, or nothing
	quiet   bool   // no line for each task
	refused atomic.Int64
}

func newProvider(h host.Host, key crypto.PrivKey) *provider {
	return &provider{host: h, key: key, memory: newMemory()}
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
	s.SetReadDeadline(time.Time{})
	gone, closed := watch(in)

	t, rejection := p.judge(m.payload)
	var c *course
	var first bool
	if rejection == nil {
		c, first, rejection = p.admit(taskKey{remote, t.ID}, t, m.payload)
	}
	if rejection != nil {
		err = p.reject(s, remote, t, m.payload, rejection)
	} else {
		err = p.deliver(s, c, first, gone)
		p.leave(c, s, err)
	}
	if err == nil {
		err = s.CloseWrite()
	}
	if err != nil {
		p.refuse(s, fmt.Errorf("task %s given up: %w", t.ID, err))
		return
	}

	// Nothing more may come. Reading on is the only way to see it if something does.
	s.SetReadDeadline(time.Now().Add(patience))
	<-closed
	select {
	case err := <-gone:
		if err == errMore {
			p.refuse(s, err)
			return
		}
	default:
	}
	s.Close()
}

var errMore = errors.New("more than one task on a stream")

// watch reads what is behind a task. `gone` gets why the stream is no good any more; its end alone is no reason.
func watch(in *bufio.Reader) (gone <-chan error, closed <-chan struct{}) {
	reasons, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		if _, err := in.ReadByte(); err == nil {
			reasons <- errMore
		} else if err != io.EOF {
			reasons <- err
		}
	}()
	return reasons, done
}

// judge gives the task, and the error to reject it with or nil.
func (p *provider) judge(payload []byte) (task, *errorObj) {
	t, err := parseTask(payload)
	if err != nil {
		return t, &errorObj{Code: "invalid_task", Message: err.Error()}
	}
	if t.Recipient != "" {
		// Decoded, because a PeerId has more than one text.
		if id, err := peer.Decode(t.Recipient); err != nil || id != p.host.ID() {
			return t, &errorObj{Code: "wrong_recipient", Message: "this is " + p.host.ID().String() + "; send the task to its recipient"}
		}
	}
	if t.Type != "inference" {
		return t, &errorObj{Code: "unsupported_task_type", Message: "only inference is served here"}
	}
	if t.Input.Model != "" && t.Input.Model != "mock" {
		return t, &errorObj{Code: "unsupported_model", Message: "the mock has no models; leave the model out or ask for mock"}
	}
	return t, nil
}

// admit gives the course of a task and whether it begins now, or the error to reject the task with.
func (p *provider) admit(key taskKey, t task, payload []byte) (c *course, first bool, rejection *errorObj) {
	c, conflict := p.memory.join(key, payload)
	if conflict {
		return nil, false, &errorObj{Code: "task_id_conflict", Message: "another task had this task_id; take a new one"}
	}
	if c != nil {
		p.tell("repeat", "task_id", t.ID, "peer", key.requester)
		return c, false, nil
	}
	attempt := p.memory.attempt(key)
	does := planFor(t.Input.Prompt)
	if rejection := does.rejection(attempt); rejection != nil {
		return nil, false, rejection
	}
	if attempt > 1 {
		does.breakAfter = 0
	}
	c = &course{key: key, task: t, payload: payload, plan: does}
	c.run, c.stop = context.WithCancelCause(context.Background())
	if t.TimeoutMS > 0 {
		c.deadline = time.AfterFunc(time.Duration(t.TimeoutMS)*time.Millisecond, func() { c.stop(errDeadline) })
	}
	c, first = p.memory.begin(c)
	if first {
		go p.run(c)
	}
	return c, first, nil
}

func (p *provider) reject(w io.Writer, to peer.ID, t task, payload []byte, rejection *errorObj) error {
	envelope, err := p.result(to, t, payload, "rejected", nil, rejection)
	if err == nil {
		err = writeFrame(w, envelope)
	}
	if err == nil {
		p.tell("task", "task_id", t.ID, "status", "rejected", "code", rejection.Code, "peer", to)
	}
	return err
}

// run does what the prompt says, until somebody stops it.
func (p *provider) run(c *course) {
	text := "Processed: " + c.task.Input.Prompt
	status, output, failure := "completed", &answer{text}, (*errorObj)(nil)
	said := "" // where that is not the status

	// Before the updates, because a result that is too large for a frame has no output for them to add up to.
	envelope, err := p.result(c.key.requester, c.task, c.payload, status, output, nil)
	if err != nil {
		panic(err) // signing what was just made cannot fail
	}
	if len(envelope) > maxFrame {
		status, output = "failed", nil
		failure = &errorObj{Code: "output_too_large", Message: "the answer doesn't fit a frame; send a shorter prompt"}
	} else {
		pieces := cut(text, c.plan.pieces)
		if code := c.plan.code; code != "" {
			pieces = pieces[:1]
			status, failure = statusOf(code), &errorObj{Code: code, Message: "the prompt asked for it; send another prompt"}
		}
		written := ""
		for _, piece := range pieces {
			if c.plan.pause > 0 {
				select {
				case <-time.After(c.plan.pause):
				case <-c.run.Done():
				}
			}
			if reason := context.Cause(c.run); reason != nil {
				status, failure = "cancelled", &errorObj{Code: "cancelled", Message: reason.Error() + "; send it again"}
				if reason == errDeadline {
					failure.Code = "deadline_exceeded"
				} else if reason == errLost {
					said = "lost"
				}
				break
			}
			p.memory.add(c, piece)
			written += piece
		}
		output = &answer{written}
	}
	if failure != nil {
		if envelope, err = p.result(c.key.requester, c.task, c.payload, status, output, failure); err != nil {
			panic(err)
		}
	}
	p.memory.finish(c, envelope, status != "cancelled")
	line := []any{"task_id", c.task.ID, "status", cmp.Or(said, status), "peer", c.key.requester}
	if failure != nil {
		line = append(line, "code", failure.Code)
	}
	p.tell("task", line...)
	c.stop(nil)
	if c.deadline != nil {
		c.deadline.Stop() // it would keep what the memory has forgotten
	}
}

// deliver writes a task's updates and its result to one of its streams, of which the first may be told to break the connection.
func (p *provider) deliver(s network.Stream, c *course, first bool, gone <-chan error) error {
	seq := int64(0)
	send := func(u update) error {
		u.TaskID, u.Seq = c.task.ID, seq
		seq++
		if p.lie == "seq" {
			seq++
		}
		s.SetWriteDeadline(time.Now().Add(patience))
		return p.send(s, kindUpdate, u)
	}
	streamed := c.task.Stream
	if streamed {
		if err := send(update{State: "running"}); err != nil {
			return err
		}
	} else if p.lie == "updates" || p.lie == "seq" {
		send(update{Text: "not asked for"})
	}
	for seen := 0; ; {
		pieces, last, changed := p.memory.state(c, seen)
		for _, piece := range pieces {
			seen++
			if streamed && !(p.lie == "updates" && seen == 1) {
				if err := send(update{Text: piece}); err != nil {
					return err
				}
			}
			if seen == c.plan.breakAfter && first {
				p.host.Network().ClosePeer(c.key.requester)
				return errLost
			}
		}
		if last != nil {
			s.SetWriteDeadline(time.Now().Add(patience))
			return p.writeResult(s, last)
		}
		select {
		case <-changed:
		case err := <-gone:
			return err
		}
	}
}

// leave tells the memory how a stream ended: whether it was reset, or went away with its connection.
func (p *provider) leave(c *course, s network.Stream, err error) {
	reason := errReset
	// Only its text tells a reset that the requester sent from that of a stream whose connection is gone.
	sent := errors.Is(err, network.ErrReset) && !strings.Contains(err.Error(), "connection closed")
	if err != nil && !sent {
		// The streams of a connection may learn of its end before itself does.
		for end := time.Now().Add(closing); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if s.Conn().IsClosed() {
				reason = errLost
				break
			}
		}
	}
	p.memory.leave(c, reason)
}

// result gives the envelope of a result.
func (p *provider) result(to peer.ID, t task, payload []byte, status string, output *answer, failure *errorObj) ([]byte, error) {
	r := result{TaskID: t.ID, Status: status, Output: output, Error: failure, Timestamp: now(), Recipient: to.String(), TaskSHA256: sha256Hex(payload)}
	if status != "rejected" {
		r.Executor = "mock"
	}
	return p.sealResult(r)
}

// cut divides a text between code points into n pieces, or more if they would be too large for an update.
func cut(text string, n int) []string {
	n = max(n, len(text)/(maxUpdateText-utf8.UTFMax)+1)
	var pieces []string
	start := 0
	for i := 1; i <= n; i++ {
		end := i * len(text) / n
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end--
		}
		if end > start {
			pieces = append(pieces, text[start:end])
			start = end
		}
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

// tell writes a line about a task.
func (p *provider) tell(event string, members ...any) {
	if !p.quiet {
		emit(event, members...)
	}
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
