package sdk

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestLinesAreRead(t *testing.T) {
	for _, c := range []struct {
		line string
		want Command
	}{
		{`{"id":1,"connect":{}}`, Command{ID: 1, Method: Connect}},
		{` { "id" : 4294967295 , "connect" : { } } `, Command{ID: 4294967295, Method: Connect}},
		{"{\"connect\":{\"token\":\"t\",\"data\":{\"a\":1},\"name\":\"js\",\"version\":\"1.2.3\",\"headers\":{\"X\":\"y\"}},\"id\":1}\r",
			Command{ID: 1, Method: Connect, Token: "t", Data: []byte(`{"a":1}`), Name: "js", Version: "1.2.3"}},
		{`{"id":1,"connect":{"subs":{"a":{"recover":true,"offset":7,"epoch":"E"},"b":{},"c":null,"a":{"recover":true}}}}`,
			Command{ID: 1, Method: Connect, Subs: []Sub{{Channel: "a", Recover: true}, {Channel: "b"}, {Channel: "c"}}}},
		{`{"id":1,"connect":{"subs":{},"token":null,"data":null}}`, Command{ID: 1, Method: Connect, Data: []byte("null")}},
		{`{"id":2,"subscribe":{"channel":"news","flag":1}}`, Command{ID: 2, Method: Subscribe, Channel: "news", Flag: 1}},
		{`{"subscribe":{"join_leave":true,"positioned":true,"recoverable":true,"recover":true,"offset":18446744073709551615,` +
			`"epoch":"E","token":"t","data":"d","delta":"fossil","flag":-9223372036854775808,"type":-2147483648,"tf":{},"channel":"\u00e9\n"},"id":3}`,
			Command{ID: 3, Method: Subscribe, Channel: "é\n", Token: "t", Data: []byte(`"d"`), Recover: true, Since: Position{"E", 1<<64 - 1},
				Positioned: true, Recoverable: true, JoinLeave: true, Filtered: true, Flag: -1 << 63, Delta: "fossil", Type: -1 << 31}},
		{`{"id":3,"subscribe":{"channel":"a","recover":null,"tf":null,"epoch":null,"offset":0,"flag":0,"type":null,"delta":""}}`,
			Command{ID: 3, Method: Subscribe, Channel: "a"}},
		{`{"id":4,"unsubscribe":{"channel":"a","token":5}}`, Command{ID: 4, Method: Unsubscribe, Channel: "a"}},
		{`{"id":5,"publish":{"channel":"a","data": {"n": 1.50, "b":12345678901234567890, "<b>&":"\ud800"} ,"type":1}}`,
			Command{ID: 5, Method: Publish, Channel: "a", Data: []byte(`{"n": 1.50, "b":12345678901234567890, "<b>&":"\ud800"}`), Type: 1}},
		{`{"id":5,"publish":{"channel":"a"}}`, Command{ID: 5, Method: Publish, Channel: "a"}},
		{`{"id":5,"publish":{"channel":"a","data":null}}`, Command{ID: 5, Method: Publish, Channel: "a", Data: []byte("null")}},
		{`{"id":6,"presence":{"channel":"a"}}`, Command{ID: 6, Method: Presence, Channel: "a"}},
		{`{"id":7,"presence_stats":{"channel":"a"}}`, Command{ID: 7, Method: PresenceStats, Channel: "a"}},
		{`{"id":8,"history":{"channel":"a"}}`, Command{ID: 8, Method: History, Channel: "a"}},
		{`{"id":8,"history":{"channel":"a","limit":-1,"reverse":true,"since":{"offset":3,"epoch":"E","x":[]}}}`,
			Command{ID: 8, Method: History, Channel: "a", Limit: -1, Reverse: true, HasSince: true, Since: Position{"E", 3}}},
		{`{"id":8,"history":{"channel":"a","since":{}}}`, Command{ID: 8, Method: History, Channel: "a", HasSince: true}},
		{`{"id":8,"history":{"channel":"a","since":null}}`, Command{ID: 8, Method: History, Channel: "a"}},
		{`{"id":9,"rpc":{"method":"get","data":{"id":1}}}`, Command{ID: 9, Method: RPC, Call: "get", Data: []byte(`{"id":1}`)}},
		{`{"id":9,"rpc":{}}`, Command{ID: 9, Method: RPC}},
		{`{"send":{"data":[1]}}`, Command{Method: Send, Data: []byte(`[1]`)}},
		{`{"id":10,"send":{"data":1}}`, Command{ID: 10, Method: Send, Data: []byte(`1`)}},
		{`{"id":11,"refresh":{"token":"t"}}`, Command{ID: 11, Method: Refresh, Token: "t"}},
		{`{"id":12,"sub_refresh":{"channel":"a","token":"t"}}`, Command{ID: 12, Method: SubRefresh, Channel: "a", Token: "t"}},
		{`{"id":12,"sub_refresh":{"channel":"a"}}`, Command{ID: 12, Method: SubRefresh, Channel: "a"}},

		// Unknown fields and fields of other methods are ignored, whatever their values are.
		{`{"x":[{}],"id":1,"ping":{},"connect":{"flag":"x","channel":5,"recover":5},"params":null}`, Command{ID: 1, Method: Connect}},
		{`{"id":6,"presence":{"channel":"a","data":1,"type":"x","method":1}}`, Command{ID: 6, Method: Presence, Channel: "a"}},
		// If a key is repeated, the last one counts.
		{`{"id":1,"id":2,"unsubscribe":{"channel":"a"},"unsubscribe":{"channel":"b","channel":"c"}}`,
			Command{ID: 2, Method: Unsubscribe, Channel: "c"}},
		{`{"id":1,"connect":{"token":"t","token":null,"name":"js"}}`, Command{ID: 1, Method: Connect, Name: "js"}},
		{`{"id":1,"subscribe":{"channel":"a","recover":true,"offset":5,"flag":1,"recover":null,"offset":null,"flag":null}}`,
			Command{ID: 1, Method: Subscribe, Channel: "a"}},
		{`{"id":8,"history":{"channel":"a","since":{"epoch":"E","offset":1},"since":{"offset":2}}}`,
			Command{ID: 8, Method: History, Channel: "a", HasSince: true, Since: Position{"", 2}}},
		// The first method in the order of Method counts.
		{`{"id":1,"publish":{"channel":"p","data":1},"subscribe":{"channel":"s"}}`, Command{ID: 1, Method: Subscribe, Channel: "s"}},
		{`{"id":1,"publish":{"channel":"p","data":1},"subscribe":null}`,
			Command{ID: 1, Method: Publish, Channel: "p", Data: []byte("1")}},
	} {
		got, err := Read([]byte(c.line))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s is read as\n%+v, %v, want\n%+v", c.line, got, err, c.want)
		}
		if slow, label := slowRead([]byte(c.line)); !reflect.DeepEqual(slow, c.want) {
			t.Errorf("encoding/json reads %s as\n%+v, %s, want\n%+v", c.line, slow, label, c.want)
		}
	}
}

