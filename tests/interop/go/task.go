package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/multiformats/go-varint"
)

const (
	taskProtocol = "/p2p-ai-agents/task/1.0.0"
	infoProtocol = "/p2p-ai-agents/info/1.0.0"
	echoProtocol = "/p2p-ai-agents/test-echo/1.0.0"

	kindTask   = "/p2p-ai-agents/task"
	kindUpdate = "/p2p-ai-agents/update"
	kindResult = "/p2p-ai-agents/result"
	kindInfo   = "/p2p-ai-agents/info"

	maxFrame      = 4 << 20
	maxInfoFrame  = 64 << 10
	maxUpdateText = 64 << 10
	maxDepth      = 32

	nilUUID = "00000000-0000-0000-0000-000000000000"
)

// ---- Frames and envelopes ----

// message is a payload with its type: what go-libp2p signs and verifies as a record.
type message struct {
	kind    string
	payload []byte
}

func (*message) Domain() string                   { return "p2p-ai-agents" }
func (m *message) Codec() []byte                  { return []byte(m.kind) }
func (m *message) MarshalRecord() ([]byte, error) { return m.payload, nil }
func (m *message) UnmarshalRecord(b []byte) error { m.payload = b; return nil }

// seal signs a payload and gives the envelope's bytes.
func seal(key crypto.PrivKey, kind string, payload []byte) ([]byte, error) {
	envelope, err := record.Seal(&message{kind, payload}, key)
	if err != nil {
		return nil, err
	}
	return envelope.Marshal()
}

// open verifies an envelope: signed by `from`, and of one of `kinds`.
func open(data []byte, from peer.ID, kinds ...string) (*message, error) {
	var m message
	envelope, err := record.ConsumeTypedEnvelope(data, &m)
	if err != nil {
		return nil, err
	}
	signer, err := peer.IDFromPublicKey(envelope.PublicKey)
	if err != nil {
		return nil, err
	}
	if signer != from {
		return nil, fmt.Errorf("the envelope is signed by %s, but the connection is with %s", signer, from)
	}
	// The record package leaves the payload type to its caller.
	m.kind = string(envelope.PayloadType)
	if !slices.Contains(kinds, m.kind) {
		return nil, fmt.Errorf("payload type %q may not come now", m.kind)
	}
	return &m, nil
}

func writeFrame(w io.Writer, envelope []byte) error {
	_, err := w.Write(append(varint.ToUvarint(uint64(len(envelope))), envelope...))
	return err
}

// readFrame gives one frame's envelope; io.EOF means that the stream ended before its first byte.
func readFrame(r *bufio.Reader, limit uint64) ([]byte, error) {
	size, err := varint.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("a frame of %d bytes, more than the limit of %d", size, limit)
	}
	envelope := make([]byte, size)
	if _, err := io.ReadFull(r, envelope); err != nil {
		return nil, fmt.Errorf("within a frame of %d bytes: %w", size, noEOF(err))
	}
	return envelope, nil
}

// noEOF keeps an end in the wrong place from passing for the end between two frames.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func receive(r *bufio.Reader, limit uint64, from peer.ID, kinds ...string) (*message, error) {
	envelope, err := readFrame(r, limit)
	if err != nil {
		return nil, err
	}
	return open(envelope, from, kinds...)
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ---- JSON ----

// members reads the members of one object and remembers the first thing that is wrong. The JSON library already
// refuses duplicate names, lone surrogates, invalid UTF-8 and a byte order mark, and compares names exactly.
type members struct {
	values map[string]jsontext.Value
	err    error
}

func parseObject(payload []byte) *members {
	m := &members{}
	tokens := jsontext.NewDecoder(bytes.NewReader(payload))
	for {
		if _, err := tokens.ReadToken(); err == io.EOF {
			break
		} else if err != nil {
			return &members{err: err}
		}
		if tokens.StackDepth() > maxDepth {
			return &members{err: fmt.Errorf("nested more than %d deep", maxDepth)}
		}
	}
	if m.err = json.Unmarshal(payload, &m.values); m.err == nil && m.values == nil {
		m.err = errors.New("null instead of an object")
	}
	return m
}

func (m *members) check(ok bool, format string, args ...any) {
	if m.err == nil && !ok {
		m.err = fmt.Errorf(format, args...)
	}
}

// optional gives a member's value and whether it is there; null counts as absent.
func optional[T any](m *members, name string) (value T, present bool) {
	raw, there := m.values[name]
	if !there || raw.Kind() == 'n' {
		return value, false
	}
	err := json.Unmarshal(raw, &value)
	m.check(err == nil, "%s: %v", name, err)
	return value, err == nil
}

func required[T any](m *members, name string) T {
	value, present := optional[T](m, name)
	m.check(present, "%s is missing", name)
	return value
}

// within reads the object that is the value of a member, so that its errors become those of the whole.
func (m *members) within(name string, value jsontext.Value, read func(*members)) {
	inner := parseObject(value)
	if inner.err == nil {
		read(inner)
	}
	m.check(inner.err == nil, "%s: %v", name, inner.err)
}

