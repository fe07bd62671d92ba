package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
)

// libp2p's perf: the client says how many bytes it wants back, sends as many as it likes and closes its side; then the
// server sends those and closes its own. https://github.com/libp2p/specs/blob/master/perf/perf.md
const perfProtocol = "/perf/1.0.0"

const perfLimit = 10 * time.Minute

// perfBlock and yamux's header fill one Noise message.
const perfBlock = noise.MaxPlaintextLength - 12

func (p *provider) servePerf(s network.Stream) {
	s.SetDeadline(time.Now().Add(perfLimit))
	var size [8]byte
	_, err := io.ReadFull(s, size[:])
	if err == nil {
		_, err = discard(s)
	}
	if err == nil {
		err = writeZeros(s, binary.BigEndian.Uint64(size[:]))
	}
	if err != nil {
		p.refuse(s, err)
		return
	}
	s.Close()
}

// perf sends `up` bytes and takes `down` bytes, and returns when the server has ended its side.
func perf(s network.Stream, up, down uint64) error {
	if _, err := s.Write(binary.BigEndian.AppendUint64(nil, down)); err != nil {
		return err
	}
	if err := writeZeros(s, up); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	n, err := discard(s)
	if err == nil && n != down {
		err = fmt.Errorf("%d bytes came back of %d", n, down)
	}
	return err
}

func writeZeros(w io.Writer, n uint64) error {
	block := make([]byte, min(n, perfBlock))
	for n > 0 {
		size := min(n, uint64(len(block)))
		if _, err := w.Write(block[:size]); err != nil {
			return err
		}
		n -= size
	}
	return nil
}

// discard counts what comes up to the end; io.Discard would read in pieces of 8 KiB.
func discard(r io.Reader) (n uint64, err error) {
	for block := make([]byte, 256<<10); err == nil; {
		var size int
		size, err = r.Read(block)
		n += uint64(size)
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
