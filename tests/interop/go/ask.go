package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

const (
	lingerMS   = 10_000
	deadlineMS = 500
)

// request is a task as it is sent.
type request struct {
	id                string
	stream            bool
	payload, envelope []byte
}

// reply is what came back for a request and was verified.
type reply struct {
	result   result
	envelope []byte // the result's
	text     string // of the updates
	updates  int64
}

// newTask makes a task for the prompt, which `change` may alter.
func (r *requester) newTask(change func(*task)) (request, error) {
	t := task{
		ID:        uuid.NewString(),
		Type:      "inference",
		Input:     input{Prompt: r.prompt},
		Timestamp: now(),
		Recipient: r.peer.String(),
		TimeoutMS: (stepTimeout - 2*time.Second).Milliseconds(), // so that the provider gives up before this side does
	}
	if change != nil {
		change(&t)
	}
	payload, err := json.Marshal(t)
	if err != nil {
		return request{}, err
	}
	return r.sealed(t.ID, t.Stream, payload)
}

func (r *requester) sealed(id string, stream bool, payload []byte) (request, error) {
	envelope, err := seal(r.key, kindTask, payload)
	return request{id, stream, payload, envelope}, err
}

// ask sends a task and gives its verified result.
func (r *requester) ask(ctx context.Context, q request) (reply, error) {
	s, in, got, err := r.result(ctx, q)
	if err != nil {
		return reply{}, err
	}
	defer s.Reset() // without effect on a stream that has ended on both sides
	return got, finish(s, in)
}

// result sends a task and gives its verified result, and the stream of which nothing else may come.
func (r *requester) result(ctx context.Context, q request) (network.Stream, *bufio.Reader, reply, error) {
	s, in, err := r.send(ctx, q)
	if err != nil {
		return nil, nil, reply{}, err
	}
	var got reply
	for got.envelope == nil {
		if err := r.next(in, q, &got); err != nil {
			s.Reset() // which cancels the task
			return nil, nil, reply{}, err
		}
	}
	return s, in, got, nil
}

func finish(s network.Stream, in *bufio.Reader) error {
	if err := s.CloseWrite(); err != nil && !errors.Is(err, network.ErrReset) {
		return err
	}
	return ended(in)
}

// begin sends a task and gives its stream when the first text has come.
func (r *requester) begin(ctx context.Context, q request) (network.Stream, reply, error) {
	s, in, err := r.send(ctx, q)
	var got reply
	for err == nil && got.text == "" {
		if err = r.next(in, q, &got); err == nil && got.envelope != nil {
			err = fmt.Errorf("it was %s before its first text", got.result.Status)
		}
	}
	return s, got, err
}

func (r *requester) send(ctx context.Context, q request) (network.Stream, *bufio.Reader, error) {
	s, err := r.open(ctx, taskProtocol)
	if err != nil {
		return nil, nil, err
	}
	if err := writeFrame(s, q.envelope); err != nil {
		s.Reset()
		return nil, nil, err
	}
	return s, bufio.NewReader(s), nil
}

// next reads and verifies one message more.
func (r *requester) next(in *bufio.Reader, q request, got *reply) error {
	kinds := []string{kindResult}
	if q.stream {
		kinds = append(kinds, kindUpdate)
	}
	envelope, err := readFrame(in, maxFrame)
	if err != nil {
		return fmt.Errorf("no result: %w", noEOF(err))
	}
	m, err := open(envelope, r.peer, kinds...)
	if err != nil {
		return fmt.Errorf("no result: %w", err)
	}
	if m.kind == kindUpdate {
		u, err := parseUpdate(m.payload, q.id, got.updates)
		if err != nil {
			return fmt.Errorf("update %d: %w", got.updates, err)
		}
		got.updates++
		got.text += u.Text
		return nil
	}
	res, err := parseResult(m.payload, q.id, q.payload, r.host.ID())
	if err != nil {
		return fmt.Errorf("the result doesn't verify: %w", err)
	}
	if q.stream && res.Output != nil && res.Output.Text != got.text {
		return fmt.Errorf("the updates add up to %q, but the output is %q", got.text, res.Output.Text)
	}
	got.result, got.envelope = res, envelope
	return nil
}

