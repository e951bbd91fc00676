package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// position is a position of a channel as clients and servers write it. SDKs leave out what is zero.
type position struct {
	Epoch  string
	Offset uint64
}

// request has those parts of a client's command that a conversation reads.
type request struct {
	ID      uint32
	Connect *struct{ Subs map[string]asked }

	Subscribe *struct {
		Channel string
		asked
	}
	Unsubscribe *struct{ Channel string }
	History     *struct {
		Channel string
		Limit   int64
		Reverse bool
		Since   *position
	}
}

// asked is what a client asks for when it subscribes.
type asked struct {
	Recover bool
	position
}

// result is what a server answers to a subscribe, or tells of a channel of a connect.
type result struct {
	Recoverable, Positioned, Recovered bool
	WasRecovering                      bool `json:"was_recovering"`
	position
	Publications []publication
}

// publication is a publication in a push or in a reply.
type publication struct {
	Data json.RawMessage
	position
}

// conversation checks what a server says on one connection against what the client has asked for
// and was told before. An SDK believes the server: it looks for no holes, and takes each offset
// that comes for its position. The zero value is a new connection. The methods may be called from
// any goroutine.
type conversation struct {
	mu       sync.Mutex
	open     map[uint32]request // commands that are not answered, by id
	channels map[string]*place  // the channels to which the client is subscribed
}

// place is what an SDK knows of a channel's publications.
type place struct {
	known bool // it has a position
	position
	// ahead counts publications that came without an offset. Such a publication may have an offset
	// in the history. It does not come again with that offset, so the offset may be missing.
	ahead uint64
}

// asks takes what the client sends. It must be called before the client sends it. A line that is no
// command counts for nothing.
func (c *conversation) asks(message []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open, c.channels = map[uint32]request{}, map[string]*place{}
	}
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		var r request
		if json.Unmarshal(line, &r) == nil && r.ID > 0 {
			c.open[r.ID] = r
		}
	}
}

// answers takes a message of the server. It returns the reason why the message is wrong, or "".
func (c *conversation) answers(message []byte) (problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		if problem = c.line(line); problem != "" {
			break
		}
	}
	return problem
}

func (c *conversation) line(line []byte) string {
	var r reply
	if json.Unmarshal(line, &r) != nil {
		return "" // the function problem reports such a line
	}
	if p := r.Push; p != nil {
		if p.Unsubscribe != nil {
			delete(c.channels, p.Channel)
		}
		if p.Pub == nil {
			return ""
		}
		at, subscribed := c.channels[p.Channel]
		if !subscribed {
			return "a publication comes to a client that is not subscribed: the SDK for Go loses it"
		}
		return at.goes(*p.Pub)
	}
	of := c.open[r.ID]
	delete(c.open, r.ID)
	switch {
	case r.Error != nil:
	case of.Connect != nil:
		var connected struct{ Subs map[string]result }
		json.Unmarshal(r.Connect, &connected) // the function problem has found that it is JSON
		for channel, sub := range connected.Subs {
			if problem := c.begins(channel, sub, of.Connect.Subs[channel]); problem != "" {
				return channel + ": " + problem
			}
		}
	case of.Subscribe != nil:
		var sub result
		json.Unmarshal(r.Subscribe, &sub)
		return c.begins(of.Subscribe.Channel, sub, of.Subscribe.asked)
	case of.Unsubscribe != nil:
		delete(c.channels, of.Unsubscribe.Channel)
	case of.History != nil:
		var read struct {
			position
			Publications []publication
		}
		json.Unmarshal(r.History, &read)
		return ofHistory(of.History.Limit, of.History.Reverse, of.History.Since, read.position, read.Publications)
	}
	return ""
}

// begins begins a subscription. It says what is wrong with its beginning.
func (c *conversation) begins(channel string, r result, of asked) string {
	at := &place{known: r.Recoverable, position: r.position}
	c.channels[channel] = at
	switch {
	case r.Recoverable && r.Epoch == "":
		return "there is no epoch: an SDK would recover by the offset alone"
	case r.Recoverable != r.Positioned:
		return "recoverable and positioned differ"
	case !r.Recoverable && (r.Recovered || r.position != position{}):
		return "it is not recoverable, and has a position"
	case r.WasRecovering != of.Recover || r.Recovered && !of.Recover:
		return "it does not say whether the client asked to recover"
	case r.Recovered && r.position != of.position:
		return "the position is not the one that the client named: the client's own would be wrong"
	case !r.Recovered && len(r.Publications) > 0:
		return "nothing is recovered, and there are publications: an SDK would take their offsets"
	}
	for _, p := range r.Publications {
		if p.Offset == 0 {
			return "a publication that was missed has no offset"
		}
		if p.Epoch == "" { // the reply has it
			p.Epoch = r.Epoch
		}
		if problem := at.goes(p); problem != "" {
			return problem
		}
	}
	return ""
}

