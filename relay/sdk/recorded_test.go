package sdk

import (
	"encoding/json"
	"iter"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// recorded returns the recorded lines of one side, "->" of the client or "<-" of the server.
func recorded(t testing.TB, side string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), side+" "); ok {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestRecordedCommandsAreRead reads all lines that the SDKs sent, and compares each Command with
// the one that slowRead returns.
func TestRecordedCommandsAreRead(t *testing.T) {
	read := map[Method]int{}
	for _, line := range recorded(t, "->") {
		if line == "{}" || strings.HasPrefix(line, "close ") {
			continue
		}
		got, err := Read([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if want, label := slowRead([]byte(line)); label != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as\n%+v, want\n%+v %s", line, got, want, label)
		}
		if refused := got.Refused(); refused != 0 {
			t.Errorf("%s is refused: %d", line, refused)
		}
		read[got.Method]++
	}
	for m := Connect; m < methods; m++ {
		if read[m] == 0 {
			t.Errorf("no %s was recorded", m)
		}
	}
}

// TestRecordedTextsAreWritten reads each reply and each push that Centrifugo sent, and writes it
// again. The written text must be the one that was read.
func TestRecordedTextsAreWritten(t *testing.T) {
	written := map[string]int{}
	for _, text := range recorded(t, "<-") {
		if text == "{}" || strings.HasPrefix(text, "close ") {
			continue
		}
		got, kind := rewrite(t, text)
		if got != text {
			t.Errorf("%s is written as\n%s, want\n%s", kind, got, text)
		}
		written[kind]++
	}
	for _, kind := range []string{"connect", "subscribe", "unsubscribe", "publish", "history", "presence",
		"presence_stats", "refresh", "sub_refresh", "error", "push pub", "push join", "push leave", "push subscribe",
		"push unsubscribe"} {
		if written[kind] == 0 {
			t.Errorf("no %s was recorded", kind)
		}
	}
}

// TestRecordedClosesHaveOurReasons compares the reasons of closes with those that Centrifugo sent.
func TestRecordedClosesHaveOurReasons(t *testing.T) {
	found := 0
	for _, text := range recorded(t, "<-") {
		text, is := strings.CutPrefix(text, "close ")
		if !is {
			continue
		}
		number, reason, _ := strings.Cut(text, " ")
		code, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if code < 3000 || code >= 4000 {
			continue // the protocol has no such code
		}
		if found++; CloseCode(code).Reason() != reason {
			t.Errorf("the reason of %d is %q, want %q", code, CloseCode(code).Reason(), reason)
		}
	}
	if found < 5 {
		t.Errorf("only %d closes were recorded", found)
	}
}

// member is a member of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// members returns the members of a JSON object, in order.
func members(t testing.TB, object json.RawMessage) (all []member) {
	t.Helper()
	err := protocol.EachField(object, 100, func(key, value []byte) {
		all = append(all, member{string(key), value})
	})
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	return all
}

// encoding/json reads replies and pushes into these types. A json.RawMessage holds the value's
// bytes as they were written.
type (
	jsonInfo struct {
		User, Client string
		ConnInfo     json.RawMessage `json:"conn_info"`
		ChanInfo     json.RawMessage `json:"chan_info"`
	}
	jsonPub struct {
		Data   json.RawMessage
		Info   *jsonInfo
		Offset uint64
		Tags   json.RawMessage
		Epoch  string
	}
	jsonResult struct {
		Client, Version string
		Expires         bool
		TTL             uint32
		Data            json.RawMessage
		Subs            json.RawMessage
		Ping            uint32
		Pong            bool
		Recoverable     bool
		Positioned      bool
		Epoch           string
		Offset          uint64
		Recovered       bool
		WasRecovering   bool `json:"was_recovering"`
		Publications    []jsonPub
		Presence        json.RawMessage
		NumClients      uint32 `json:"num_clients"`
		NumUsers        uint32 `json:"num_users"`
		Code            uint16
		Reason          string
		Message         string
		Temporary       bool
		Info            jsonInfo
	}
)

func (i *jsonInfo) info() Info { return Info{i.User, i.Client, string(i.ConnInfo), string(i.ChanInfo)} }

func (p *jsonPub) pub() Pub {
	pub := Pub{Data: string(p.Data), Offset: p.Offset, Tags: string(p.Tags), Epoch: p.Epoch}
	if p.Info != nil {
		info := p.Info.info()
		pub.Info = &info
	}
	return pub
}

func (r *jsonResult) pubs() iter.Seq[string] {
	var pubs []Pub
	for i := range r.Publications {
		pubs = append(pubs, r.Publications[i].pub())
	}
	return texts(pubs...)
}

func (r *jsonResult) subscription() Subscription {
	return Subscription{r.Recoverable, r.Positioned, r.Epoch, r.Offset, string(r.Data)}
}

func (r *jsonResult) subscribeResult() SubscribeResult {
	return SubscribeResult{r.subscription(), r.TTL, r.WasRecovering, r.Recovered, r.pubs()}
}

func decode[T any](t testing.TB, value json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(value, &v); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return v
}

// rewrite reads a text with encoding/json, and writes what it read. The result kind is the name of
// the method. For a push it is "push " and the name of the push.
func rewrite(t testing.TB, text string) (again, kind string) {
	t.Helper()
	outer := members(t, json.RawMessage(text))
	if outer[0].name == "push" {
		return rewritePush(t, members(t, outer[0].value))
	}
	if len(outer) != 2 {
		t.Fatalf("%s is no reply", text)
	}
	id, kind, value := decode[uint32](t, outer[0].value), outer[1].name, outer[1].value
	r := decode[jsonResult](t, value)
	return string(appendReply(t, id, kind, &r)), kind
}

func appendReply(t testing.TB, id uint32, kind string, r *jsonResult) []byte {
	switch kind {
	case "connect":
		c := ConnectResult{Client: r.Client, Version: r.Version, TTL: r.TTL, Data: string(r.Data), Ping: r.Ping, Pong: r.Pong}
		if r.Subs != nil {
			for _, m := range members(t, r.Subs) {
				sub := decode[jsonResult](t, m.value)
				c.Subs = append(c.Subs, ServerSub{m.name, sub.subscribeResult()})
			}
		}
		return AppendConnect(nil, id, &c)
	case "subscribe":
		s := r.subscribeResult()
		return AppendSubscribe(nil, id, &s)
	case "unsubscribe":
		return AppendUnsubscribe(nil, id)
	case "publish":
		return AppendPublish(nil, id)
	case "history":
		return AppendHistory(nil, id, &HistoryResult{r.pubs(), r.Epoch, r.Offset})
	case "presence":
		var clients []Info
		for _, m := range members(t, r.Presence) {
			info := decode[jsonInfo](t, m.value)
			clients = append(clients, info.info())
		}
		return AppendPresence(nil, id, clients)
	case "presence_stats":
		return AppendPresenceStats(nil, id, r.NumClients, r.NumUsers)
	case "rpc":
		return AppendRPC(nil, id, string(r.Data))
	case "refresh":
		return AppendRefresh(nil, id, r.TTL)
	case "sub_refresh":
		return AppendSubRefresh(nil, id, r.TTL)
	case "error":
		return AppendError(nil, id, ErrorCode(r.Code))
	}
	t.Fatalf("a reply to %s", kind)
	return nil
}

func rewritePush(t testing.TB, push []member) (again, kind string) {
	t.Helper()
	channel := ""
	if push[0].name == "channel" {
		channel, push = decode[string](t, push[0].value), push[1:]
	}
	kind, value := "push "+push[0].name, push[0].value
	r := decode[jsonResult](t, value)
	info := r.Info.info()
	var b []byte
	switch kind {
	case "push pub":
		read := decode[jsonPub](t, value)
		pub := read.pub()
		b = AppendPub(nil, channel, &pub)
	case "push join":
		b = AppendJoin(nil, channel, &info)
	case "push leave":
		b = AppendLeave(nil, channel, &info)
	case "push subscribe":
		s := r.subscription()
		b = AppendSubscribed(nil, channel, &s)
	case "push unsubscribe":
		b = AppendUnsubscribed(nil, channel, UnsubscribeCode(r.Code))
	case "push message":
		b = AppendMessage(nil, string(r.Data))
	case "push disconnect":
		b = AppendDisconnect(nil, CloseCode(r.Code))
	default:
		t.Fatalf("a %s", kind)
	}
	return string(b), kind
}