// ended waits for the end of a stream, by whatever flag, and refuses anything before it.
func ended(r io.ByteReader) error {
	_, err := r.ReadByte()
	if err == nil {
		return errors.New("more bytes after the last message")
	}
	if err == io.EOF || errors.Is(err, network.ErrReset) {
		return nil
	}
	return fmt.Errorf("no end of the stream after the last message: %w", err)
}

func outputText(r result) any {
	if r.Output == nil {
		return nil
	}
	return r.Output.Text
}

func completed(r result) error {
	if r.Error == nil {
		return nil
	}
	return fmt.Errorf("the task was %s: %s: %s", r.Status, r.Error.Code, r.Error.Message)
}

// refusedAs gives an error unless the result has this status and code.
func refusedAs(r result, status, code string) error {
	if r.Error == nil || r.Status != status || r.Error.Code != code {
		return fmt.Errorf("%s with %+v instead of %s with %s", r.Status, r.Error, status, code)
	}
	return nil
}

// ---- Steps ----

func (r *requester) task(ctx context.Context) error {
	q, err := r.newTask(nil)
	if err != nil {
		return err
	}
	got, err := r.ask(ctx, q)
	if err != nil {
		return err
	}
	emit("task", "status", got.result.Status, "text", outputText(got.result), "executor", got.result.Executor)
	return completed(got.result)
}

func (r *requester) stream(ctx context.Context) error {
	q, err := r.newTask(func(t *task) { t.Stream = true })
	if err != nil {
		return err
	}
	got, err := r.ask(ctx, q)
	if err != nil {
		return err
	}
	emit("stream", "status", got.result.Status, "text", outputText(got.result), "updates", got.updates)
	return completed(got.result)
}

// cancel lets the task linger, so that only the reset can be what stops it.
func (r *requester) cancel(ctx context.Context) error {
	q, err := r.newTask(func(t *task) { t.Stream, t.LingerMS = true, lingerMS })
	if err != nil {
		return err
	}
	s, got, err := r.begin(ctx, q)
	if err != nil {
		return err
	}
	if err := s.Reset(); err != nil {
		return err
	}
	// What is answered behind the reset proves that it has arrived.
	ctx, stop := context.WithCancel(network.WithNoDial(ctx, "one connection for all steps"))
	defer stop()
	if pong := <-ping.Ping(ctx, r.host, r.peer); pong.Error != nil {
		return fmt.Errorf("after the reset: %w", pong.Error)
	}
	emit("cancel", "task_id", q.id, "updates", got.updates)
	return nil
}

// retry sends one envelope three times: until the connection is dropped in its midst, until the result, and once more.
func (r *requester) retry(ctx context.Context) error {
	q, err := r.newTask(func(t *task) { t.Stream, t.LingerMS = true, lingerMS })
	if err != nil {
		return err
	}
	if _, _, err := r.begin(ctx, q); err != nil {
		return err
	}
	if err := r.host.Network().ClosePeer(r.peer); err != nil {
		return err
	}
	if err := r.host.Connect(ctx, peer.AddrInfo{ID: r.peer, Addrs: r.addrs}); err != nil {
		return fmt.Errorf("cannot connect again: %w", err)
	}
	second, err := r.ask(ctx, q)
	if err != nil {
		return fmt.Errorf("over a new connection: %w", err)
	}
	third, err := r.ask(ctx, q)
	if err != nil {
		return fmt.Errorf("after its end: %w", err)
	}
	emit("retry", "task_id", q.id, "status", second.result.Status, "text", outputText(second.result),
		"same", bytes.Equal(second.envelope, third.envelope))
	return completed(second.result)
}

