package link

import (
	"fmt"
	"reflect"
	"testing"
	"unsafe"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestNames parses each frame with Names and without Names. The two results must be equal. Except
// must stay the same when the body is overwritten. A name that comes twice in a row must be copied
// only once.
func TestNames(t *testing.T) {
	var names Names
	var body []byte
	kept := map[string]Publication{}
	for i := range 5000 {
		p := Publication{Topic: 3, Position: protocol.Position{Epoch: 1 << 50, Offset: uint64(i)}, ID: 9, Payload: []byte("x")}
		if user := i % 1000; user > 0 {
			p.Except = fmt.Sprint("user ", user)
		}
		_, frame, _, _ := Next(p.Append(nil))
		body = append(body[:0], frame...)
		got, err := names.ParsePublication(body)
		want, _ := ParsePublication(frame)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		again, _ := names.ParsePublication(body)
		if unsafe.StringData(again.Except) != unsafe.StringData(got.Except) {
			t.Fatalf("%q is copied again", got.Except)
		}
		kept[want.Except] = got
		clear(body)
	}
	for except, p := range kept {
		if p.Except != except {
			t.Errorf("%q became %q", except, p.Except)
		}
	}
	if _, err := names.ParsePublication([]byte{3}); err == nil {
		t.Error("half a body is parsed")
	}
}
