package main

import (
	"strconv"
	"strings"
	"time"
)

// plan is what a prompt makes the mock do; ../README.md says how it is written.
type plan struct {
	pieces     int           // of the text, if that is long enough
	pause      time.Duration // before each of them
	breakAfter int           // pieces, or 0
	busy       int           // how often the task is rejected first
	retryAfter int64         // milliseconds, what it is told then
	code       string        // to end with
}

// pauseAfterBreak leaves a task running when its connection is dropped.
const pauseAfterBreak = 50 * time.Millisecond

func planFor(prompt string) plan {
	p := plan{pieces: 3}
	kind, rest, _ := strings.Cut(prompt, ":")
	first, second, two := strings.Cut(rest, ":")
	a, errA := strconv.ParseUint(first, 10, 20)
	b, errB := strconv.ParseUint(second, 10, 20)
	numbers := two && errA == nil && errB == nil
	switch {
	case kind == "slow" && numbers && a > 0:
		p.pieces, p.pause = int(a), time.Duration(b)*time.Millisecond
	case kind == "busy" && numbers:
		p.busy, p.retryAfter = int(a), int64(b)
	case kind == "break" && !two && errA == nil && a > 0:
		p.pieces, p.breakAfter, p.pause = max(3, int(a)+1), int(a), pauseAfterBreak
	case kind == "code" && !two && taskTypeForm.MatchString(rest):
		p.code = rest
	}
	return p
}

// statusOf gives what a result with this error code says. A code that the protocol doesn't have is a rejection's.
func statusOf(code string) string {
	switch code {
	case "executor_failed", "output_too_large":
		return "failed"
	case "cancelled", "deadline_exceeded":
		return "cancelled"
	}
	return "rejected"
}

// rejection gives the error to reject the task with when it comes for the nth time, or nil.
func (p plan) rejection(attempt int) *errorObj {
	if attempt <= p.busy {
		return &errorObj{Code: "busy", Message: "the prompt asked for it; send the task again", RetryAfterMS: &p.retryAfter}
	}
	if p.code == "" || statusOf(p.code) != "rejected" {
		return nil
	}
	e := &errorObj{Code: p.code, Message: "the prompt asked for it; send another prompt"}
	if p.code == "busy" {
		e.RetryAfterMS = new(int64)
		*e.RetryAfterMS = 50
	}
	return e
}
