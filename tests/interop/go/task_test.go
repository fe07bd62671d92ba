package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-varint"
)

// The vector of the task protocol's section 5.
const (
	requesterKey = "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
	providerKey  = "08011240" + "0000000000000000000000000000000000000000000000000000000000000000" + "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
	requesterID  = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
	providerID   = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
	taskID       = "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5b"
	taskHash     = "df9d614954e59ebb88865b23ec7bb4494efe16c42c4acdad03f525a380d1dd0c"
	taskPayload  = `{"task_id":"` + taskID + `","task_type":"inference","input":{"prompt":"Hello, P2P AI!"},"timestamp":"2026-01-17T10:30:00Z","recipient":"` + providerID + `"}`
	taskFrame    = "d4020a24080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e12132f7032702d61692d6167656e74732f7461736b1ad401" +
		"7b227461736b5f6964223a2237663963323465352d326234612d346436662d396133372d306331643265336634613562222c227461736b5f74797065223a22696e666572656e6365222c22696e707574223a7b2270726f6d7074223a2248656c6c6f2c2050325020414921227d2c2274696d657374616d70223a22323032362d30312d31375431303a33303a30305a222c22726563697069656e74223a22313244334b6f6f5744704a3741733742574177524d6675315655325743714e6a76713338374a45594b44426a346b78366e58544e227d" +
		"2a403fa2153c5c93ab50d6561c945606fb2267f86435958c9e976fdab89c1a32c3383559545b221e9ea444ef1627686a2b070c86a1473b215cd5a9c96a7c74943d09"
	resultPayload = `{"task_id":"` + taskID + `","status":"completed","output":{"text":"Processed: Hello, P2P AI!"},"timestamp":"2026-01-17T10:30:01Z","recipient":"` + requesterID + `","task_sha256":"` + taskHash + `","executor":"mock"}`
	resultFrame   = "c0030a24080112203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da2912152f7032702d61692d6167656e74732f726573756c741abe02" +
		"7b227461736b5f6964223a2237663963323465352d326234612d346436662d396133372d306331643265336634613562222c22737461747573223a22636f6d706c65746564222c226f7574707574223a7b2274657874223a2250726f6365737365643a2048656c6c6f2c2050325020414921227d2c2274696d657374616d70223a22323032362d30312d31375431303a33303a30315a222c22726563697069656e74223a22313244334b6f6f57427467336161524d6a78776564683833614769556b7753784477555a6b7a754a63666171556d6f3752337071222c227461736b5f736861323536223a2264663964363134393534653539656262383838363562323365633762623434393465666531366334326334616364616430336635323561333830643164643063222c226578656375746f72223a226d6f636b227d" +
		"2a40502e526aa968744ee8460390b31be1a8932fbabefe06d834100b44ab1f86d9bc3b044c10a21c471acfc02add361ffb3edfb7e8ec0b439bd9af54640b997c2203"
)

