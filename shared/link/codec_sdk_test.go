package link

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestParseTakesUpToTheBounds checks that frames at a bound are parsed. TestParseRefuses tries
// frames beyond the bounds.
func TestParseTakesUpToTheBounds(t *testing.T) {
	most := bytes.Repeat([]byte("k"), MaxKeeps)
	channels := slices.Repeat([]Channel{{Topic: 1, Keep: []byte{}}}, MaxChannels)
	for _, want := range []frame{
		Client{ID: 1, Confirmed: true, Open: true, Until: MaxUntil, User: "1", Keep: most},
		Client{ID: 1, Open: true, User: strings.Repeat("u", protocol.MaxID), Keep: []byte{}},
		Keep{Session: 1, Topic: "all", Keep: most},
		TopicNumber{ID: 1, Topic: protocol.Topic(strings.Repeat("c", protocol.MaxChannel))},
		Confirmed{Number: 1, Session: 1, User: strings.Repeat("u", protocol.MaxID), Keep: most[1:], Channels: []Channel{{Topic: 1, Keep: most[:1]}}, Text: []byte{}},
		Confirmed{Number: 1, Session: 1, User: "1", Keep: []byte{}, Channels: channels, Text: []byte{}},
		Opened{Session: 1, Confirmed: true, Topics: make([]uint64, MaxChannels)},
		Refreshed{Number: 1, Session: 1, Until: MaxUntil, Keep: most, Text: []byte{}},
		Bound{Number: 1, Session: 1, Topic: 1, Keep: most, Text: []byte{}},
		Bound{Number: 1, Session: 1, Topic: 1, Keep: []byte{}, Position: protocol.Position{Epoch: math.MaxUint64, Offset: math.MaxUint64}, Text: []byte{}},
		Close{Session: 1, Code: 1000, Reason: strings.Repeat("x", MaxReason)},
		Close{Session: 1, Code: 4999, Reason: "x", Within: MaxWithin},
		Close{Session: 1, Reason: "for the log"},
	} {
		typ, body, _, err := Next(want.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parse(typ, body); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v is parsed as %.200s, %v", typ, fmt.Sprintf("%+v", got), err)
		}
	}
}

// TestFramesOfSDKMayBeSkipped checks that the types of the frames of FeatureSDK have the high bit.
// A peer that does not know such a frame can then skip it.
func TestFramesOfSDKMayBeSkipped(t *testing.T) {
	n := 0
	for typ, name := range typeNames {
		if _, err := parseSDK(Type(typ), nil); name == "" || strings.Contains(err.Error(), "unknown") {
			continue
		}
		if n++; !Type(typ).ignorable() {
			t.Errorf("%s has type %#x", name, typ)
		}
	}
	if n != 11 {
		t.Errorf("%d frames", n)
	}
}

// TestNamesOfForms parses Forms with Names. The result must equal the Forms that were encoded.
// Except must stay the same when the body is overwritten. The list of texts must not hold a text of
// an earlier frame that had more forms.
func TestNamesOfForms(t *testing.T) {
	var names Names
	both := []Rendering{{FormChat, []byte("a")}, {FormJSON, []byte("b")}}
	var body []byte
	var first Forms
	for i, texts := range [][]Rendering{both, both[1:], both[:1], both} {
		want := Forms{Topic: 3, ID: 9, Except: "somebody", Texts: texts}
		_, frame, _, _ := Next(want.Append(nil))
		body = append(body[:0], frame...)
		got, err := names.ParseForms(body)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		if i == 0 {
			first = got
		}
		if unsafe.StringData(got.Except) != unsafe.StringData(first.Except) {
			t.Errorf("%q is copied again", got.Except)
		}
		clear(body)
		if got.Except != want.Except {
			t.Errorf("%q became %q", want.Except, got.Except)
		}
	}
	if _, err := names.ParseForms([]byte{3}); err == nil {
		t.Error("half a body is parsed")
	}
}
