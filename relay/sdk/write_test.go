package sdk

import (
	"bytes"
	"encoding/json"
	"iter"
	"reflect"
	"strings"
	"testing"
)

var (
	alice = Info{User: "alice", Client: "c1", ConnInfo: `{"name":"Alice"}`, ChanInfo: `[1]`}
	plain = Pub{Data: `1`}
)

// texts returns publications as replies have them.
func texts(list ...Pub) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range list {
			if !yield(string(AppendPublication(nil, &list[i]))) {
				return
			}
		}
	}
}

func TestTextsAreWritten(t *testing.T) {
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{AppendConnect(nil, 1, &ConnectResult{Client: "c1", Version: "v"}), `{"id":1,"connect":{"client":"c1","version":"v"}}`},
		{AppendConnect(nil, 4294967295, &ConnectResult{Client: "c1", Version: "v", TTL: 60, Data: `{"a":1}`, Ping: 25, Pong: true,
			Subs: []ServerSub{
				{Channel: "a"},
				{Channel: "b", SubscribeResult: SubscribeResult{TTL: 5, Subscription: Subscription{Data: `null`}}},
			}}),
			`{"id":4294967295,"connect":{"client":"c1","version":"v","expires":true,"ttl":60,"data":{"a":1},"subs":{"a":{},` +
				`"b":{"expires":true,"ttl":5,"data":null}},"ping":25,"pong":true}}`},

		{AppendSubscribe(nil, 2, &SubscribeResult{}), `{"id":2,"subscribe":{}}`},
		{AppendSubscribe(nil, 2, &SubscribeResult{WasRecovering: true}), `{"id":2,"subscribe":{"was_recovering":true}}`},
		{AppendSubscribe(nil, 2, &SubscribeResult{
			Subscription: Subscription{Recoverable: true, Positioned: true, Epoch: "E", Offset: 1<<64 - 1, Data: `"d"`},
			TTL:          4, WasRecovering: true, Recovered: true, Publications: texts(plain, Pub{Data: `{}`, Offset: 7}),
		}), `{"id":2,"subscribe":{"expires":true,"ttl":4,"recoverable":true,"epoch":"E","publications":[{"data":1},{"data":{},"offset":7}],` +
			`"recovered":true,"offset":18446744073709551615,"positioned":true,"data":"d","was_recovering":true}}`},
		{AppendSubscribe(nil, 2, &SubscribeResult{Recovered: true}), `{"id":2,"subscribe":{"recovered":true}}`},
		{AppendSubscribe(nil, 2, &SubscribeResult{Recovered: true, Publications: texts()}), `{"id":2,"subscribe":{"recovered":true}}`},

		{AppendUnsubscribe(nil, 3), `{"id":3,"unsubscribe":{}}`},
		{AppendPublish(nil, 3), `{"id":3,"publish":{}}`},
		{AppendHistory(nil, 3, &HistoryResult{}), `{"id":3,"history":{"publications":[],"epoch":"","offset":0}}`},
		{AppendHistory(nil, 3, &HistoryResult{Publications: texts(), Epoch: "0"}), `{"id":3,"history":{"publications":[],"epoch":"0","offset":0}}`},
		{AppendHistory(nil, 3, &HistoryResult{Publications: texts(Pub{Data: `2`, Offset: 2}, Pub{Data: `1`, Offset: 1, Epoch: "E"}), Epoch: "E", Offset: 2}),
			`{"id":3,"history":{"publications":[{"data":2,"offset":2},{"data":1,"offset":1,"epoch":"E"}],"epoch":"E","offset":2}}`},
		{AppendPresence(nil, 3, nil), `{"id":3,"presence":{"presence":{}}}`},
		{AppendPresence(nil, 3, []Info{alice, {Client: "c2"}}), `{"id":3,"presence":{"presence":{"c1":{"user":"alice","client":"c1",` +
			`"conn_info":{"name":"Alice"},"chan_info":[1]},"c2":{"user":"","client":"c2"}}}}`},
		{AppendPresenceStats(nil, 3, 0, 0), `{"id":3,"presence_stats":{"num_clients":0,"num_users":0}}`},
		{AppendPresenceStats(nil, 3, 2, 1), `{"id":3,"presence_stats":{"num_clients":2,"num_users":1}}`},
		{AppendRPC(nil, 3, ""), `{"id":3,"rpc":{}}`},
		{AppendRPC(nil, 3, "null"), `{"id":3,"rpc":{"data":null}}`},
		{AppendRefresh(nil, 3, 0), `{"id":3,"refresh":{}}`},
		{AppendRefresh(nil, 3, 9), `{"id":3,"refresh":{"expires":true,"ttl":9}}`},
		{AppendSubRefresh(nil, 3, 0), `{"id":3,"sub_refresh":{}}`},
		{AppendSubRefresh(nil, 3, 9), `{"id":3,"sub_refresh":{"expires":true,"ttl":9}}`},
		{AppendError(nil, 3, ErrorInternal), `{"id":3,"error":{"code":100,"message":"internal server error","temporary":true}}`},
		{AppendError(nil, 3, ErrorPermissionDenied), `{"id":3,"error":{"code":103,"message":"permission denied"}}`},

		{AppendPub(nil, "c", &plain), `{"push":{"channel":"c","pub":{"data":1}}}`},
		{AppendPub(nil, "c", &Pub{Data: `{}`, Info: &alice, Offset: 3, Tags: `{"k":"v"}`}), `{"push":{"channel":"c","pub":{"data":{},` +
			`"info":{"user":"alice","client":"c1","conn_info":{"name":"Alice"},"chan_info":[1]},"offset":3,"tags":{"k":"v"}}}}`},
		{AppendPub(nil, "c", &Pub{Data: `1`, Offset: 1, Epoch: "E", Tags: `{"k":"v"}`}),
			`{"push":{"channel":"c","pub":{"data":1,"offset":1,"tags":{"k":"v"},"epoch":"E"}}}`},
		{AppendPub(nil, "c", &Pub{Text: "\"Hi\"\n"}), `{"push":{"channel":"c","pub":{"data":"\"Hi\"\n"}}}`},
		{AppendPub(nil, "c", &Pub{}), `{"push":{"channel":"c","pub":{"data":""}}}`},
		{AppendPub(nil, "c", &Pub{Data: `0`, Text: "x", Info: &Info{}}), `{"push":{"channel":"c","pub":{"data":0,"info":{"user":"","client":""}}}}`},
		{AppendJoin(nil, "c", &Info{User: "bob"}), `{"push":{"channel":"c","join":{"info":{"user":"bob","client":""}}}}`},
		{AppendLeave(nil, "c", &Info{User: "bob"}), `{"push":{"channel":"c","leave":{"info":{"user":"bob","client":""}}}}`},
		{AppendSubscribed(nil, "c", &Subscription{}), `{"push":{"channel":"c","subscribe":{}}}`},
		{AppendSubscribed(nil, "c", &Subscription{Recoverable: true, Positioned: true, Epoch: "E", Offset: 5, Data: `{"a":1}`}),
			`{"push":{"channel":"c","subscribe":{"recoverable":true,"epoch":"E","offset":5,"positioned":true,"data":{"a":1}}}}`},
		{AppendUnsubscribed(nil, "c", UnsubscribeInsufficientState),
			`{"push":{"channel":"c","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`},
		{AppendMessage(nil, `{"a":1}`), `{"push":{"message":{"data":{"a":1}}}}`},
		{AppendDisconnect(nil, CloseExpired), `{"push":{"disconnect":{"code":3005,"reason":"connection expired"}}}`},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s\nis written, want\n%s", c.got, c.want)
		}
		if again, kind := rewrite(t, c.want); again != c.want {
			t.Errorf("a second time the %s is\n%s, want\n%s", kind, again, c.want)
		}
	}
}

