package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// sdkRaw is a client of the SDKs' protocol that sends whatever a test wants.
type sdkRaw struct {
	t *testing.T
	*client.Raw
}

const (
	textFrame   = 0x81
	binaryFrame = 0x82
	sdkConnect  = `{"id":1,"connect":{}}`
)

func dialSDKRaw(t *testing.T, e *cluster.Edge) sdkRaw {
	t.Helper()
	return sdkRaw{t, client.DialRaw(t, e.URL("/connection/websocket"))}
}

// connectSDKRaw opens a connection, sends a connect, and waits for the answer.
func connectSDKRaw(t *testing.T, e *cluster.Edge) sdkRaw {
	t.Helper()
	c := dialSDKRaw(t, e)
	c.send(textFrame, sdkConnect)
	if got := c.next(); !strings.HasPrefix(got, `{"id":1,"connect":{`) {
		t.Fatalf("the answer to a connect is %s", got)
	}
	return c
}

func (c sdkRaw) send(first byte, message string) {
	c.t.Helper()
	if _, err := c.Write(client.Masked(first, []byte(message))); err != nil {
		c.t.Fatal(err)
	}
}

// sdkRaw.next returns the next text that is no ping. It removes the matches of the variable place
// from the text. If a close frame comes, sdkRaw.next returns "close" with the code. It answers the
// pings that come before.
func (c sdkRaw) next() string {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(client.Patience))
	for {
		opcode, payload, err := c.ReadFrame()
		switch {
		case err != nil:
			c.t.Fatal(err)
		case opcode == 8 && len(payload) > 2:
			return fmt.Sprint("close ", int(payload[0])<<8|int(payload[1]))
		case opcode != 1:
			c.t.Fatalf("frame %d %q", opcode, payload)
		case string(payload) == "{}":
			c.send(textFrame, "{}")
		default:
			return place.ReplaceAllString(string(payload), "")
		}
	}
}

// place matches what the answer to a subscribe says of the channel's history. These tests leave it
// out, since it differs from run to run.
var place = regexp.MustCompile(`"recoverable":true,"epoch":"[0-9]+"(,"offset":[0-9]+)?,"positioned":true`)

// sdkRaw.answered publishes to a channel of which c is a member. It waits for the answer, and for
// the publication.
func (c sdkRaw) answered(id int, channel string) {
	c.t.Helper()
	c.send(textFrame, fmt.Sprintf(`{"id":%d,"publish":{"channel":%q,"data":%d}}`, id, channel, id))
	got := []string{c.next(), c.next()}
	slices.Sort(got)
	var push struct {
		Push struct{ Pub struct{ Data int } }
	}
	if err := json.Unmarshal([]byte(got[1]), &push); err != nil || push.Push.Pub.Data != id || got[0] != fmt.Sprintf(`{"id":%d,"publish":{}}`, id) {
		c.t.Fatalf("publish %d: %q", id, got)
	}
}

func sdkError(id, code int, message string) string {
	return fmt.Sprintf(`{"id":%d,"error":{"code":%d,"message":%q}}`, id, code, message)
}

