package link

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

type frame interface{ Append([]byte) []byte }

type (
	pingFrame uint64
	pongFrame uint64
)

func (p pingFrame) Append(b []byte) []byte { return appendPing(b, uint64(p)) }
func (p pongFrame) Append(b []byte) []byte { return appendPong(b, uint64(p)) }

// parse parses any frame that this version knows.
func parse(t Type, body []byte) (f frame, err error) {
	switch t {
	case TypeHello:
		return parseHello(body)
	case TypeWelcome:
		return parseWelcome(body)
	case TypePing:
		token, err := parsePing(body)
		return pingFrame(token), err
	case TypePong:
		token, err := parsePing(body)
		return pongFrame(token), err
	case TypeBye:
		return ParseBye(body)
	case TypeSession:
		return ParseSession(body)
	case TypeHeld:
		return ParseHeld(body)
	case TypeMoved:
		return ParseMoved(body)
	case TypeSynced:
		return ParseSynced(body)
	case TypeMessage, TypeAgain:
		m, err := ParseMessage(body)
		m.Again = t == TypeAgain
		return m, err
	case TypeEnd:
		return ParseEnd(body)
	case TypeTopic:
		return ParseTopicNumber(body)
	case TypeUntopic:
		return ParseUntopic(body)
	case TypeOpened:
		return ParseOpened(body)
	case TypeJoined:
		return ParseJoined(body)
	case TypeLeft:
		return ParseLeft(body)
	case TypeAnswer:
		return ParseAnswer(body)
	case TypePublication:
		return ParsePublication(body)
	case TypeAhead:
		return ParseAhead(body)
	case TypeGranted:
		return ParseGranted(body)
	case TypeCost:
		return ParseCost(body)
	case TypeAck:
		return ParseAck(body)
	case TypeGap:
		return ParseGap(body)
	case TypeDigest:
		return ParseDigest(body)
	case TypeStatus:
		return ParseStatus(body)
	case TypeDrain:
		return ParseDrain(body)
	case TypeLive:
		return ParseLive(body)
	}
	return parseSDK(t, body)
}

func parseSDK(t Type, body []byte) (frame, error) {
	switch t {
	case TypeClient:
		return ParseClient(body)
	case TypeKeep:
		return ParseKeep(body)
	case TypeDrained:
		return ParseDrained(body)
	case TypeConfirmed:
		return ParseConfirmed(body)
	case TypeRefreshed:
		return ParseRefreshed(body)
	case TypeBound:
		return ParseBound(body)
	case TypeUnbound:
		return ParseUnbound(body)
	case TypeAnswered:
		return ParseAnswered(body)
	case TypeClose:
		return ParseClose(body)
	case TypeForms:
		return ParseForms(body)
	case TypeAheadForms:
		return ParseAheadForms(body)
	}
	return nil, fmt.Errorf("unknown frame %v", t)
}