// goes takes the next publication. It says what is wrong with its position.
func (at *place) goes(p publication) string {
	switch {
	case !at.known:
	case p.Offset == 0:
		at.ahead++
		return ""
	case at.Epoch == "0": // the place was not known
	case p.Offset == 1 && p.Epoch != "":
		if at.Offset > 0 && p.Epoch == at.Epoch {
			return "the first publication of the epoch comes again"
		}
		at.ahead = 0
	case p.Offset == 1:
		return "the first publication of an epoch has no epoch: the SDK for JavaScript keeps the old one"
	case p.Epoch != "" && p.Epoch != at.Epoch:
		return "a publication that is not the first of its epoch has another epoch"
	case p.Offset <= at.Offset:
		return fmt.Sprintf("offset %d comes behind %d", p.Offset, at.Offset)
	case p.Offset-at.Offset-1 > at.ahead:
		return fmt.Sprintf("offset %d comes behind %d: the client misses what lies between", p.Offset, at.Offset)
	default:
		at.ahead -= p.Offset - at.Offset - 1
	}
	if at.Offset = p.Offset; p.Epoch != "" {
		at.Epoch = p.Epoch
	}
	return ""
}

// ofHistory says what is wrong with the answer to a history command.
func ofHistory(limit int64, reverse bool, since *position, top position, pubs []publication) string {
	if limit >= 0 && int64(len(pubs)) > limit {
		return "it has more publications than the client asked for"
	}
	for i, p := range pubs {
		before := since
		if i > 0 {
			before = &pubs[i-1].position
		}
		follows := before == nil || p.Offset > before.Offset
		if reverse {
			follows = before == nil || p.Offset < before.Offset
		}
		hole := i > 0 && p.Offset != before.Offset+1
		if reverse {
			hole = i > 0 && p.Offset != before.Offset-1
		}
		switch {
		case p.Offset == 0 || p.Offset > top.Offset:
			return fmt.Sprintf("offset %d is not between the first one and the top", p.Offset)
		case !follows || hole:
			return fmt.Sprintf("offset %d is not in order", p.Offset)
		}
	}
	return ""
}

