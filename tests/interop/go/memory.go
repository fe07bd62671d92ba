package main

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What is remembered of finished tasks.
const (
	maxResults     = 1024
	maxResultBytes = 16 << 20
	resultAge      = 10 * time.Minute
)

// Why a task is stopped before its end.
var (
	errReset    = errors.New("the requester reset the last stream that waited for it")
	errLost     = errors.New("the requester's connection was lost")
	errDeadline = errors.New("its time is over")
)

// taskKey is what makes two tasks the same.
type taskKey struct {
	requester peer.ID
	id        string
}

// course is one task from its first arrival until it is forgotten; any number of streams follow it.
type course struct {
	key      taskKey
	task     task
	payload  []byte
	plan     plan
	run      context.Context // ends when the task is to stop, with the reason as its cause
	stop     context.CancelCauseFunc
	deadline *time.Timer // or nil

	// All below is guarded by the memory's mutex.
	changed chan struct{} // closed, and replaced, when one of the next two changes
	pieces  []string
	result  []byte // envelope; nil as long as it runs
	ended   time.Time
	streams int
	linger  *time.Timer
}

// memory holds the tasks that run, and the results of those that were completed or failed.
type memory struct {
	mutex    sync.Mutex
	courses  map[taskKey]*course
	finished []*course // of these, those with a result, the oldest first
	bytes    int       // in these
	attempts map[taskKey]int
}

func newMemory() *memory {
	return &memory{courses: map[taskKey]*course{}, attempts: map[taskKey]int{}}
}

// attempt counts how often the task has come.
func (m *memory) attempt(key taskKey) int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if len(m.attempts) >= maxResults {
		clear(m.attempts) // prompts that count need a few tasks, not a faithful memory
	}
	m.attempts[key]++
	return m.attempts[key]
}

// join finds the course of a task that was here before and follows it. Without one it gives nil.
func (m *memory) join(key taskKey, payload []byte) (c *course, conflict bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.expire()
	c = m.courses[key]
	if c == nil {
		return nil, false
	}
	if !bytes.Equal(c.payload, payload) {
		return nil, true
	}
	m.follow(c)
	return c, false
}

// begin makes a course and follows it, unless another stream has just done so.
func (m *memory) begin(c *course) (*course, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if other := m.courses[c.key]; other != nil {
		m.follow(other)
		return other, false
	}
	c.changed = make(chan struct{})
	m.courses[c.key] = c
	m.follow(c)
	return c, true
}

func (m *memory) follow(c *course) {
	c.streams++
	if c.linger != nil {
		c.linger.Stop()
		c.linger = nil
	}
}

// leave ends a stream's following. When nobody follows any more the task stops, after a lost connection not at once.
func (m *memory) leave(c *course, reason error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c.streams--
	if c.streams > 0 || c.result != nil {
		return
	}
	if reason != errLost {
		c.stop(reason)
		return
	}
	c.linger = time.AfterFunc(time.Duration(c.task.LingerMS)*time.Millisecond, func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		if c.streams == 0 {
			c.stop(errLost)
		}
	})
}

func (m *memory) add(c *course, piece string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c.pieces = append(c.pieces, piece)
	m.tell(c)
}

func (m *memory) finish(c *course, result []byte, keep bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	c.result, c.ended = result, time.Now()
	m.tell(c)
	if !keep {
		delete(m.courses, c.key)
		return
	}
	m.finished = append(m.finished, c)
	m.bytes += c.size()
	m.expire()
}

func (m *memory) tell(c *course) {
	close(c.changed)
	c.changed = make(chan struct{})
}

// state gives the pieces behind the first `seen`, the result if there is one, and what is closed at the next change.
func (m *memory) state(c *course, seen int) ([]string, []byte, <-chan struct{}) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return c.pieces[seen:], c.result, c.changed
}

func (m *memory) expire() {
	for len(m.finished) > 0 {
		oldest := m.finished[0]
		if len(m.finished) <= maxResults && m.bytes <= maxResultBytes && time.Since(oldest.ended) < resultAge {
			return
		}
		m.finished = m.finished[1:]
		m.bytes -= oldest.size()
		delete(m.courses, oldest.key)
	}
}

func (c *course) size() int {
	size := len(c.payload) + len(c.result)
	for _, piece := range c.pieces {
		size += len(piece)
	}
	return size
}