func corpus() map[string]frame {
	instance := protocol.Instance{0: 1, 7: 0x80, 15: 0xff}
	at := protocol.Position{Epoch: 1_700_000_000_000_000, Offset: 300}
	return map[string]frame{
		"hello":         Hello{Proof: bytes.Repeat([]byte{0xab}, 32), Features: 5, Generation: 3, LogSize: 4 << 20, Instance: instance, Node: "fra-1", Build: "v1.2.3"},
		"hello-empty":   Hello{Proof: []byte{}},
		"welcome":       Welcome{Features: 1, Instance: instance, Broker: "redis:abc", Relay: "relay-1", Build: "v1.2.3"},
		"ping":          pingFrame(127),
		"pong":          pongFrame(math.MaxUint64),
		"bye":           Bye{Code: CodeSuperseded, Text: "later link"},
		"bye-normal":    Bye{},
		"session":       Session{ID: 1, Endpoint: protocol.EndpointChannel, User: "1"},
		"session-group": Session{ID: 128, Endpoint: protocol.EndpointGroup, User: "ü", Group: "g1"},
		"held":          Held{Topic: "group:g1", Position: at, Sessions: []uint64{1, 128, 1 << 40}},
		"held-none":     Held{Topic: "all"},
		"moved":         Moved{},
		"synced":        Synced{First: 10, Last: 20, Sessions: 2, Held: 5},
		"message":       Message{Number: 1, Session: 2, Payload: []byte(`{"Method":"All","MsgBody":"Hello All"}`)},
		"message-again": Message{Number: 1, Session: 2, Payload: []byte("Hi"), Again: true},
		"message-empty": Message{Number: 1, Session: 2, Payload: []byte{}},
		// The size hint of this frame is 10 bytes too small, so the length takes one byte more than
		// was left for it.
		"message-longer":    Message{Number: 1 << 62, Session: 1 << 62, Payload: bytes.Repeat([]byte("a"), 115)},
		"end":               End{Number: 200, Session: 2},
		"topic":             TopicNumber{ID: 7, Position: at, Topic: "user:1"},
		"untopic":           Untopic{ID: 7},
		"opened":            Opened{Session: 1, Confirmed: true, Topics: []uint64{1, 2}},
		"opened-later":      Opened{Session: 1},
		"joined":            Joined{Number: 9, Session: 1, Topic: 3, Text: []byte("user 【1】 add to group 【g1】")},
		"joined-granted":    Joined{Number: 9, Session: 1, Topic: 3, Granted: true, Text: []byte("user 【1】 add to group 【g1】")},
		"left":              Left{Number: 10, Session: 1, Topic: 3, Text: []byte("bye")},
		"answer":            Answer{Number: 11, Session: 1, Text: []byte("error: x")},
		"publication":       Publication{Topic: 3, Position: at, ID: 0x0123456789abcdef, Except: "1", Payload: []byte("group 【g1】 user 【1】 send:Hi")},
		"publication-bare":  Publication{Topic: 3, Payload: []byte("x")},
		"ahead":             Ahead{Topic: 3, ID: 0x0123456789abcdef, Except: "1", Payload: []byte("group 【g1】 user 【1】 send:Hi")},
		"granted":           Granted{First: 9, Last: 12},
		"cost":              Cost{User: "1", Deliveries: 1000},
		"granted-highest":   Granted{First: 1, Last: math.MaxUint64},
		"gap":               Gap{Topic: 3, Position: at, Lost: 12, Text: []byte("error: messages lost")},
		"ack":               Ack{Through: 100, Finished: []Range{{102, 102}, {105, 300}}},
		"ack-through":       Ack{Through: 100},
		"ack-highest":       Ack{Through: 0, Finished: []Range{{1, math.MaxUint64}}},
		"digest":            Digest{Heard: 3, Sessions: 2, SessionHash: 0xdeadbeefcafebabe, Bindings: 4, BindingHash: 1},
		"status":            Status{Degraded: []string{"broker"}},
		"status-everything": Status{},
		"drain":             Drain{Window: 2000},
		"live":              Live{},

		"client":           Client{ID: 1, Confirmed: true, Until: 1_700_000_000, User: "1", Keep: []byte("k")},
		"client-open":      Client{ID: 2, Confirmed: true, Open: true, User: "anon-x", Keep: []byte{}},
		"client-guest":     Client{ID: 3, Keep: []byte{}},
		"client-named":     Client{ID: 4, Open: true, User: "anon-y", Keep: []byte{}},
		"keep":             Keep{Session: 1, Topic: "news:1", Keep: []byte("k")},
		"confirmed":        Confirmed{Number: 9, Session: 1, Until: MaxUntil, User: "ü", Keep: []byte("k"), Channels: []Channel{{3, []byte("r"), at}, {300, []byte{}, protocol.Position{}}}, Text: []byte(`{"id":1}`)},
		"confirmed-bare":   Confirmed{Number: 9, Session: 1, User: "1", Keep: []byte{}, Text: []byte("{}")},
		"refreshed":        Refreshed{Number: 10, Session: 1, Until: 1_700_000_000, Keep: []byte("k"), Text: []byte(`{"id":2}`)},
		"bound":            Bound{Number: 11, Session: 1, Topic: 3, Keep: []byte("k"), Position: at, Text: []byte(`{"id":3}`)},
		"bound-bare":       Bound{Number: 11, Session: 1, Topic: 3, Keep: []byte{}, Text: []byte(`{"id":3}`)},
		"bound-begun":      Bound{Number: 11, Session: 1, Topic: 3, Keep: []byte{}, Position: protocol.Position{Epoch: at.Epoch}, Text: []byte{}},
		"bound-unplaced":   Bound{Number: 11, Session: 1, Topic: 3, Keep: []byte{}, Position: protocol.Unplaced(7), Text: []byte(`{"id":3}`)},
		"drained":          Drained{Session: 300, Bytes: 1 << 20},
		"drained-highest":  Drained{Session: math.MaxUint64, Bytes: math.MaxUint64},
		"unbound":          Unbound{Session: 1, Topic: 3, Text: []byte(`{"push":{}}`)},
		"answered":         Answered{Number: 12, Session: 1, Text: []byte(`{"id":4}`)},
		"close":            Close{Session: 1, Code: 3501, Reason: "bad request"},
		"close-silent":     Close{Session: 1},
		"close-within":     Close{Session: 1, Code: 3010, Within: 5000, Reason: "insufficient state"},
		"forms":            Forms{Topic: 3, Position: at, ID: 0x0123456789abcdef, Except: "1", Texts: []Rendering{{FormChat, []byte("user 【1】 send:Hi")}, {FormJSON, []byte(`{"push":{}}`)}}},
		"forms-one":        Forms{Topic: 3, Texts: []Rendering{{FormJSON, []byte("{}")}}},
		"aheadforms":       AheadForms{Topic: 3, ID: 0x0123456789abcdef, Except: "1", Texts: []Rendering{{FormChat, []byte("user 【1】 send:Hi")}, {FormJSON, []byte(`{"push":{}}`)}}},
		"aheadforms-empty": AheadForms{Topic: 3, ID: 1, Texts: []Rendering{{FormChat, []byte{}}}},
	}
}

