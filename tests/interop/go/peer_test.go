package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
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
		return h, newProvider(h, key)
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
		switch name {
		case "cancel", "retry", "deadline":
			r.prompt = "slow:20:50"
		default:
			r.prompt = "Grüße, 世界 😀"
		}
		if err := r.step(context.Background(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// put asks for the prompt, streamed or not.
func put(t *testing.T, r *requester, prompt string, stream bool) (reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.prompt = prompt
	q, err := r.newTask(func(t *task) { t.Stream = stream })
	if err != nil {
		t.Fatal(err)
	}
	return r.ask(ctx, q)
}

func TestPrompts(t *testing.T) {
	r, _ := pair(t)
	for code, status := range map[string]string{"busy": "rejected", "not_allowed": "rejected", "some_new_code": "rejected",
		"executor_failed": "failed", "output_too_large": "failed", "cancelled": "cancelled", "deadline_exceeded": "cancelled"} {
		got, err := put(t, r, "code:"+code, true)
		if err == nil {
			err = refusedAs(got.result, status, code)
		}
		if err != nil || (got.result.Output == nil) != (status == "rejected") || (code == "busy") != (got.result.Error.RetryAfterMS != nil) {
			t.Errorf("%s: %+v, %v", code, got.result, err)
		}
	}
	got, err := put(t, r, "slow:5:10", true)
	if err != nil || got.updates != 6 || got.text != "Processed: slow:5:10" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, ordinary := range []string{"slow:0:1", "slow:1", "busy:x:1", "break:0", "code:", "code:Ä"} {
		if got, err := put(t, r, ordinary, false); err != nil || got.result.Output == nil || got.result.Output.Text != "Processed: "+ordinary {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func TestBusyEndsAfterSoManyTimes(t *testing.T) {
	r, _ := pair(t)
	r.prompt = "busy:2:7"
	q, err := r.newTask(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		got, err := r.ask(context.Background(), q)
		if err != nil || (got.result.Status == "completed") != (i >= 2) {
			t.Errorf("time %d: %+v, %v", i, got.result, err)
		}
		if i < 2 && *got.result.Error.RetryAfterMS != 7 {
			t.Errorf("it is to be sent again after %d ms", *got.result.Error.RetryAfterMS)
		}
	}
}

func TestBrokenConnectionLeavesTheTaskRunning(t *testing.T) {
	r, p := pair(t)
	r.prompt = "break:1"
	q, err := r.newTask(func(t *task) { t.Stream, t.LingerMS = true, lingerMS })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ask(context.Background(), q); err == nil {
		t.Fatal("the connection was not dropped")
	}
	if err := r.host.Connect(context.Background(), *host.InfoFromHost(p.host)); err != nil {
		t.Fatal(err)
	}
	got, err := r.ask(context.Background(), q)
	if err != nil || got.text != "Processed: break:1" || p.memory.attempts[taskKey{r.host.ID(), q.id}] != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTaskStopsWhenItsLastStreamIsReset(t *testing.T) {
	r, p := pair(t)
	r.prompt = "slow:20:50"
	q, err := r.newTask(func(t *task) { t.Stream, t.LingerMS = true, lingerMS })
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	first, _, err := r.begin(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := r.begin(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	p.memory.mutex.Lock()
	run := p.memory.courses[taskKey{r.host.ID(), q.id}].run
	p.memory.mutex.Unlock()
	first.Reset()
	select {
	case <-run.Done():
		t.Error("stopped although another stream waits")
	case <-time.After(2 * closing):
	}
	second.Reset()
	select {
	case <-run.Done():
		if reason := context.Cause(run); reason != errReset {
			t.Errorf("stopped because %v", reason)
		}
	case <-time.After(10 * time.Second):
		t.Error("not stopped")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	large := make([]byte, 1<<20)
	for i := range maxResults + 1 {
		c := &course{key: taskKey{id: fmt.Sprint(i)}, payload: []byte("x")}
		m.begin(c)
		m.finish(c, []byte("y"), true)
	}
	if c, _ := m.join(taskKey{id: "0"}, []byte("x")); c != nil || len(m.courses) != maxResults {
		t.Errorf("%d results are remembered", len(m.courses))
	}
	for i := range 17 {
		c := &course{key: taskKey{id: fmt.Sprint("large", i)}, payload: large}
		m.begin(c)
		m.finish(c, []byte("y"), true)
	}
	if m.bytes > maxResultBytes || len(m.finished) != 15 {
		t.Errorf("%d results in %d bytes are remembered", len(m.finished), m.bytes)
	}
	if _, conflict := m.join(taskKey{id: "large16"}, []byte("x")); !conflict {
		t.Error("other bytes with the same id are no conflict")
	}
}

// Every lie has to be noticed by a requester that checks what it should.
func TestLies(t *testing.T) {
	for _, lie := range lies {
		for _, stream := range []bool{false, true} {
			r, p := pair(t)
			p.lie = lie
			if got, err := put(t, r, "x", stream); err == nil {
				t.Errorf("%s: accepted as %+v", lie, got.result)
			}
		}
	}
}

func TestLargePrompts(t *testing.T) {
	r, p := pair(t)
	got, err := put(t, r, strings.Repeat("日本😀", 300_000), true)
	if err != nil || got.result.Status != "completed" || got.updates < 46 {
		t.Errorf("%s after %d updates: %v", got.result.Status, got.updates, err)
	}
	// So long that the task fits a frame and the answer doesn't.
	got, err = put(t, r, strings.Repeat("x", maxFrame-400), false)
	if err != nil || got.result.Status != "failed" || got.result.Error.Code != "output_too_large" {
		t.Errorf("%+v, %v", got.result.Error, err)
	}
	if _, err = put(t, r, strings.Repeat("x", maxFrame), false); err == nil || p.refused.Load() != 1 {
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
	own := newProvider(nil, r.key)
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
	const otherTaskID = "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5c"
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
		{taskWith(`"recipient":"`+peer.ToCid(r.peer).String()+`"`, `"task_id":"`+otherTaskID+`"`), "", otherTaskID},
		{taskWith(`"input":{"prompt":"y"}`), "task_id_conflict", taskID},
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
		res, err := parseResult(m.payload, cmp.Or(strings.TrimSuffix(c.id, nilUUID), taskID), []byte(c.payload), r.host.ID())
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
	another := newProvider(nil, key)
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
			_, err := put(t, r, "ab", c.stream)
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
