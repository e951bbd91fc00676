package e2e

import (
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestP14_ClientsAreToldWhatTheyMayNotDo runs servers with rules that forbid some of what the chat
// usually permits. Each refusal must be answered, and no socket may be closed. Then the relay is
// killed and starts again, and the new boot must judge the same clients in the same way.
func TestP14_ClientsAreToldWhatTheyMayNotDo(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, o cluster.Options) {
		o.Relay = cluster.Env{"RELAY_CHANNELS": "group:open:* read=any write=any; group:staff:* read=none write=none\n" +
			"group:* read=any write=member; user:* read=self write=any; all read=none write=none"}
		c := cluster.New(t, o)
		r := c.StartRelay(nil)
		e := c.StartEdge(nil, r)
		a, b := channel(t, e, chat.Unique("a")), channel(t, e, chat.Unique("b"))
		open, staff := "open:"+chat.Unique("g"), "staff:"+chat.Unique("g")
		nothing, forAll := onlyGroup(t, e, staff, a.id), onlyAll(t, e, a.id)
		for range 2 {
			a.Send(chat.Join(staff))
			a.Expect("error: you may not join group 【" + staff + "】")
			a.Send(chat.Group(staff, "x"))
			a.Expect("error: you may not write to group 【" + staff + "】, not delivered")
			a.Send(chat.All("x"))
			a.Expect("error: you may not write to all, not delivered")
			nothing.Send("x")
			nothing.Expect("error: you may not read group 【" + staff + "】, so nothing comes here, and this is not delivered")
			forAll.Send("x")
			forAll.Expect("error: you may not read all, so nothing comes here, and this is not delivered")

			b.join(t, open)
			a.Send(chat.Group(open, "Hello"))
			b.Expect(chat.InGroup(open, a.id, "Hello"))
			a.Send(chat.One(b.id, "Hello"))
			b.Expect(chat.Direct(a.id, "Hello"))
			b.leave(t, open)
			r.Kill()
			r.Restart()
		}
	})
}