// TestP7_InputThatIsNotRight lets clients send two kinds of input: some breaks the protocol, and
// some is unusual but right. Each input must be counted, and must get its answer or its close code.
// Another client of the same edge must not notice the input.
func TestP7_InputThatIsNotRight(t *testing.T) {
	t.Parallel()
	const (
		closed  = "close 3501"
		rpc     = `{"id":2,"rpc":{}}`
		edge    = "edgerelay_edge_sessions_ended_total reason="
		relay   = "edgerelay_relay_commands_total kind="
		badLine = edge + "bad_request"
	)
	none, denied, wrong := sdkError(2, 108, "not available"), sdkError(2, 103, "permission denied"), sdkError(2, 107, "bad request")
	const subscribed = `{"id":2,"subscribe":{}}`
	subscribe := func(channel string) string { return `{"id":2,"subscribe":{"channel":"` + channel + `"}}` }
	nested := func(levels int) string { // the two objects around the data are levels too
		return `{"id":2,"rpc":{"data":` + strings.Repeat("[", levels-2) + strings.Repeat("]", levels-2) + `}}`
	}
	sized := func(bytes int) string { return rpc + strings.Repeat(" ", bytes-len(rpc)) }

	type row struct {
		name    string
		message string
		want    string
		counted string
	}
	// A guest sends the message of the row in place of its connect.
	guests := []row{
		{"a command before the connect", subscribe("all"), closed, relay + "invalid"},
		{"a connect that is no JSON", `{"id":1,"connect":{}`, closed, relay + "invalid_json"},
		{"an empty frame from a guest", ``, closed, badLine},
		{"a pong from a guest", `{}`, closed, badLine},
		{"a first message that is too big", sdkConnect + strings.Repeat(" ", 65_537-len(sdkConnect)), "close 1009", edge + "too_big"},
		{"a connect with 129 channels", `{"id":1,"connect":{"subs":{` + subsOf(129) + `}}}`, "close 3505", relay + "invalid_subs"},
		{"a connect to a channel that cannot be", `{"id":1,"connect":{"subs":{"\u0007":{}}}}`, closed, relay + "connect"},
	}
	rows := []row{
		{"malformed JSON", `{"id":2,"rpc":}`, closed, relay + "invalid_json"},
		{"no JSON", `hello`, closed, relay + "invalid_json"},
		{"an array", `[` + rpc + `]`, closed, relay + "invalid_json"},
		{"an unknown command", `{"id":2,"fly":{}}`, closed, relay + "invalid_method"},
		{"a ping", `{"id":2,"ping":{}}`, closed, relay + "invalid_method"},
		{"a second connect", `{"id":2,"connect":{}}`, closed, relay + "invalid"},
		{"an empty frame", ``, closed, badLine},
		{"an empty line between objects", rpc + "\n\n" + rpc, closed, badLine},
		{"a line feed at the end", rpc + "\n", none, relay + "rpc"},
		{"two line feeds at the end", rpc + "\n\n", closed, badLine},
		{"two objects on one line", rpc + rpc, closed, relay + "invalid_trailing"},
		{"an id that is a string", `{"id":"2","rpc":{}}`, closed, relay + "invalid_id"},
		{"an id beyond 32 bits", `{"id":4294967296,"rpc":{}}`, closed, relay + "invalid_id"},
		{"the highest id", `{"id":4294967295,"rpc":{}}`, sdkError(4294967295, 108, "not available"), relay + "rpc"},
		{"no id", `{"rpc":{}}`, closed, relay + "invalid_no_id"},
		{"an empty channel", subscribe(""), closed, relay + "invalid_channel"},
		{"no channel", `{"id":2,"subscribe":{}}`, closed, relay + "invalid_channel"},
		{"a channel that is no string", `{"id":2,"subscribe":{"channel":5}}`, closed, relay + "invalid_field"},
		{"a channel of 255 bytes", subscribe("group:" + strings.Repeat("x", 249)), subscribed, relay + "subscribe"},
		{"a channel of 256 bytes", subscribe("group:" + strings.Repeat("x", 250)), wrong, relay + "subscribe"},
		{"a control character in a channel", subscribe(`group:\u0007`), wrong, relay + "subscribe"},
		{"a reserved channel", subscribe("edgerelay:cluster"), denied, relay + "forbidden"},
		{"another user's channel", subscribe("user:somebody"), denied, relay + "forbidden"},
		{"publishing into a strange group", `{"id":2,"publish":{"channel":"group:other","data":1}}`, denied, relay + "publish"},
		{"publishing nothing", `{"id":2,"publish":{"channel":"all"}}`, wrong, relay + "publish"},
		{"data that is nested too deep", `{"id":2,"publish":{"channel":"all","data":` + strings.Repeat("[", 513) + strings.Repeat("]", 513) + `}}`, wrong, relay + "publish"},
		{"1,000 levels", nested(1000), none, relay + "rpc"},
		{"1,001 levels", nested(1001), closed, relay + "invalid_json"},
		{"30,000 levels", nested(30_000), closed, relay + "invalid_json"},
		{"a pong that no ping asked for", `{}`, closed, badLine},
		{"65,536 bytes", sized(65_536), none, relay + "rpc"},
		{"65,537 bytes", sized(65_537), "close 1009", edge + "too_big"},
		{"invalid UTF-8", "{\"id\":2,\"rpc\":{\"data\":\"\xff\"}}", "close 1007", edge + "not_utf8"},
		{"half a surrogate pair", `{"id":2,"rpc":{"data":"\ud800"}}`, none, relay + "rpc"},
		{"keys in another order", `{"subscribe":{"flag":1,"channel":"all"},"id":2}`, subscribed, relay + "subscribe"},
		{"unknown fields", `{"x":[{"y":1}],"id":2,"subscribe":{"channel":"all","later":{"z":null}},"params":null}`, subscribed, relay + "subscribe"},
		{"two methods", `{"id":2,"publish":{"channel":"all","data":1},"subscribe":{"channel":"all"}}`, subscribed, relay + "subscribe"},
		{"a send, which nobody takes", `{"send":{"data":1}}`, "close 3508", relay + "send"},
	}

	o := onBest(t)
	o.Edge = cluster.Env{"EDGE_RATE": "100"}
	c := cluster.New(t, o)
	r := c.StartRelay(nil)
	e := c.StartEdge(nil, r)
	witness, ids := connectSDKRaw(t, e), 2
	witness.send(textFrame, `{"id":2,"subscribe":{"channel":"group:witness"}}`)
	if got := witness.next(); got != subscribed {
		t.Fatal(got)
	}
	count := func(what string) float64 {
		name, label, _ := strings.Cut(what, " ")
		key, value, _ := strings.Cut(label, "=")
		of := r.Metrics
		if strings.HasPrefix(name, "edgerelay_edge") {
			of = e.Metrics
		}
		return of().Sum(name, fmt.Sprintf("%s=%q", key, value))
	}
	check := func(w row, first byte, dial func(*testing.T, *cluster.Edge) sdkRaw) {
		t.Run(fmt.Sprintf("%s in a frame %#x", w.name, first), func(t *testing.T) {
			before := count(w.counted)
			who := dial(t, e)
			who.send(first, w.message)
			if got := who.next(); got != w.want && !(w.want == closed && strings.HasPrefix(w.message, rpc+"\n") && got == none && who.next() == w.want) {
				t.Errorf("%s, want %s", got, w.want)
			}
			who.Close()
			cluster.Eventually(t, "it is counted as "+w.counted, func() bool { return count(w.counted) > before })
			ids++
			witness.answered(ids, "group:witness")
		})
	}
	for _, first := range []byte{textFrame, binaryFrame} {
		for _, w := range guests {
			check(w, first, dialSDKRaw)
		}
		for _, w := range rows {
			check(w, first, connectSDKRaw)
		}
	}
}