// TestTheFirstMethodCounts checks the order of the methods, two by two.
func TestTheFirstMethodCounts(t *testing.T) {
	order := []string{"connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "rpc", "send",
		"refresh", "sub_refresh"}
	for i, first := range order {
		for _, second := range order[i+1:] {
			line := fmt.Sprintf(`{"id":1,"%s":{"channel":"a","token":"t"},"%s":{"channel":"a","token":"t"}}`, second, first)
			if c, err := Read([]byte(line)); err != nil || c.Method.String() != first {
				t.Errorf("%s is read as %s, %v", line, c.Method, err)
			}
		}
	}
}

// badLines has lines by the labels of their errors.
var badLines = map[string][]string{
	"json": {``, ` `, `[]`, `5`, `"x"`, `null`, `{`, `{"id":1,"connect":{}`, `{"id":1,}`, `{"id":01,"connect":{}}`, `{'id':1}`,
		`{"id":1,"connect":{"token":"` + "\x01" + `"}}`, "{\"id\":1,\"connect\":{\"token\":\"\xff\"}}",
		`{"id":5,"publish":{"channel":"a","data":{]}}`, `[{"id":1,"connect":{}}]`, `{"id":1 "connect":{}}`},
	"trailing": {`{"id":1,"connect":{}}{"id":2,"connect":{}}`, `{"id":1,"connect":{}} {}`, `{"id":1,"connect":{}}x`, `{}}`},
	"id": {`{"id":"1","connect":{}}`, `{"id":4294967296,"connect":{}}`, `{"id":-1,"connect":{}}`, `{"id":1.0,"connect":{}}`,
		`{"id":1e0,"connect":{}}`, `{"id":true,"connect":{}}`, `{"id":[1],"connect":{}}`, `{"id":99999999999999999999,"send":{}}`},
	"no_id": {`{}`, `{ }`, `{"connect":{}}`, `{"id":0,"subscribe":{"channel":"a"}}`, `{"id":null,"rpc":{}}`,
		`{"send":{},"publish":{"channel":"a","data":1}}`, `{"ID":1,"connect":{}}`},
	"method": {`{"id":2}`, `{"id":2,"ping":{}}`, `{"id":2,"subscribe":null}`, `{"id":2,"Subscribe":{"channel":"a"}}`,
		`{"id":2,"method":1,"params":{}}`, `{"id":2,"":{}}`},
	"channel": {`{"id":2,"subscribe":{}}`, `{"id":2,"unsubscribe":{}}`, `{"id":2,"publish":{"data":1}}`, `{"id":2,"presence":{}}`,
		`{"id":2,"presence_stats":{}}`, `{"id":2,"history":{"limit":1}}`, `{"id":2,"sub_refresh":{"token":"t"}}`,
		`{"id":2,"subscribe":{"channel":""}}`, `{"id":2,"subscribe":{"channel":null}}`, `{"id":1,"connect":{"subs":{"":{}}}}`},
	"token": {`{"id":2,"refresh":{}}`, `{"id":2,"refresh":{"token":""}}`, `{"id":2,"refresh":{"token":null}}`},
	"field": {`{"id":2,"subscribe":[]}`, `{"id":2,"subscribe":"news"}`, `{"id":2,"subscribe":true}`, `{"id":2,"subscribe":{"channel":5}}`,
		`{"id":2,"subscribe":{"channel":["a"]}}`, `{"id":2,"subscribe":{"channel":"a","recover":1}}`,
		`{"id":2,"subscribe":{"channel":"a","recover":"true"}}`, `{"id":2,"subscribe":{"channel":"a","offset":"1"}}`,
		`{"id":2,"subscribe":{"channel":"a","offset":-1}}`, `{"id":2,"subscribe":{"channel":"a","offset":18446744073709551616}}`,
		`{"id":2,"subscribe":{"channel":"a","epoch":1}}`, `{"id":2,"subscribe":{"channel":"a","flag":1.5}}`,
		`{"id":2,"subscribe":{"channel":"a","type":2147483648}}`, `{"id":2,"subscribe":{"channel":"a","delta":true}}`,
		`{"id":2,"subscribe":{"channel":"a","token":{}}}`, `{"id":2,"subscribe":{"channel":"a","join_leave":"x"}}`,
		`{"id":2,"subscribe":{"channel":"a","positioned":0}}`, `{"id":2,"subscribe":{"channel":"a","recoverable":0}}`,
		`{"id":2,"publish":{"channel":"a","data":1,"type":"1"}}`, `{"id":2,"unsubscribe":{"channel":{}}}`,
		`{"id":2,"history":{"channel":"a","limit":2147483648}}`, `{"id":2,"history":{"channel":"a","since":5}}`,
		`{"id":2,"history":{"channel":"a","since":{"offset":"1"}}}`, `{"id":2,"history":{"channel":"a","reverse":1}}`,
		`{"id":2,"history":{"channel":1}}`, `{"id":2,"rpc":{"method":5}}`, `{"id":2,"refresh":{"token":5}}`, `{"id":1,"connect":{"token":5}}`,
		`{"id":1,"connect":{"name":5}}`, `{"id":1,"connect":{"version":5}}`, `{"id":1,"connect":{"subs":[]}}`,
		`{"id":1,"connect":{"subs":{"a":1}}}`, `{"id":1,"connect":{"subs":{"a":{"recover":1}}}}`,
		`{"id":1,"connect":{"subs":{"a":{"offset":-1}}}}`, `{"id":1,"connect":{"subs":{"a":{"epoch":1}}}}`,
		`{"id":2,"subscribe":{"channel":5,"channel":"a"}}`},
}