func (r *requester) conflict(ctx context.Context) error {
	q, err := r.newTask(nil)
	if err != nil {
		return err
	}
	got, err := r.ask(ctx, q)
	if err == nil {
		err = completed(got.result)
	}
	if err != nil {
		return err
	}
	other, err := r.newTask(func(t *task) { t.ID, t.Input.Prompt = q.id, t.Input.Prompt+"!" })
	if err != nil {
		return err
	}
	if got, err = r.ask(ctx, other); err != nil {
		return err
	}
	if err := refusedAs(got.result, "rejected", "task_id_conflict"); err != nil {
		return err
	}
	emit("conflict", "task_id", q.id, "status", got.result.Status, "code", got.result.Error.Code)
	return nil
}

func (r *requester) deadline(ctx context.Context) error {
	q, err := r.newTask(func(t *task) { t.Stream, t.TimeoutMS = true, deadlineMS })
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, deadlineMS*time.Millisecond+5*time.Second)
	defer stop()
	got, err := r.ask(ctx, q)
	if err == nil {
		err = refusedAs(got.result, "cancelled", "deadline_exceeded")
	}
	if err != nil {
		return err
	}
	emit("deadline", "task_id", q.id, "status", got.result.Status, "code", got.result.Error.Code,
		"text", outputText(got.result), "updates", got.updates)
	return nil
}

// fault is a task that has to be rejected, made by changing one member of a good one.
type fault struct {
	code    string
	member  string // its name; with none, `value` is the whole payload
	value   string
	another bool // the member comes a second time
	unnamed bool // there is no valid task_id to answer with
}

var faults = []fault{
	{code: "invalid_task", value: `[]`, unnamed: true},
	{code: "invalid_task", member: "task_id", value: `"7"`, unnamed: true},
	{code: "invalid_task", member: "stream", value: `"true"`},
	{code: "invalid_task", member: "timeout_ms", value: `3e4`},
	{code: "invalid_task", member: "input", value: `{"prompt":"a","messages":[{"role":"user","content":"a"}]}`},
	{code: "invalid_task", member: "task_type", value: `"inference"`, another: true},
	{code: "wrong_recipient", member: "recipient", value: `"12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"`},
	{code: "unsupported_task_type", member: "task_type", value: `"translation"`},
	{code: "unsupported_model", member: "input", value: `{"prompt":"a","model":"no-such-model"}`},
}

func (f fault) payload(id string, recipient peer.ID) []byte {
	if f.member == "" {
		return []byte(f.value)
	}
	members := [][2]string{{"task_id", `"` + id + `"`}, {"task_type", `"inference"`}, {"input", `{"prompt":"a"}`},
		{"timestamp", `"` + now() + `"`}, {"recipient", `"` + recipient.String() + `"`}, {"timeout_ms", "30000"}}
	changed := [2]string{f.member, f.value}
	at := slices.IndexFunc(members, func(m [2]string) bool { return m[0] == f.member })
	if at < 0 || f.another {
		members = append(members, changed)
	} else {
		members[at] = changed
	}
	var parts []string
	for _, m := range members {
		parts = append(parts, `"`+m[0]+`":`+m[1])
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

func (r *requester) codes(ctx context.Context) error {
	codes := []string{}
	for _, f := range faults {
		id := uuid.NewString()
		payload := f.payload(id, r.peer)
		q, err := r.sealed(id, false, payload)
		if err != nil {
			return err
		}
		got, err := r.ask(ctx, q)
		if err == nil {
			err = refusedAs(got.result, "rejected", f.code)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", payload, err)
		}
		// Whether a task with a member twice has a readable id is a matter of taste.
		if !f.another && (got.result.TaskID == nilUUID) != f.unnamed {
			return fmt.Errorf("%s: answered for %s", payload, got.result.TaskID)
		}
		codes = append(codes, got.result.Error.Code)
	}
	emit("codes", "codes", codes)
	return nil
}