// subsOf returns n members for the field subs of a connect.
func subsOf(n int) string {
	subs := make([]string, n)
	for i := range subs {
		subs[i] = fmt.Sprintf(`"group:c%d":{}`, i)
	}
	return strings.Join(subs, ",")
}

// TestAConnectAndItsSubscribesInOneFrame sends a connect and many subscribes in one frame, as an
// SDK for browsers does. The number of subscribes is one higher than the number of channels that
// the session may still subscribe to. At the usual rate all commands are answered, and the answer
// to the last subscribe is error 106. A message that follows is answered too.
func TestAConnectAndItsSubscribesInOneFrame(t *testing.T) {
	t.Parallel()
	o := onBest(t)
	o.Edge = cluster.Env{"EDGE_RATE": "100"}
	c := cluster.New(t, o)
	e := c.StartEdge(nil, c.StartRelay(nil))
	lines := []string{sdkConnect}
	const most = 127 // subscriptions that a session may have besides the channel of its user
	for i := range most + 1 {
		lines = append(lines, fmt.Sprintf(`{"subscribe":{"channel":"group:a-group-with-a-name-%d","flag":1},"id":%d}`, i, i+2))
	}
	who := dialSDKRaw(t, e)
	who.send(textFrame, strings.Join(lines, "\n"))
	if got := who.next(); !strings.HasPrefix(got, `{"id":1,"connect":{`) {
		t.Fatalf("the first answer is %s", got)
	}
	answers := map[string]bool{}
	for range most + 1 {
		answers[who.next()] = true
	}
	for i := range most {
		if want := fmt.Sprintf(`{"id":%d,"subscribe":{}}`, i+2); !answers[want] {
			t.Errorf("%s is missing", want)
		}
	}
	if want := sdkError(most+2, 106, "limit exceeded"); !answers[want] {
		t.Errorf("%s is missing", want)
	}
	who.answered(200, "group:a-group-with-a-name-7")
}