// TestLengths encodes messages and parses them again. Each message must stay the same. Several of
// their sizes are next to a size at which the length field grows by a byte.
func TestLengths(t *testing.T) {
	for _, size := range []int{0, 1, 117, 118, 119, 125, 126, 127, 128, 16_373, 16_380, 16_381, 16_382, 16_383, 16_384, 1 << 20, 2<<20 - 1, 2 << 20} {
		m := Message{Number: 1, Session: 1, Payload: bytes.Repeat([]byte{'x'}, size)}
		b := m.Append([]byte("before"))
		typ, body, remainder, err := Next(b[len("before"):])
		if err != nil || typ != TypeMessage || len(remainder) != 0 {
			t.Fatalf("%d: %v %v, %d bytes left", size, typ, err, len(remainder))
		}
		if got, err := ParseMessage(body); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%d: not the same message (%v)", size, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		typ  Type
		body string
	}{
		{"nothing", TypePing, ""},
		{"byte after the last field", TypePing, "0100"},
		{"byte after end", TypeEnd, "010200"},
		{"uvarint not minimal", TypeUntopic, "8100"},
		{"uvarint of 65 bits", TypeUntopic, "ffffffffffffffffff02"},
		{"uvarint without end", TypeUntopic, "ff"},
		{"string longer than the body", TypeSession, "010105" + "31"},
		{"endpoint beyond a byte", TypeSession, "01" + "8002" + "0131" + "00"},
		{"more sessions than bytes", TypeHeld, "0161" + "0000" + "ffffffff0f" + "01"},
		{"topic without a name", TypeTopic, "07" + "0000" + "00"},
		{"topic that relays use among themselves", TypeTopic, "07" + "0000" + "0f" + hex.EncodeToString([]byte("edgerelay:probe"))},
		{"topic with a control character", TypeTopic, "07" + "0000" + "03610a62"},
		{"topic of 256 bytes", TypeTopic, "07" + "0000" + "8002" + strings.Repeat("61", 256)},
		{"topic that is not UTF-8", TypeTopic, "07" + "0000" + "01ff"},
		{"boolean 2", TypeOpened, "010200"},
		{"opened in 129 topics", TypeOpened, "01018101" + strings.Repeat("05", 129)},
		{"more topics than bytes", TypeOpened, "01010201"},
		{"instance short", TypeWelcome, "00" + "0102"},
		{"proof short", TypeHello, "20ab"},
		{"65 ranges", TypeAck, "0041" + strings.Repeat("0100", 65)},
		{"range at distance 0", TypeAck, "01010000"},
		{"range beyond 64 bits", TypeAck, "ffffffffffffffffff01" + "01" + "0100"},
		{"range's end beyond 64 bits", TypeAck, "01" + "01" + "01" + "ffffffffffffffffff01"},
		{"more words than bytes", TypeStatus, "0361"},
		{"id of seven bytes", TypeAhead, "0301234567890123"},
		{"granted beyond 64 bits", TypeGranted, "02" + "ffffffffffffffffff01"},
		{"byte after granted", TypeGranted, "020300"},
		{"byte after cost", TypeCost, "01310500"},
		{"cost without deliveries", TypeCost, "0131"},

		{"flags beyond 3", TypeClient, "0105" + "00" + "0131"},
		{"client until beyond the year 9999", TypeClient, "0101" + "8083d1ffaf07" + "0131"},
		{"client whose user is not UTF-8", TypeClient, "0101" + "00" + "01ff"},
		{"client's keep too long", TypeClient, "0101" + "00" + "0131" + strings.Repeat("6b", MaxKeeps+1)},
		{"client with a control character in its user", TypeClient, "0101" + "00" + "03610062"},
		{"client with a user of 129 bytes", TypeClient, "0101" + "00" + "8101" + strings.Repeat("61", 129)},
		{"client that is confirmed without a user", TypeClient, "0101" + "00" + "00"},
		{"client that is vouched for without a user", TypeClient, "0102" + "00" + "00"},
		{"guest with an until", TypeClient, "0102" + "01" + "0131"},
		{"guest with a keep", TypeClient, "0102" + "00" + "0131" + "6b"},
		{"guest with a user that nobody vouches for", TypeClient, "0100" + "00" + "0131"},
		{"keep that is empty", TypeKeep, "01" + "0161"},
		{"keep of a topic that is not UTF-8", TypeKeep, "01" + "01ff" + "6b"},
		{"keep too long", TypeKeep, "01" + "0161" + strings.Repeat("6b", MaxKeeps+1)},
		{"confirmed until beyond the year 9999", TypeConfirmed, "0901" + "8083d1ffaf07" + "0131" + "00" + "00"},
		{"confirmed, and the user is not UTF-8", TypeConfirmed, "0901" + "00" + "01ff" + "00" + "00"},
		{"confirmed without a user", TypeConfirmed, "0901" + "00" + "00" + "00" + "00"},
		{"confirmed, and the user has a control character", TypeConfirmed, "0901" + "00" + "03610062" + "00" + "00"},
		{"confirmed, and the user has 129 bytes", TypeConfirmed, "0901" + "00" + "8101" + strings.Repeat("61", 129) + "00" + "00"},
		{"more channels than bytes", TypeConfirmed, "0901" + "00" + "0131" + "00" + "ffffffff0f" + "03000000"},
		{"confirmed in 129 channels", TypeConfirmed, "0901" + "00" + "0131" + "00" + "8101" + strings.Repeat("03000000", 129)},
		{"fewer channels than counted", TypeConfirmed, "0901" + "00" + "0131" + "00" + "0203000000" + "03"},
		{"confirmed in a channel without a position", TypeConfirmed, "0901" + "00" + "0131" + "00" + "010300"},
		{"confirmed in a channel with half a position", TypeConfirmed, "0901" + "00" + "0131" + "00" + "01030001"},
		{"confirmed, and the keeps are too long together", TypeConfirmed, "0901" + "00" + "0131" + "8108" + strings.Repeat("6b", MaxKeeps/2+1) + "01" + "03" + "8008" + strings.Repeat("6b", MaxKeeps/2) + "0000"},
		{"refreshed until beyond the year 9999", TypeRefreshed, "0a01" + "8083d1ffaf07" + "00"},
		{"refreshed with a keep too long", TypeRefreshed, "0a01" + "00" + "8110" + strings.Repeat("6b", MaxKeeps+1)},
		{"bound with a keep too long", TypeBound, "0b0103" + "8110" + strings.Repeat("6b", MaxKeeps+1) + "0000"},
		{"bound without a position", TypeBound, "0b0103" + "00"},
		{"bound with half a position", TypeBound, "0b0103" + "00" + "01"},
		{"drained without bytes", TypeDrained, "01"},
		{"byte after drained", TypeDrained, "010200"},
		{"drained beyond 64 bits", TypeDrained, "01" + "ffffffffffffffffff02"},
		{"bound without a keep's length", TypeBound, "0b0103"},
		{"close code 999", TypeClose, "01" + "e707" + "00" + "78"},
		{"close code 5000", TypeClose, "01" + "8827" + "00" + "78"},
		{"close code beyond 16 bits", TypeClose, "01" + "e88704" + "00" + "78"},
		{"close code without a reason", TypeClose, "01" + "e807" + "00"},
		{"close within more than a minute", TypeClose, "01" + "e807" + "e1d403" + "78"},
		{"close without a code within some time", TypeClose, "01" + "00" + "01" + "78"},
		{"reason too long", TypeClose, "01" + "e807" + "00" + strings.Repeat("78", MaxReason+1)},
		{"reason that is not UTF-8", TypeClose, "01" + "e807" + "00" + "ff"},
		{"no forms", TypeForms, "030000" + "0123456789abcdef" + "00" + "00"},
		{"unknown form", TypeForms, "030000" + "0123456789abcdef" + "00" + "01" + "0200"},
		{"form twice", TypeForms, "030000" + "0123456789abcdef" + "00" + "02" + "0000" + "0000"},
		{"forms in descending order", TypeForms, "030000" + "0123456789abcdef" + "00" + "02" + "0100" + "0000"},
		{"three forms", TypeForms, "030000" + "0123456789abcdef" + "00" + "03" + "0000" + "0100" + "0200"},
		{"fewer forms than counted", TypeForms, "030000" + "0123456789abcdef" + "00" + "02" + "000178"},
		{"form longer than the body", TypeForms, "030000" + "0123456789abcdef" + "00" + "01" + "000278"},
		{"forms with an id of seven bytes", TypeForms, "030000" + "0123456789abcd"},
		{"no forms ahead", TypeAheadForms, "03" + "0123456789abcdef" + "00" + "00"},
		{"forms ahead in descending order", TypeAheadForms, "03" + "0123456789abcdef" + "00" + "02" + "0100" + "0000"},
	} {
		body, err := hex.DecodeString(tt.body)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := parse(tt.typ, body); err == nil {
			t.Errorf("%s: parsed as %.200s", tt.name, fmt.Sprintf("%#v", f))
		}
	}
}

