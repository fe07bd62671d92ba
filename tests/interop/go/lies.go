package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/multiformats/go-varint"
)

// lies are what `serve --lie` knows. Those about updates and about what frames the result are told where these are sent.
var lies = []string{"signature", "key", "hash", "id", "recipient", "updates", "trailing", "seq", "kind", "none"}

func checkLie(kind string) error {
	if kind != "" && !slices.Contains(lies, kind) {
		return fmt.Errorf("--lie: %q is none of %v", kind, lies)
	}
	return nil
}

func (p *provider) sealResult(r result) ([]byte, error) {
	key, kind := p.key, kindResult
	switch p.lie {
	case "hash":
		r.TaskSHA256 = sha256Hex(nil)
	case "id":
		r.TaskID = uuid.NewString()
	case "recipient":
		r.Recipient = p.host.ID().String()
	case "kind":
		kind = kindInfo
	case "key":
		other, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return nil, err
		}
		key = other
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	envelope, err := seal(key, kind, payload)
	if err == nil && p.lie == "signature" {
		envelope[len(envelope)-1] ^= 1 // the signature is the last field
	}
	return envelope, err
}

func (p *provider) writeResult(w io.Writer, envelope []byte) error {
	switch p.lie {
	case "none":
		return nil
	case "trailing":
		// In one write, so that it is there when the result is.
		_, err := w.Write(append(append(varint.ToUvarint(uint64(len(envelope))), envelope...), 0))
		return err
	}
	return writeFrame(w, envelope)
}