// TestNothingIsSentUnlessRecovered checks that the reply to a client that has lost publications has
// no publications.
func TestNothingIsSentUnlessRecovered(t *testing.T) {
	got := AppendSubscribe(nil, 1, &SubscribeResult{WasRecovering: true, Publications: texts(plain)})
	if want := `{"id":1,"subscribe":{"was_recovering":true}}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestJSONIsCopied checks that JSON comes out as it went in, without its line feeds.
func TestJSONIsCopied(t *testing.T) {
	for in, want := range map[string]string{
		`{ "a" : 1.50 , "b":12345678901234567890, "c":"<b>&\u2028\n" }`: `{ "a" : 1.50 , "b":12345678901234567890, "c":"<b>&\u2028\n" }`,
		"\n{\"a\":\n1,\r\n\n\t\"b\":[\n]}\n":                            "{\"a\":1,\r\t\"b\":[]}",
		"\"\u2028\x7f\"":                                                "\"\u2028\x7f\"",
	} {
		for _, text := range [][]byte{
			AppendPub(nil, "c", &Pub{Data: in, Tags: in, Info: &Info{ConnInfo: in, ChanInfo: in}}),
			AppendConnect(nil, 1, &ConnectResult{Data: in, Subs: []ServerSub{{"c", SubscribeResult{Subscription: Subscription{Data: in}}}}}),
			AppendRPC(nil, 1, in),
			AppendMessage(nil, in),
			AppendSubscribed(nil, "c", &Subscription{Data: in}),
		} {
			if bytes.Contains(text, []byte("\n")) || !bytes.Contains(text, []byte(want)) || !json.Valid(text) {
				t.Errorf("%q is written as %q, want %q", in, text, want)
			}
		}
		if pub := AppendPub(nil, "c", &Pub{Data: in, Tags: in, Info: &Info{ConnInfo: in, ChanInfo: in}}); strings.Count(string(pub), want) != 4 {
			t.Errorf("%q is written as %q, want %q four times", in, pub, want)
		}
	}
}

// TestWritingAllocatesNothing checks the texts that a relay writes most often.
func TestWritingAllocatesNothing(t *testing.T) {
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		info := Info{User: "alice", Client: "c1", ConnInfo: `{"name":"Alice"}`}
		b = AppendPub(b[:0], "group:1", &Pub{Data: `{"text":"hello"}`, Info: &info, Offset: 17})
		b = AppendPublish(b[:0], 7)
		b = AppendSubscribe(b[:0], 7, &SubscribeResult{Subscription: Subscription{Epoch: "E"}})
		b = AppendError(b[:0], 7, ErrorPermissionDenied)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzPub writes publications and reads them with encoding/json. A text must have no line feed, and
// must say what was written.
func FuzzPub(f *testing.F) {
	f.Add("c", "alice", "c1", `{"a":1}`, `"i"`, uint64(3))
	f.Add("a{", "\"\\\n\r\t\x00", "\u2028<b>&é\xff", "\n[\n1,\n2\n]\n", "", uint64(1<<64-1))
	f.Fuzz(func(t *testing.T, channel, user, client, data, info string, offset uint64) {
		if !json.Valid([]byte(data)) || info != "" && !json.Valid([]byte(info)) {
			return
		}
		p := Pub{Data: data, Info: &Info{user, client, info, info}, Offset: offset, Tags: info}
		text := AppendPub(nil, channel, &p)
		if bytes.Contains(text, []byte("\n")) {
			t.Fatalf("%q has a line feed", text)
		}
		var read struct {
			Push struct {
				Channel string
				Pub     jsonPub
			}
		}
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		// JSON loses its line feeds, and encoding/json removes the space around it.
		raw := func(s string) string { return strings.Trim(strings.ReplaceAll(s, "\n", ""), " \t\r") }
		want := Pub{Data: raw(data), Info: &Info{valid(user), valid(client), raw(info), raw(info)}, Offset: offset, Tags: raw(info)}
		if got := read.Push.Pub.pub(); read.Push.Channel != valid(channel) || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q says %+v %+v, want %+v %+v", text, got, got.Info, want, want.Info)
		}
	})
}

// valid returns s with U+FFFD for each byte that is not part of valid UTF-8.
func valid(s string) string { return string([]rune(s)) }

func BenchmarkAppendPub(b *testing.B) {
	p := Pub{Data: `{"text":"` + strings.Repeat("x", 100) + `"}`, Info: &Info{User: "alice", Client: "8d5a3c1e-0f4b-4c6a-9b1e-2f3a4b5c6d7e"}, Offset: 17}
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		text = AppendPub(text[:0], "group:1", &p)
	}
	b.SetBytes(int64(len(text)))
}