// TestExtension adds a byte to the body of each frame. If the frame's type is in the map
// extensible, the longer body must be parsed. Otherwise it must be refused. The test leaves out
// frames whose last field takes all bytes.
func TestExtension(t *testing.T) {
	extensible := map[Type]bool{TypeHello: true, TypeWelcome: true, TypeStatus: true}
	hasText := map[Type]bool{
		TypeBye: true, TypeMessage: true, TypeAgain: true, TypeJoined: true, TypeLeft: true, TypeAnswer: true, TypePublication: true, TypeAhead: true, TypeGap: true,
		TypeClient: true, TypeKeep: true, TypeConfirmed: true, TypeRefreshed: true, TypeBound: true, TypeUnbound: true, TypeAnswered: true, TypeClose: true,
	}
	for name, encoded := range readGolden(t) {
		typ, body, _, err := Next(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if hasText[typ] {
			continue // its last field takes all bytes up to the end
		}
		if _, err := parse(typ, append(slices.Clone(body), 1)); (err == nil) != extensible[typ] {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
}

func TestNextRefuses(t *testing.T) {
	for _, digits := range []string{"", "13", "13ff", "1302aa", "138000", "13ffffffffffffffffff7f", "13ffffffffffffffffff01"} {
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if _, body, _, err := Next(b); err == nil {
			t.Errorf("%q: body %x", digits, body)
		}
	}
}

func TestCodeNames(t *testing.T) {
	seen := make(map[string]bool)
	for c := CodeNormal; c <= CodeLost; c++ {
		if s := c.String(); seen[s] || s == "unknown" {
			t.Errorf("code %d is %q", c, s)
		} else {
			seen[s] = true
		}
	}
	if s := Code(math.MaxUint64).String(); s != "unknown" {
		t.Errorf("unknown code is %q", s)
	}
}

func TestHashes(t *testing.T) {
	// SPEC.md has the values of the first four hashes.
	if got, want := SessionHash(Session{ID: 1, Endpoint: 1, User: "1"}), uint64(0x7427f0609f190a46); got != want {
		t.Errorf("session hash %#x, want %#x", got, want)
	}
	if got, want := BindingHash(1, "all"), uint64(0xcd7c98994c59b5ee); got != want {
		t.Errorf("binding hash %#x, want %#x", got, want)
	}
	client := Client{ID: 1, Confirmed: true, Until: 1_700_000_000, User: "1", Keep: []byte("k")}
	if got, want := ClientHash(client), uint64(0x02bdc1026ae933ae); got != want {
		t.Errorf("client hash %#x, want %#x", got, want)
	}
	if got, want := BindingHashKeep(1, "all", []byte("k")), uint64(0x1c642ee8a4c8be14); got != want {
		t.Errorf("binding hash with a keep %#x, want %#x", got, want)
	}
	if got, want := BindingHashKeep(1, "all", []byte{}), BindingHash(1, "all"); got != want {
		t.Errorf("binding hash with an empty keep %#x, want %#x", got, want)
	}
	// The two values of each pair must differ.
	pairs := [][2]uint64{
		{SessionHash(Session{ID: 1, User: "ab"}), SessionHash(Session{ID: 1, User: "a", Group: "b"})},
		{BindingHash(1, "a") ^ BindingHash(2, "b"), BindingHash(1, "b") ^ BindingHash(2, "a")},
	}
	for i, p := range pairs {
		if p[0] == p[1] {
			t.Errorf("pair %d collides", i)
		}
	}
}

func TestNoAlloc(t *testing.T) {
	buf := make([]byte, 0, 4096)
	payload := bytes.Repeat([]byte("x"), 200)
	batch := Publication{Topic: 3, Position: protocol.Position{Epoch: 1 << 50, Offset: 7}, Payload: payload}.Append(nil)
	batch = Message{Number: 70_000, Session: 300, Payload: payload}.Append(batch)
	var names Names
	client := Client{ID: 7, Confirmed: true, User: "1", Keep: payload}
	forms := Forms{Topic: 3, Except: "somebody", Texts: []Rendering{{FormChat, payload}, {FormJSON, payload}}}
	_, formsBody, _, _ := Next(forms.Append(nil))
	for _, tt := range []struct {
		name string
		f    func()
	}{
		{"append message", func() { buf = Message{Number: 70_000, Session: 300, Payload: payload}.Append(buf[:0]) }},
		{"append publication", func() {
			buf = Publication{Topic: 3, Position: protocol.Position{Epoch: 1 << 50, Offset: 7}, Payload: payload}.Append(buf[:0])
		}},
		{"append ack", func() { buf = Ack{Through: 1 << 40}.Append(buf[:0]) }},
		{"next and parse", func() {
			_, body, remainder, err := Next(batch)
			if err == nil {
				_, err = ParsePublication(body)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, body, _, err = Next(remainder); err == nil {
				_, err = ParseMessage(body)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"hash", func() { BindingHash(7, "group:g1") }},
		{"append forms", func() { buf = forms.Append(buf[:0]) }},
		{"parse forms", func() {
			if p, err := names.ParseForms(formsBody); err != nil || len(p.Texts) != 2 {
				t.Fatal(err)
			}
		}},
		{"hash of a client", func() { ClientHash(client) }},
		{"hash with a keep", func() { BindingHashKeep(7, "group:g1", payload) }},
	} {
		if n := testing.AllocsPerRun(100, tt.f); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	for _, size := range []int{16, 200, 4 << 10, 64 << 10} {
		m := Message{Number: 1 << 30, Session: 70_000, Payload: bytes.Repeat([]byte("x"), size)}
		encoded := m.Append(nil)
		b.Run(fmt.Sprintf("append/%d", size), func(b *testing.B) {
			buf := make([]byte, 0, 2*len(encoded))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				buf = m.Append(buf[:0])
			}
		})
		b.Run(fmt.Sprintf("parse/%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, body, _, _ := Next(encoded)
				if _, err := ParseMessage(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCodec writes and reads one frame, for several kinds of frames.
func BenchmarkCodec(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 128)
	var names Names
	for _, c := range []struct {
		name  string
		write func(b []byte) []byte
		read  func(body []byte) error
	}{
		{
			"publication",
			Publication{Topic: 3, Position: protocol.Position{Epoch: 1 << 50, Offset: 7}, ID: 9, Except: "somebody", Payload: payload}.Append,
			func(body []byte) error { _, err := names.ParsePublication(body); return err },
		},
		{
			"forms",
			Forms{Topic: 3, Position: protocol.Position{Epoch: 1 << 50, Offset: 7}, ID: 9, Except: "somebody", Texts: []Rendering{{FormChat, payload}, {FormJSON, payload}}}.Append,
			func(body []byte) error { _, err := names.ParseForms(body); return err },
		},
		{"ack", Ack{Through: 1 << 40}.Append, func(body []byte) error { _, err := ParseAck(body); return err }},
		{"answer", Answer{Number: 1 << 40, Session: 70_000, Text: payload}.Append, func(body []byte) error { _, err := ParseAnswer(body); return err }},
		{
			"session", Session{ID: 70_000, Endpoint: protocol.EndpointChannel, User: "somebody"}.Append,
			func(body []byte) error { _, err := ParseSession(body); return err },
		},
	} {
		b.Run(c.name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = c.write(buf[:0])
				_, body, _, err := Next(buf)
				if err == nil {
					err = c.read(body)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