func TestBadLinesAreClosed(t *testing.T) {
	for label, lines := range badLines {
		for _, line := range lines {
			c, err := Read([]byte(line))
			var wrong *LineError
			if !errors.As(err, &wrong) || wrong.Label != label || wrong.Close != CloseBadRequest {
				t.Errorf("%s: %+v, %v, want %s", line, c, err, label)
			}
			if !reflect.DeepEqual(c, Command{}) {
				t.Errorf("%s leaves %+v", line, c)
			}
			if _, slow := slowRead([]byte(line)); slow != label {
				t.Errorf("%s: encoding/json says %s, want %s", line, slow, label)
			}
		}
	}
}

// TestSubsAreBounded checks that a connect may name MaxSubs channels, and no more.
func TestSubsAreBounded(t *testing.T) {
	subs := func(n int) []byte {
		var each []string
		for i := range n {
			each = append(each, fmt.Sprintf(`"c%d":{}`, i))
		}
		return fmt.Appendf(nil, `{"id":1,"connect":{"subs":{%s}}}`, strings.Join(each, ","))
	}
	if c, err := Read(subs(128)); err != nil || len(c.Subs) != 128 || c.Subs[127].Channel != "c127" {
		t.Errorf("%d of 128: %v", len(c.Subs), err)
	}
	_, err := Read(subs(129))
	var wrong *LineError
	if !errors.As(err, &wrong) || wrong.Label != "subs" || wrong.Close != CloseChannelLimit {
		t.Errorf("129: %v", err)
	}
}

