package redisbroker

import (
	"encoding"
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// arguments returns the arguments of a request as texts.
func arguments(t *testing.T, r *request) (texts []string) {
	t.Helper()
	for _, arg := range r.Args() {
		switch arg := arg.(type) {
		case encoding.BinaryMarshaler:
			b, err := arg.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(b))
		case *uint64:
			texts = append(texts, fmt.Sprint(*arg))
		case *string:
			texts = append(texts, *arg)
		default:
			texts = append(texts, fmt.Sprint(arg))
		}
	}
	return texts
}

// TestRequestIsSetAnew sets one request to several publications in turn. Its arguments must each
// time be those of a new request.
func TestRequestIsSetAnew(t *testing.T) {
	h := retention{size: 5, ageMS: 6, markAge: 7}
	reused := newRequest(h, "1 p:")
	for i, p := range []broker.Publish{
		{Topic: "user:somebody", From: "1", Msg: strings.Repeat("m", 2*keepOpen), Instance: protocol.Instance{1}, Number: 1 << 40, Predecessor: 9, Floor: 8, Known: protocol.Position{Epoch: 3, Offset: 4}},
		{Topic: protocol.All, From: "another", Msg: "m", Instance: protocol.Instance{2}, Number: 2},
		{Topic: "group:g", From: "1", Msg: strings.Repeat("m", 100), Instance: protocol.Instance{3}, Number: 3},
	} {
		identity := strings.Repeat("i", 3-i)
		reused.SetErr(errReply)
		reused.set("p:", identity, uint64(i), &p)
		fresh := newRequest(h, "1 p:")
		fresh.set("p:", identity, uint64(i), &p)
		got, want := arguments(t, reused), arguments(t, fresh)
		if strings.Join(got, " ") != strings.Join(want, " ") || reused.Err() != nil {
			t.Errorf("%d: %.300q, want %.300q; %v", i, got, want, reused.Err())
		}
		if i == 1 && strings.Join(want, " ") != "evalsha "+publishSHA+" 3 p:h:{p:all} p:m:{p:all}:02"+strings.Repeat("0", 30)+" p:t:{p:all} p:all "+
			`{"FromId":"another","ToId":"","Msg":"m","Id":"02`+strings.Repeat("0", 30)+`-2","In":"1 p:"`+" 2 0 0 0 0 5 6 7 7006 ii 1" {
			t.Errorf("%q", want)
		}
	}
}

// TestNoAllocPerRequest checks that setting a request does not allocate, and that parsing its reply
// does not either. The copy that go-redis makes of the reply does not count.
func TestNoAllocPerRequest(t *testing.T) {
	r := newRequest(retention{}, "0")
	p := broker.Publish{Topic: "user:somebody", From: "1", Msg: strings.Repeat("m", 128), Instance: protocol.Instance{1}, Number: 1 << 40}
	if n := testing.AllocsPerRun(100, func() {
		r.set("p:", "identity", 1<<50, &p)
		r.SetVal("done 1700000000000000-3")
		if answer := published(7, r.StringCmd); answer.Outcome != broker.Done || answer.Token != 7 || answer.Position.Offset != 3 {
			t.Errorf("%+v", answer)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