func (m *members) count(name string) {
	n, present := optional[int64](m, name)
	m.check(!present || n >= 0, "%s is negative", name)
}

var (
	uuidForm     = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	taskTypeForm = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)
	timeForm     = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`)
	agentForm    = regexp.MustCompile(`^[^/]+/.+$`)
)

func (m *members) timestamp() {
	text := required[string](m, "timestamp")
	_, err := time.Parse(time.RFC3339, text)
	m.check(err == nil && timeForm.MatchString(text), "timestamp %q is not RFC 3339 in UTC", text)
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

// ---- Messages ----

// task is what is sent, and what is left of a received one after its checks.
type task struct {
	ID        string `json:"task_id"`
	Type      string `json:"task_type"`
	Input     input  `json:"input"`
	Timestamp string `json:"timestamp"`
	Recipient string `json:"recipient,omitzero"`
	TimeoutMS int64  `json:"timeout_ms,omitzero"`
	LingerMS  int64  `json:"linger_ms,omitzero"`
	Stream    bool   `json:"stream,omitzero"`
}

// input of an inference; Prompt holds the last message's text if the task came with messages.
type input struct {
	Prompt string `json:"prompt"`
	Model  string `json:"-"`
}

// parseTask checks all that the protocol says about a task. With an error the task still holds its id, or the nil UUID.
func parseTask(payload []byte) (task, error) {
	t := task{ID: nilUUID}
	m := parseObject(payload)
	if m.err != nil {
		return t, m.err
	}
	id := required[string](m, "task_id")
	m.check(uuidForm.MatchString(id), "task_id %q is not a lower-case UUID of version 4", id)
	if m.err == nil {
		t.ID = id
	}
	t.Type = required[string](m, "task_type")
	m.check(taskTypeForm.MatchString(t.Type), "task_type %q is not 1 to 64 of a-z 0-9 . _ -", t.Type)
	m.timestamp()
	t.Recipient, _ = optional[string](m, "recipient")
	var limited bool
	t.TimeoutMS, limited = optional[int64](m, "timeout_ms")
	m.check(!limited || 1 <= t.TimeoutMS && t.TimeoutMS <= 86_400_000, "timeout_ms is not from 1 to 86400000")
	t.LingerMS, _ = optional[int64](m, "linger_ms")
	m.check(0 <= t.LingerMS && t.LingerMS <= 60_000, "linger_ms is not from 0 to 60000")
	t.Stream, _ = optional[bool](m, "stream")
	m.within("input", required[jsontext.Value](m, "input"), func(in *members) {
		// What is inside belongs to the task type, and only this one is known here.
		if t.Type == "inference" {
			t.Input = parseInference(in)
		}
	})
	return t, m.err
}

func parseInference(m *members) (in input) {
	var hasPrompt bool
	in.Prompt, hasPrompt = optional[string](m, "prompt")
	messages, hasMessages := optional[[]jsontext.Value](m, "messages")
	m.check(hasPrompt != hasMessages, "either prompt or messages must be there, and not both")
	m.check(!hasMessages || len(messages) > 0, "messages is empty")
	for _, message := range messages {
		m.within("messages", message, func(one *members) {
			required[string](one, "role")
			in.Prompt = messageText(one) // the last one stays
		})
	}
	in.Model, _ = optional[string](m, "model")
	optional[int64](m, "max_tokens")
	optional[float64](m, "temperature")
	optional[float64](m, "top_p")
	optional[int64](m, "seed")
	if stop, present := optional[jsontext.Value](m, "stop"); present && stop.Kind() != '"' {
		optional[[]string](m, "stop")
	}
	return in
}

// messageText gives a chat message's text: its content, or the text parts of it.
func messageText(m *members) string {
	content, present := optional[jsontext.Value](m, "content")
	if !present {
		return ""
	}
	if content.Kind() == '"' {
		return required[string](m, "content")
	}
	var text strings.Builder
	for _, part := range required[[]jsontext.Value](m, "content") {
		m.within("content", part, func(p *members) {
			if required[string](p, "type") == "text" {
				text.WriteString(required[string](p, "text"))
			}
		})
	}
	return text.String()
}

type update struct {
	TaskID string `json:"task_id"`
	Seq    int64  `json:"seq"`
	State  string `json:"state,omitzero"`
	Text   string `json:"text,omitzero"`
}

// parseUpdate checks an update of the given task in the given place.
func parseUpdate(payload []byte, taskID string, seq int64) (update, error) {
	var u update
	m := parseObject(payload)
	if m.err != nil {
		return u, m.err
	}
	u.TaskID = required[string](m, "task_id")
	m.check(u.TaskID == taskID, "task_id is %q instead of %q", u.TaskID, taskID)
	u.Seq = required[int64](m, "seq")
	m.check(u.Seq == seq, "seq is %d instead of %d", u.Seq, seq)
	var hasState, hasText bool
	u.State, hasState = optional[string](m, "state")
	u.Text, hasText = optional[string](m, "text")
	_, hasData := optional[jsontext.Value](m, "data")
	m.check(hasState != hasText && !hasData, "not exactly one of state and text, which is all that inference has")
	if u.State == "queued" {
		required[int64](m, "position")
		m.count("position")
	}
	m.check(len(u.Text) <= maxUpdateText, "%d bytes of text, more than %d", len(u.Text), maxUpdateText)
	return u, m.err
}

type result struct {
	TaskID     string    `json:"task_id"`
	Status     string    `json:"status"`
	Output     *answer   `json:"output,omitzero"`
	Error      *errorObj `json:"error,omitzero"`
	Timestamp  string    `json:"timestamp"`
	Recipient  string    `json:"recipient"`
	TaskSHA256 string    `json:"task_sha256"`
	Executor   string    `json:"executor,omitzero"`
	QueuedMS   int64     `json:"queued_ms"`
	RunMS      int64     `json:"run_ms"`
}

type answer struct {
	Text string `json:"text"`
}

type errorObj struct {
	Code         string `json:"code"`
	Message      string `json:"message"`
	RetryAfterMS *int64 `json:"retry_after_ms,omitzero"`
}

// parseResult checks a result against the task that it has to answer, which was sent by `self`.
func parseResult(payload []byte, taskID string, taskPayload []byte, self peer.ID) (result, error) {
	var r result
	m := parseObject(payload)
	if m.err != nil {
		return r, m.err
	}
	r.Status = required[string](m, "status")
	completed, rejected := r.Status == "completed", r.Status == "rejected"
	m.check(completed || rejected || r.Status == "failed" || r.Status == "cancelled", "status %q", r.Status)
	r.TaskID = required[string](m, "task_id")
	m.check(r.TaskID == taskID || rejected && r.TaskID == nilUUID, "task_id is %q instead of %q", r.TaskID, taskID)
	m.timestamp()
	r.Recipient = required[string](m, "recipient")
	m.check(r.Recipient == self.String(), "recipient is %q, but this is %s", r.Recipient, self)
	r.TaskSHA256 = required[string](m, "task_sha256")
	m.check(r.TaskSHA256 == sha256Hex(taskPayload), "task_sha256 is %q, that of another task", r.TaskSHA256)

	value, hasOutput := optional[jsontext.Value](m, "output")
	m.check(hasOutput || !completed, "completed without output")
	m.check(!hasOutput || !rejected, "rejected with output")
	if hasOutput {
		m.within("output", value, func(out *members) { r.Output = &answer{required[string](out, "text")} })
	}
	value, hasError := optional[jsontext.Value](m, "error")
	m.check(hasError != completed, "error is there although, or missing unless, the task was completed")
	if hasError {
		m.within("error", value, func(e *members) {
			r.Error = &errorObj{Code: required[string](e, "code"), Message: required[string](e, "message")}
			e.count("retry_after_ms")
			if ms, present := optional[int64](e, "retry_after_ms"); present {
				r.Error.RetryAfterMS = &ms
			}
		})
	}
	r.Executor, _ = optional[string](m, "executor")
	m.check(r.Executor != "" || rejected, "executor is missing")
	optional[string](m, "model")
	optional[string](m, "finish_reason")
	m.count("queued_ms")
	m.count("run_ms")
	if usage, present := optional[jsontext.Value](m, "usage"); present {
		m.within("usage", usage, func(u *members) { u.count("prompt_tokens"); u.count("completion_tokens") })
	}
	return r, m.err
}

type info struct {
	Agent     string         `json:"agent"`
	Timestamp string         `json:"timestamp"`
	Recipient string         `json:"recipient"`
	Executors jsontext.Value `json:"executors"`
	Queue     jsontext.Value `json:"queue"`
}

func parseInfo(payload []byte, self peer.ID) (info, error) {
	var i info
	m := parseObject(payload)
	if m.err != nil {
		return i, m.err
	}
	i.Agent = required[string](m, "agent")
	m.check(agentForm.MatchString(i.Agent), "agent %q is not name/version", i.Agent)
	m.timestamp()
	i.Recipient = required[string](m, "recipient")
	m.check(i.Recipient == self.String(), "recipient is %q, but this is %s", i.Recipient, self)
	i.Executors = required[jsontext.Value](m, "executors")
	for _, one := range required[[]jsontext.Value](m, "executors") {
		m.within("executors", one, func(e *members) {
			required[string](e, "task_type")
			required[string](e, "executor")
			optional[[]string](e, "models")
		})
	}
	i.Queue = required[jsontext.Value](m, "queue")
	m.within("queue", i.Queue, func(q *members) {
		for _, name := range []string{"running", "waiting", "slots", "capacity"} {
			required[int64](q, name)
			q.count(name)
		}
	})
	name, named := optional[string](m, "name")
	length := utf8.RuneCountInString(name)
	m.check(!named || 1 <= length && length <= 64 && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }),
		"name %q is not 1 to 64 printable characters", name)
	optional[bool](m, "may_ask")
	return i, m.err
}
