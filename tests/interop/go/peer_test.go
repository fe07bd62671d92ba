package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// pair connects a requester to a provider over loopback.
func pair(t *testing.T) (*requester, *provider) {
	t.Helper()
	start := func(listen libp2p.Option) (host.Host, *provider) {
		h, key, err := newHost("yamux", listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h, &provider{host: h, key: key}
	}
	served, p := start(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	p.register()
	asking, q := start(libp2p.NoListenAddrs)
	r, err := connect(context.Background(), asking, q.key, *host.InfoFromHost(served))
	if err != nil {
		t.Fatal(err)
	}
	r.prompt, r.size = "Grüße, 世界 😀", 1<<20
	return r, p
}

func TestSteps(t *testing.T) {
	r, _ := pair(t)
	for name := range steps {
		if err := r.step(context.Background(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLargePrompts(t *testing.T) {
	r, p := pair(t)
	r.prompt = strings.Repeat("日本😀", 300_000)
	res, updates, err := r.ask(context.Background(), true)
	if err != nil || res.Status != "completed" || updates < 46 {
		t.Errorf("%s after %d updates: %v", res.Status, updates, err)
	}
	// So long that the task fits a frame and the answer doesn't.
	r.prompt = strings.Repeat("x", maxFrame-400)
	res, _, err = r.ask(context.Background(), false)
	if err != nil || res.Status != "failed" || res.Error.Code != "output_too_large" {
		t.Errorf("%+v, %v", res.Error, err)
	}
	r.prompt = strings.Repeat("x", maxFrame)
	if _, _, err = r.ask(context.Background(), false); err == nil || p.refused.Load() != 1 {
		t.Errorf("a task above the limit of a frame: %v, %d refused", err, p.refused.Load())
	}
}

// exchange sends bytes on a new task stream, closes it if asked to, and gives all that comes back.
func exchange(t *testing.T, r *requester, data []byte, end bool) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := r.open(ctx, taskProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	if _, err := s.Write(data); err != nil {
		t.Fatal(err)
	}
	if end {
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	return io.ReadAll(s)
}

func frame(t *testing.T, envelope []byte, err error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err = errors.Join(err, writeFrame(&b, envelope)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestProviderRefuses(t *testing.T) {
	r, p := pair(t)
	sealed := func(kind string, by *provider) []byte {
		envelope, err := seal(by.key, kind, []byte(taskWith()))
		return frame(t, envelope, err)
	}
	own := &provider{key: r.key}
	for name, data := range map[string][]byte{
		"another's signature": sealed(kindTask, p),
		"another kind":        sealed(kindResult, own),
		"not an envelope":     {3, 1, 2, 3},
		"too long a frame":    {0x81, 0x80, 0x80, 0x02},
		"a length cut off":    {0x81},
		"a frame cut off":     sealed(kindTask, own)[:100],
	} {
		end := strings.HasSuffix(name, "cut off")
		if back, err := exchange(t, r, data, end); len(back) > 0 || !errors.Is(err, network.ErrReset) {
			t.Errorf("%s: %d bytes, %v", name, len(back), err)
		}
	}
	if back, err := exchange(t, r, nil, true); len(back) > 0 || err != nil {
		t.Errorf("closed empty: %d bytes, %v", len(back), err)
	}
	// The result of the first task may come before the second one is seen.
	before := p.refused.Load()
	exchange(t, r, bytes.Repeat(sealed(kindTask, own), 2), false)
	for range 100 {
		if p.refused.Load() > before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a second task was not refused")
}

func TestProviderRejects(t *testing.T) {
	r, _ := pair(t)
	for _, c := range []struct{ payload, code, id string }{
		{taskWith(`"stream":5`), "invalid_task", taskID},
		{taskWith(`"task_id":"x"`), "invalid_task", nilUUID},
		{`[]`, "invalid_task", nilUUID},
		{taskWith(`"recipient":"` + providerID + `"`), "wrong_recipient", taskID},
		{taskWith(`"recipient":"`+providerID+`"`, `"task_type":"other"`, `"timeout_ms":0`), "invalid_task", taskID},
		{taskWith(`"recipient":"`+providerID+`"`, `"task_type":"other"`), "wrong_recipient", taskID},
		{taskWith(`"task_type":"other"`, `"input":{"model":5}`), "unsupported_task_type", taskID},
		{taskWith(`"input":{"prompt":"x","model":"gpt"}`), "unsupported_model", taskID},
		{taskWith(`"input":{"prompt":"x","model":"mock"}`, `"recipient":"`+r.peer.String()+`"`), "", taskID},
		{taskWith(`"recipient":"` + peer.ToCid(r.peer).String() + `"`), "", taskID},
	} {
		envelope, err := seal(r.key, kindTask, []byte(c.payload))
		back, err := exchange(t, r, frame(t, envelope, err), true)
		if err != nil {
			t.Errorf("%s: %v", c.payload, err)
			continue
		}
		m, err := receive(frames(back), maxFrame, r.peer, kindResult)
		if err != nil {
			t.Errorf("%s: %v", c.payload, err)
			continue
		}
		res, err := parseResult(m.payload, taskID, []byte(c.payload), r.host.ID())
		code := ""
		if res.Error != nil {
			code = res.Error.Code
		}
		if err != nil || code != c.code || res.TaskID != c.id {
			t.Errorf("%s: code %q, id %s, %v", c.payload, code, res.TaskID, err)
		}
	}
}

// Each provider here breaks one rule, and the requester has to notice which.
func TestRequesterRefuses(t *testing.T) {
	type answering struct {
		*provider
		network.Stream
		task    task
		payload []byte
	}
	good := func(a answering) result {
		return result{TaskID: a.task.ID, Status: "completed", Output: &answer{"ab"}, Timestamp: now(), Executor: "mock",
			Recipient: a.Conn().RemotePeer().String(), TaskSHA256: sha256Hex(a.payload)}
	}
	piece := func(a answering, seq int64, text string) {
		a.send(a, kindUpdate, update{TaskID: a.task.ID, Seq: seq, Text: text})
	}
	key, _ := identity(t, providerKey)
	another := &provider{key: key}
	for _, c := range []struct {
		name, complaint string
		stream          bool
		serve           func(answering)
	}{
		{"good", "", true, func(a answering) { piece(a, 0, "a"); piece(a, 1, "b"); a.send(a, kindResult, good(a)) }},
		{"no result", "no result", false, func(a answering) {}},
		{"a reset", "no result", true, func(a answering) { piece(a, 0, "a"); a.Reset() }},
		{"another signer", "signed by", false, func(a answering) { another.send(a, kindResult, good(a)) }},
		{"another kind", "may not come now", false, func(a answering) { a.send(a, kindInfo, good(a)) }},
		{"updates unasked", "may not come now", false, func(a answering) { piece(a, 0, "ab"); a.send(a, kindResult, good(a)) }},
		{"a gap", "seq is 2", true, func(a answering) { piece(a, 0, "a"); piece(a, 2, "b"); a.send(a, kindResult, good(a)) }},
		{"a wrong sum", "add up", true, func(a answering) { piece(a, 0, "a"); a.send(a, kindResult, good(a)) }},
		{"another hash", "task_sha256", false, func(a answering) { r := good(a); r.TaskSHA256 = taskHash; a.send(a, kindResult, r) }},
		{"another id", "task_id", false, func(a answering) { r := good(a); r.TaskID = taskID; a.send(a, kindResult, r) }},
		{"another recipient", "recipient", false, func(a answering) { r := good(a); r.Recipient = providerID; a.send(a, kindResult, r) }},
		{"more after it", "more bytes", false, func(a answering) { a.send(a, kindResult, good(a)); a.send(a, kindResult, good(a)) }},
		{"a cut frame", "no result", false, func(a answering) {
			envelope, _ := a.envelope(kindResult, good(a))
			var b bytes.Buffer
			writeFrame(&b, envelope)
			a.Write(b.Bytes()[:b.Len()-1])
		}},
		{"a flipped bit", "signature", false, func(a answering) {
			envelope, _ := a.envelope(kindResult, good(a))
			envelope[len(envelope)-1] ^= 1
			writeFrame(a, envelope)
		}},
		{"a duplicate name", "duplicate", false, func(a answering) {
			payload, _ := json.Marshal(good(a))
			envelope, _ := seal(a.key, kindResult, append([]byte(`{"status":"failed",`), payload[1:]...))
			writeFrame(a, envelope)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, p := pair(t)
			p.host.SetStreamHandler(taskProtocol, func(s network.Stream) {
				m, err := receive(bufio.NewReader(s), maxFrame, s.Conn().RemotePeer(), kindTask)
				if err != nil {
					t.Error(err)
				}
				asked, err := parseTask(m.payload)
				if err != nil {
					t.Error(err)
				}
				c.serve(answering{p, s, asked, m.payload})
				s.Close()
			})
			_, _, err := r.ask(context.Background(), c.stream)
			if (err == nil) != (c.complaint == "") || err != nil && !strings.Contains(err.Error(), c.complaint) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A listener that answers a tampered task, or doesn't know the protocol at all, has not refused it.
func TestTamperedNoticesAnAnswer(t *testing.T) {
	r, p := pair(t)
	p.host.SetStreamHandler(taskProtocol, func(s network.Stream) { s.Write([]byte{0}); s.Close() })
	if err := r.tampered(context.Background()); err == nil {
		t.Error("an answer passed for a refusal")
	}
	p.host.RemoveStreamHandler(taskProtocol)
	if err := r.step(context.Background(), "tampered"); err == nil {
		t.Error("an unknown protocol passed for a refusal")
	}
}
