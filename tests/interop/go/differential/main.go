// go-yamux and go-multistream for ../../differential/run.py: reads inputs on standard input and prints what became of each, a line
// an input.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	yamux "github.com/libp2p/go-yamux/v5"
	"github.com/multiformats/go-multistream"
)

// feed is a connection whose other side says `input` and then nothing more. What is written to it is dropped.
type feed struct {
	input    []byte
	given    int
	header   int    // where the last header ends
	body     int    // bytes to come of the frame that is being read
	before   func() // each header is read: the session has dealt with the frames before it
	silent   chan struct{}
	closed   chan struct{}
	isSilent bool
	isClosed bool
}

func (f *feed) Read(p []byte) (int, error) {
	header := f.body == 0
	if header {
		f.before()
	}
	if f.given == len(f.input) {
		if !f.isSilent {
			f.isSilent = true
			close(f.silent)
		}
		<-f.closed
		return 0, io.EOF
	}
	n := copy(p, f.input[f.given:])
	f.given += n
	if !header {
		f.body -= n
	} else if n == 12 {
		f.header = f.given
		if p[1] == 0 {
			f.body = int(binary.BigEndian.Uint32(p[8:]))
		}
	}
	return n, nil
}

func (f *feed) Write(p []byte) (int, error) { return len(p), nil }

// Close is called once, by the session.
func (f *feed) Close() error {
	if !f.isClosed {
		f.isClosed = true
		close(f.closed)
	}
	return nil
}

func (f *feed) LocalAddr() net.Addr              { return nil }
func (f *feed) RemoteAddr() net.Addr             { return nil }
func (f *feed) SetDeadline(time.Time) error      { return nil }
func (f *feed) SetReadDeadline(time.Time) error  { return nil }
func (f *feed) SetWriteDeadline(time.Time) error { return nil }

type stream struct {
	*yamux.Stream
	label string
	end   string
	bytes []byte
}

// take reads what has arrived, waits for nothing, and does what the bytes tell the application to do.
func (s *stream) take(buffer []byte) {
	for s.end == "open" {
		n, err := s.Read(buffer)
		taken := buffer[:n]
		s.bytes = append(s.bytes, taken...)
		if bytes.IndexByte(taken, 'c') >= 0 {
			_ = s.CloseWrite()
		}
		switch {
		case bytes.IndexByte(taken, 'r') >= 0:
			_ = s.Reset()
			s.end = "left"
		case n > 0:
		case err == io.EOF:
			s.end = "finished"
		case errors.Is(err, yamux.ErrTimeout):
			return
		default:
			s.end = "reset"
		}
	}
}

func runYamux(input []byte) string {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.LogOutput = io.Discard
	config.MaxIncomingStreams = 256
	config.ReadBufSize = 0 // so that each read is a header's or a body's
	opened := 0
	if len(input) > 0 {
		opened = int(input[0] % 4)
		input = input[1:]
	}
	streams := []*stream{}
	add := func(s *yamux.Stream, label string) {
		_ = s.SetReadDeadline(time.Unix(1, 0))
		streams = append(streams, &stream{Stream: s, label: label, end: "open"})
	}
	buffer := make([]byte, 1<<20)
	f := &feed{input: input, silent: make(chan struct{}), closed: make(chan struct{})}
	ready := make(chan struct{})
	var session *yamux.Session
	// In the session's own goroutine, so that nothing changes meanwhile.
	f.before = func() {
		<-ready
		accepted := reflect.ValueOf(session).Elem().FieldByName("acceptCh")
		for accepted.Len() > 0 {
			s, err := session.AcceptStream()
			if err != nil {
				break
			}
			add(s, fmt.Sprintf("%d@%d", s.StreamID(), f.header))
		}
		for _, s := range streams {
			s.take(buffer)
		}
	}
	session, err := yamux.Server(f, config, nil)
	if err != nil {
		panic(err)
	}
	for range opened {
		s, err := session.OpenStream(context.Background())
		if err != nil {
			panic(err)
		}
		add(s, fmt.Sprint(s.StreamID()))
	}
	close(ready)
	state, reason := "alive", ""
	select {
	case <-f.silent:
		defer session.Close()
	case <-session.CloseChan():
		state = "dead"
		<-f.closed
		_, err := session.OpenStream(context.Background())
		reason = err.Error()
	}
	lines := []string{}
	slices.SortFunc(streams, func(a, b *stream) int { return strings.Compare(a.label, b.label) })
	for _, s := range streams {
		lines = append(lines, s.label+"="+s.end+":"+hex.EncodeToString(s.bytes))
	}
	return fmt.Sprintf("%s\t%d\t%s\t%s", state, 1+f.given, reason, strings.Join(lines, ","))
}

// said is a connection whose other side says something and ends.
type said struct {
	*bytes.Reader
	written bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) { return s.written.Write(p) }
func (s *said) Close() error                { return nil }

func negotiate(input []byte, with func(io.ReadWriteCloser) (string, error)) string {
	connection := &said{Reader: bytes.NewReader(input)}
	protocol, err := with(connection)
	taken := len(input) - connection.Len()
	switch {
	case err == nil:
		return fmt.Sprintf("agreed\t%d\t\t%s:%x", taken, protocol, connection.written.Bytes())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("waits\t%d\t\t:%x", len(input), connection.written.Bytes())
	default:
		return fmt.Sprintf("refused\t%d\t%s\t", taken, strings.Join(strings.Fields(err.Error()), " "))
	}
}

func listen(connection io.ReadWriteCloser) (string, error) {
	muxer := multistream.NewMultistreamMuxer[string]()
	for _, name := range []string{"/a", "/b/1.0.0", "/ipfs/ping/1.0.0"} {
		muxer.AddHandler(name, nil)
	}
	protocol, _, err := muxer.Negotiate(connection)
	return protocol, err
}

func dial(connection io.ReadWriteCloser) (string, error) {
	return multistream.SelectOneOf([]string{"/x", "/a", "/b/1.0.0"}, connection)
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		input := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(in, input); err != nil {
			panic(err)
		}
		switch head[0] {
		case 'y':
			fmt.Fprintln(out, runYamux(input))
		case 'l':
			fmt.Fprintln(out, negotiate(input, listen))
		case 'd':
			fmt.Fprintln(out, negotiate(input, dial))
		default:
			panic("an input of an unknown kind")
		}
	}
}