// TestWhatBreaksARecoveryIsFound plays conversations, each with commands of a client and lines of a
// server in turn. It fails if a conversation overlooks what would make an SDK's position wrong, or
// objects to what is right.
func TestWhatBreaksARecoveryIsFound(t *testing.T) {
	const subscribe, again = `> {"id":1,"subscribe":{"channel":"c"}}`, `> {"id":1,"subscribe":{"channel":"c","recover":true,"epoch":"7","offset":3}}`
	const fresh = `{"id":1,"subscribe":{"recoverable":true,"epoch":"7","offset":3,"positioned":true}}`
	push := func(pub string) string { return `{"push":{"channel":"c","pub":{"data":1` + pub + `}}}` }
	reply := func(of string) string {
		return `{"id":1,"subscribe":{"recoverable":true,"epoch":"7","positioned":true,"was_recovering":true` + of + `}}`
	}
	pubs := func(offsets ...int) string {
		var all []string
		for _, n := range offsets {
			all = append(all, fmt.Sprintf(`{"data":1,"offset":%d}`, n))
		}
		return `,"recovered":true,"offset":3,"publications":[` + strings.Join(all, ",") + `]`
	}
	connect := func(of string) string { return `{"id":1,"connect":{"client":"x","subs":{"c":{` + of + `}}}}` }
	history := `> {"id":1,"history":{"channel":"c","limit":2,"since":{"offset":3,"epoch":"7"}}}`
	backwards := `> {"id":1,"history":{"channel":"c","limit":2,"reverse":true}}`
	read := func(offsets ...int) string {
		_, all, _ := strings.Cut(pubs(offsets...), `"publications"`)
		return `{"id":1,"history":{"publications"` + all + `,"epoch":"7","offset":6}}`
	}
	for _, c := range []struct {
		good  bool
		lines []string
	}{
		{true, []string{subscribe, fresh, push(`,"offset":4`), push(`,"offset":5`), push(`,"offset":1,"epoch":"8"`), push(`,"offset":2`)}},
		// The publication without an offset was given ahead.
		{true, []string{subscribe, fresh, push(``), push(`,"offset":5`)}},
		{true, []string{subscribe, `{"id":1,"subscribe":{}}`, push(``)}},
		{true, []string{subscribe, `{"id":1,"subscribe":{"recoverable":true,"epoch":"0","positioned":true}}`, push(`,"offset":9`), push(`,"offset":10`)}},
		{true, []string{again, reply(pubs(4, 5)), push(`,"offset":6`)}},
		{true, []string{again, reply(`,"offset":9`), push(`,"offset":10`)}},
		{true, []string{again, reply(`,"recovered":true,"offset":3`), push(`,"offset":4`)}},
		{true, []string{again, `{"id":1,"subscribe":{"was_recovering":true}}`}},
		{true, []string{again, `{"id":1,"error":{"code":112,"message":"unrecoverable position"}}`}},
		{true, []string{`> {"id":1,"connect":{}}`, connect(`"recoverable":true,"positioned":true,"epoch":"7"`), push(`,"offset":1,"epoch":"7"`)}},
		{true, []string{history, read(4, 5)}},
		{true, []string{backwards, read(6, 5)}},

		{false, []string{push(``)}},
		{false, []string{subscribe, push(`,"offset":4`), fresh}},
		{false, []string{subscribe, fresh, push(`,"offset":5`)}},
		{false, []string{subscribe, fresh, push(`,"offset":4`), push(`,"offset":4`)}},
		{false, []string{subscribe, fresh, push(`,"offset":1`)}},
		{false, []string{subscribe, fresh, push(`,"offset":1,"epoch":"7"`)}},
		{false, []string{subscribe, fresh, push(`,"offset":4,"epoch":"8"`)}},
		{false, []string{subscribe, fresh, `{"push":{"channel":"c","unsubscribe":{"code":2500,"reason":"x"}}}`, push(`,"offset":4`)}},
		{false, []string{subscribe, `{"id":1,"subscribe":{"recoverable":true,"offset":3,"positioned":true}}`}},
		{false, []string{subscribe, `{"id":1,"subscribe":{"recoverable":true,"epoch":"7"}}`}},
		{false, []string{subscribe, `{"id":1,"subscribe":{"epoch":"7","offset":3}}`}},
		{false, []string{subscribe, reply(`,"offset":3`)}},
		{false, []string{again, fresh}},
		{false, []string{again, reply(pubs(5))}},
		{false, []string{again, reply(pubs(4, 6))}},
		{false, []string{again, reply(pubs(4, 4))}},
		{false, []string{again, reply(pubs(0))}},
		{false, []string{again, reply(pubs(4)), push(`,"offset":6`)}},
		{false, []string{again, reply(`,"offset":3,"publications":[{"data":1,"offset":4}]`)}},
		{false, []string{again, reply(`,"recovered":true,"offset":5`)}},
		{false, []string{`> {"id":1,"connect":{}}`, connect(`"recoverable":true,"positioned":true`)}},
		{false, []string{`> {"id":1,"connect":{"subs":{"c":{"recover":true,"epoch":"7","offset":3}}}}`, connect(`"recoverable":true,"epoch":"7","positioned":true`)}},
		{false, []string{history, read(3, 4)}},
		{false, []string{history, read(4, 6)}},
		{false, []string{history, read(4, 5, 6)}},
		{false, []string{history, read(5, 4)}},
		{false, []string{backwards, read(5, 6)}},
		{false, []string{backwards, read(7, 6)}},
	} {
		var talk conversation
		talk.asks(nil)
		problem := ""
		for _, line := range c.lines {
			if command, ok := strings.CutPrefix(line, "> "); ok {
				talk.asks([]byte(command))
			} else if problem == "" {
				problem = talk.answers([]byte(line))
			}
		}
		if c.good != (problem == "") {
			t.Errorf("%q\n%q is found", c.lines, problem)
		}
	}
}