// TestDepthIsBounded checks that a line may have maxDepth levels, and no more.
func TestDepthIsBounded(t *testing.T) {
	line := func(levels int) []byte {
		n := levels - 2 // leaves out the line's object and the method's
		return []byte(`{"id":1,"publish":{"channel":"a","data":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`)
	}
	if c, err := Read(line(1000)); err != nil || len(c.Data) != 2*998 {
		t.Errorf("1000 levels: %v", err)
	}
	for _, levels := range []int{1001, 30_000} {
		if _, err := Read(line(levels)); err != errJSON {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		line string
		want ErrorCode
	}{
		{`{"id":2,"publish":{"channel":"a"}}`, 107},
		{`{"id":2,"publish":{"channel":"a","data":null}}`, 0},
		{`{"id":2,"publish":{"channel":"a","data":1,"type":1}}`, 108},
		{`{"id":2,"sub_refresh":{"channel":"a"}}`, 107},
		{`{"id":2,"sub_refresh":{"channel":"a","token":"t"}}`, 0},
		{`{"id":2,"subscribe":{"channel":"a","flag":3}}`, 0},
		{`{"id":2,"subscribe":{"channel":"a","delta":"fossil"}}`, 0},
		{`{"id":2,"subscribe":{"channel":"a","delta":"x"}}`, 107},
		{`{"id":2,"subscribe":{"channel":"a","tf":{"key":"k"}}}`, 107},
		{`{"id":2,"subscribe":{"channel":"a","type":1}}`, 103},
		{`{"id":2,"subscribe":{"channel":"a","type":3}}`, 103},
		{`{"id":2,"subscribe":{"channel":"a","type":4}}`, 108},
		{`{"id":2,"subscribe":{"channel":"a","type":-1}}`, 108},
		{`{"id":2,"unsubscribe":{"channel":"a"}}`, 0},
		{`{"id":2,"rpc":{}}`, 0},
	} {
		if cmd, err := Read([]byte(c.line)); err != nil || cmd.Refused() != c.want {
			t.Errorf("%s: %d, %v, want %d", c.line, cmd.Refused(), err, c.want)
		}
	}
}

// TestReadAllocatesWhatItReturns checks that reading allocates only strings and the list of subs.
func TestReadAllocatesWhatItReturns(t *testing.T) {
	for _, c := range []struct {
		line string
		most float64
	}{
		{`{"id":5,"publish":{"channel":"group:1","data":{"text":"hello","n":[1,2,{}]}}}`, 1},
		{`{"id":5,"subscribe":{"channel":"group:1","flag":1,"recover":true,"offset":1844674407370955161,"epoch":"abcdefgh"}}`, 2},
		{`{"id":5,"history":{"channel":"group:1","limit":10,"since":{"offset":18,"epoch":"abcdefgh"},"reverse":true}}`, 2},
		{`{"id":5,"connect":{"token":"a.b.c","name":"js","data":{}}}`, 2},
		{`{"id":5,"connect":{"subs":{"a":{"recover":true,"epoch":"E","offset":1}}}}`, 3},
		{`{"id":5,"nothing":{"channel":"group:1"}}`, 0},
		{`{"id":5,"subscribe":{"channel":1}}`, 0},
		{`{"id":5,`, 0},
	} {
		line := []byte(c.line)
		if n := testing.AllocsPerRun(100, func() { _, _ = Read(line) }); n > c.most {
			t.Errorf("%s: %v allocations, at most %v", c.line, n, c.most)
		}
	}
}

// FuzzRead compares Read with a reader that uses encoding/json.
func FuzzRead(f *testing.F) {
	for _, line := range recorded(f, "->") {
		f.Add([]byte(line))
	}
	for _, lines := range badLines {
		for _, line := range lines {
			f.Add([]byte(line))
		}
	}
	f.Add([]byte(`{"id":1,"connect":{"subs":{"a":{"recover":true,"offset":7,"epoch":"E"},"\u0061":null}}}`))
	f.Add([]byte(`{"subscribe":{"join_leave":true,"positioned":true,"recoverable":true,"tf":{},"type":-0,"channel":"\ud83d\ude00"},"id":3}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		before := string(line)
		got, err := Read(line)
		label := ""
		if err != nil {
			label = err.(*LineError).Label
		}
		want, wantLabel := slowRead(line)
		if label != wantLabel || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is read as\n%+v %s, want\n%+v %s", line, got, label, want, wantLabel)
		}
		if string(line) != before {
			t.Fatalf("%q was changed to %q", before, line)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	for name, line := range map[string]string{
		"connect":   `{"connect":{"token":"` + strings.Repeat("x", 200) + `","name":"js"},"id":1}`,
		"subscribe": `{"subscribe":{"channel":"group:1","flag":1,"recover":true,"offset":17,"epoch":"JPWOdAst"},"id":2}`,
		"publish":   `{"publish":{"channel":"group:1","data":{"text":"` + strings.Repeat("x", 100) + `"}},"id":4}`,
	} {
		b.Run(name, func(b *testing.B) {
			line := []byte(line)
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if _, err := Read(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