func identity(t *testing.T, protobuf string) (crypto.PrivKey, peer.ID) {
	t.Helper()
	key, err := crypto.UnmarshalPrivateKey(fromHex(t, protobuf))
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func frames(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

func TestVector(t *testing.T) {
	for _, v := range []struct{ key, id, kind, payload, frame string }{
		{requesterKey, requesterID, kindTask, taskPayload, taskFrame},
		{providerKey, providerID, kindResult, resultPayload, resultFrame},
	} {
		key, id := identity(t, v.key)
		if id.String() != v.id {
			t.Errorf("the key belongs to %s, not to %s", id, v.id)
		}
		envelope, err := seal(key, v.kind, []byte(v.payload))
		if err != nil {
			t.Fatal(err)
		}
		var frame bytes.Buffer
		if err := writeFrame(&frame, envelope); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(frame.Bytes()); got != v.frame {
			t.Errorf("%s:\n got %s\nwant %s", v.kind, got, v.frame)
		}
		m, err := receive(frames(fromHex(t, v.frame)), maxFrame, id, v.kind)
		if err != nil || string(m.payload) != v.payload {
			t.Errorf("%s: read back as %v, %v", v.kind, m, err)
		}
	}
	if got, err := parseTask([]byte(taskPayload)); err != nil || got.ID != taskID || got.Input.Prompt != "Hello, P2P AI!" {
		t.Errorf("task: %+v, %v", got, err)
	}
	_, requester := identity(t, requesterKey)
	r, err := parseResult([]byte(resultPayload), taskID, []byte(taskPayload), requester)
	if err != nil || r.Output.Text != "Processed: Hello, P2P AI!" {
		t.Errorf("result: %+v, %v", r, err)
	}
}

func TestEveryFlippedBitAndEveryTruncationIsRefused(t *testing.T) {
	frame := fromHex(t, taskFrame)
	_, id := identity(t, requesterKey)
	for i := range frame {
		for bit := range 8 {
			bad := bytes.Clone(frame)
			bad[i] ^= 1 << bit
			if m, err := receive(frames(bad), maxFrame, id, kindTask); err == nil {
				t.Errorf("bit %d of byte %d: accepted as %q", bit, i, m.payload)
			}
		}
		if _, err := receive(frames(frame[:i]), maxFrame, id, kindTask); err == nil {
			t.Errorf("accepted when cut to %d bytes", i)
		}
	}
}

func TestEnvelopeOfSomebodyElseOrOfAnotherKind(t *testing.T) {
	frame := fromHex(t, taskFrame)
	_, requester := identity(t, requesterKey)
	_, provider := identity(t, providerKey)
	if _, err := receive(frames(frame), maxFrame, provider, kindTask); err == nil {
		t.Error("accepted although somebody else signed it")
	}
	if _, err := receive(frames(frame), maxFrame, requester, kindResult, kindUpdate); err == nil {
		t.Error("accepted as a result")
	}
	if _, err := readFrame(frames(varint.ToUvarint(maxFrame+1)), maxFrame); err == nil {
		t.Error("a frame above the limit was accepted")
	}
	if _, err := readFrame(frames([]byte{0x81, 0x00, 1}), maxFrame); err == nil {
		t.Error("a length that is not minimal was accepted")
	}
}

// taskWith puts members into a good task; one of the same name takes the place of what was there.
func taskWith(members ...string) string {
	good := []string{`"task_id":"` + taskID + `"`, `"task_type":"inference"`, `"input":{"prompt":"x"}`, `"timestamp":"2026-01-17T10:30:00Z"`}
	for _, m := range members {
		name, _, _ := strings.Cut(m, ":")
		replaced := false
		for i := range good {
			if strings.HasPrefix(good[i], name+":") {
				good[i], replaced = m, true
			}
		}
		if !replaced {
			good = append(good, m)
		}
	}
	return "{" + strings.Join(good, ",") + "}"
}

// nested gives an unknown member that makes the task n deep.
func nested(n int) string {
	return `"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1)
}

func TestTasks(t *testing.T) {
	for _, good := range []string{
		taskWith(),
		taskWith(`"unknown":{"a":[1,2,3e4]}`, `"TASK_ID":5`),
		taskWith(`"recipient":null`, `"timeout_ms":null`, `"stream":null`, `"linger_ms":null`),
		taskWith(`"timeout_ms":1`, `"linger_ms":60000`, `"stream":true`),
		taskWith(`"timeout_ms":86400000`, `"linger_ms":0`, `"stream":false`),
		taskWith(`"timestamp":"2026-01-17T10:30:00.123456789Z"`),
		taskWith(`"input":{"messages":[{"role":"user","content":"x"}],"temperature":1,"top_p":0.5,"seed":-1,"stop":["a"]}`),
		taskWith(`"input":{"prompt":"","messages":null,"max_tokens":5,"stop":"a","model":"m"}`),
		taskWith(`"task_type":"translate.v-1_0"`, `"input":{}`),
		taskWith(nested(32)),
		taskWith(`"input":{"prompt":"\ud83d\ude00 \u0000"}`),
	} {
		if _, err := parseTask([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		``, `null`, `[]`, `"x"`, taskWith() + "x", taskWith() + taskWith(), "\xef\xbb\xbf" + taskWith(),
		taskWith(nested(33)),
		taskWith(`"x":{"a":1,"a":2}`), taskWith(`"x":{"a":1,"\u0061":2}`), taskWith(`"task\u005fid":1`),
		taskWith(`"x":"\ud800"`), taskWith(`"x":"\ude00\ud83d"`), taskWith(`"\ud800":1`), taskWith("\"x\":\"\xff\""),
		taskWith(`"task_id":"` + strings.ToUpper(taskID) + `"`), taskWith(`"task_id":null`), taskWith(`"task_id":5`),
		taskWith(`"task_id":"7f9c24e5-2b4a-1d6f-9a37-0c1d2e3f4a5b"`), taskWith(`"task_id":"7f9c24e5-2b4a-4d6f-7a37-0c1d2e3f4a5b"`),
		taskWith(`"task_type":""`), taskWith(`"task_type":"Inference"`), taskWith(`"task_type":"` + strings.Repeat("a", 65) + `"`),
		taskWith(`"input":"x"`), taskWith(`"input":null`), taskWith(`"input":{}`), taskWith(`"input":{"prompt":5}`),
		taskWith(`"input":{"prompt":"x","messages":[{"role":"user"}]}`), taskWith(`"input":{"messages":[]}`),
		taskWith(`"input":{"messages":[{"content":"x"}]}`), taskWith(`"input":{"messages":["x"]}`), taskWith(`"input":{"messages":[null]}`),
		taskWith(`"input":{"prompt":"x","model":1}`), taskWith(`"input":{"prompt":"x","max_tokens":1.0}`),
		taskWith(`"input":{"prompt":"x","temperature":"1"}`), taskWith(`"input":{"prompt":"x","stop":[1]}`),
		taskWith(`"timestamp":"2026-01-17T10:30:00+00:00"`), taskWith(`"timestamp":"2026-01-17 10:30:00Z"`),
		taskWith(`"timestamp":"2026-02-30T10:30:00Z"`), taskWith(`"timestamp":1`),
		taskWith(`"recipient":5`), taskWith(`"stream":1`), taskWith(`"stream":"true"`),
		taskWith(`"timeout_ms":0`), taskWith(`"timeout_ms":86400001`), taskWith(`"timeout_ms":3e4`), taskWith(`"timeout_ms":30000.0`),
		taskWith(`"timeout_ms":"30000"`), taskWith(`"timeout_ms":99999999999999999999`), taskWith(`"linger_ms":-1`), taskWith(`"linger_ms":60001`),
	} {
		if _, err := parseTask([]byte(bad)); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

func TestInvalidTaskKeepsItsIDIfThatIsValid(t *testing.T) {
	if got, err := parseTask([]byte(taskWith(`"stream":1`))); err == nil || got.ID != taskID {
		t.Errorf("%q, %v", got.ID, err)
	}
	if got, err := parseTask([]byte(taskWith(`"task_id":"x"`))); err == nil || got.ID != nilUUID {
		t.Errorf("%q, %v", got.ID, err)
	}
}

func TestMessages(t *testing.T) {
	got, err := parseTask([]byte(taskWith(`"input":{"messages":[{"role":"user","content":"first"},` +
		`{"role":"user","content":[{"type":"text","text":"la"},{"type":"image_url","image_url":{}},{"type":"text","text":"st"}]}]}`)))
	if err != nil || got.Input.Prompt != "last" {
		t.Errorf("%q, %v", got.Input.Prompt, err)
	}
}

func TestResults(t *testing.T) {
	_, requester := identity(t, requesterKey)
	with := func(old, new string) string {
		if !strings.Contains(resultPayload, old) {
			t.Fatalf("%s is not in the result", old)
		}
		return strings.Replace(resultPayload, old, new, 1)
	}
	const status, output = `"status":"completed"`, `"output":{"text":"Processed: Hello, P2P AI!"}`
	const failure = `"error":{"code":"some_new_code","message":"m","retry_after_ms":5}`
	rejected := with(status+","+output, `"status":"rejected",`+failure)
	for _, good := range []string{
		with(status, `"status":"failed",`+failure),
		with(status+","+output, `"status":"cancelled",`+failure),
		rejected,
		strings.Replace(strings.Replace(rejected, taskID, nilUUID, 1), `,"executor":"mock"`, ``, 1),
		with(status, status+`,"error":null,"usage":{"prompt_tokens":3,"completion_tokens":4},"model":"m","finish_reason":"stop","run_ms":1`),
	} {
		if _, err := parseResult([]byte(good), taskID, []byte(taskPayload), requester); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		with(taskID, nilUUID), with(taskID, "7f9c24e5-2b4a-4d6f-9a37-0c1d2e3f4a5c"),
		with(requesterID, providerID), with(taskHash, strings.ToUpper(taskHash)), with(taskHash[:8], "00000000"),
		with(status, `"status":"done"`), with(output+",", ``), with(`"text"`, `"words"`), with(status, status+","+failure),
		with(status, `"status":"failed"`), with(status, `"status":"rejected",`+failure), with(`,"executor":"mock"`, ``),
		with(status, status+`,"run_ms":1.0`), with(status, status+`,"run_ms":-1`), with(status, status+`,"usage":[]`),
		with(`"timestamp":"2026-01-17T10:30:01Z",`, ``),
	} {
		if _, err := parseResult([]byte(bad), taskID, []byte(taskPayload), requester); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

func TestUpdates(t *testing.T) {
	const head = `{"task_id":"` + taskID + `","seq":2,`
	for _, good := range []string{`"text":"x"}`, `"text":""}`, `"state":"running"}`, `"state":"queued","position":0}`, `"state":"dreaming","text":null}`} {
		if _, err := parseUpdate([]byte(head+good), taskID, 2); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{`"x":1}`, `"text":"x","state":"running"}`, `"state":"queued"}`, `"state":"queued","position":-1}`,
		`"data":{}}`, `"text":1}`, `"text":"` + strings.Repeat("a", maxUpdateText+1) + `"}`} {
		if _, err := parseUpdate([]byte(head+bad), taskID, 2); err == nil {
			t.Errorf("accepted: %.80s", bad)
		}
	}
	if _, err := parseUpdate([]byte(head+`"text":"x"}`), taskID, 1); err == nil {
		t.Error("a gap in seq was accepted")
	}
}

func TestInfo(t *testing.T) {
	_, requester := identity(t, requesterKey)
	good := fmt.Sprintf(`{"agent":"a/1","timestamp":"2026-01-17T10:30:01Z","recipient":"%s","executors":[{"task_type":"inference","executor":"mock"}],`+
		`"queue":{"running":0,"waiting":0,"slots":1,"capacity":5},"name":"Ünïcode name","may_ask":true}`, requesterID)
	if _, err := parseInfo([]byte(good), requester); err != nil {
		t.Error(err)
	}
	for _, change := range [][2]string{{`"a/1"`, `"a"`}, {requesterID, providerID}, {`[{`, `[5,{`}, {`"slots":1,`, ``}, {`"slots":1`, `"slots":-1`},
		{`Ünïcode`, strings.Repeat("ü", 65)}, {`Ünïcode`, `\u0007`}, {`true`, `1`}, {`"mock"`, `"mock","models":"m"`}} {
		if _, err := parseInfo([]byte(strings.Replace(good, change[0], change[1], 1)), requester); err == nil {
			t.Errorf("accepted with %s for %s", change[1], change[0])
		}
	}
}

func TestCut(t *testing.T) {
	for _, prompt := range []string{"", "é", "😀", "😀😀😀", strings.Repeat("x", 5), strings.Repeat("日本😀", 100)} {
		text := "Processed: " + prompt
		pieces := cut(text, 3)
		if len(pieces) != 3 || strings.Join(pieces, "") != text {
			t.Errorf("%q is cut into %q", text, pieces)
		}
	}
	text := "Processed: " + strings.Repeat("日本😀", 100_000)
	pieces := cut(text, 3)
	for _, p := range pieces {
		if len(p) > maxUpdateText || strings.ToValidUTF8(p, "") != p {
			t.Errorf("a piece of %d bytes, or cut within a code point", len(p))
		}
	}
	if strings.Join(pieces, "") != text {
		t.Error("the pieces do not add up to the text")
	}
}
