package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// missed returns publications of epoch 7 with the given offsets. Their data is the offset.
func missed(offsets ...uint64) (list []dialect.Published) {
	for _, n := range offsets {
		c := protocol.Content{Msg: strconv.FormatUint(n, 10), JSON: true}
		list = append(list, listed(protocol.Position{Epoch: 7, Offset: n}, &c))
	}
	return list
}

// listed returns a publication as the Router has it from Dialect.Listed.
func listed(at protocol.Position, c *protocol.Content) dialect.Published {
	return dialect.Published{Position: at, Text: string(speaks.Listed(nil, at, c))}
}

// missedTexts returns publications at the offsets from 4 on, whose data are strings of x.
func missedTexts(n, size int) (list []dialect.Published) {
	for i := range n {
		c := protocol.Content{Msg: `"` + strings.Repeat("x", size) + `"`, JSON: true}
		list = append(list, listed(protocol.Position{Epoch: 7, Offset: uint64(i) + 4}, &c))
	}
	return list
}

// notEpochs are texts that epochText never writes for an epoch.
var notEpochs = []string{
	"", "0", "00", "07", "+7", "-7", " 7", "7 ", "7\n", "7.0", "7e0", "0x7", "1_000", "seven", "_", "mGjDKAoP", "７", "7\x00",
	"9007199254740991", "18446744073709551615", "18446744073709551616", strings.Repeat("9", 1000), "NaN", "null",
}

// TestEpochsAreThoseThatWereWritten checks that each epoch is read from the text that epochText
// writes, and from no other text.
func TestEpochsAreThoseThatWereWritten(t *testing.T) {
	for _, text := range notEpochs {
		if got := parseEpoch(text); got != 0 {
			t.Errorf("%q is read as the epoch %d", text, got)
		}
	}
	for _, epoch := range []uint64{1, 7, 10, 1900000000000000, protocol.MaxEpoch} {
		if got := parseEpoch(epochText(epoch)); got != epoch {
			t.Errorf("%d is read as %d", epoch, got)
		}
	}
	if parseEpoch(epochText(protocol.MaxEpoch+1)) != 0 || epochText(0) != "0" {
		t.Errorf("%d is an epoch, or %q stands for none", uint64(protocol.MaxEpoch+1), epochText(0))
	}
}

func FuzzEpoch(f *testing.F) {
	for _, text := range append(notEpochs, "7", "9007199254740990") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		switch epoch := parseEpoch(text); {
		case epoch > protocol.MaxEpoch, epoch != 0 && fmt.Sprint(epoch) != text:
			t.Errorf("%q is read as the epoch %d", text, epoch)
		case epoch == 0:
			if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 && n <= protocol.MaxEpoch && fmt.Sprint(n) == text {
				t.Errorf("%q is read as no epoch", text)
			}
		}
	})
}

// TestWhatIsAskedOfAHistory checks the ranges of subscribes, connects and histories.
func TestWhatIsAskedOfAHistory(t *testing.T) {
	d := withRules(t, "few:* read=any write=any history=10/1h; shut read=any write=any history=0; none read=none write=any; user:* read=self write=any; a* read=any write=any")
	sub := func(fields string) string { return `{"id":2,"subscribe":{` + fields + `}}` }
	hist := func(fields string) string { return `{"id":2,"history":{` + fields + `}}` }
	lost := failing(2, ErrorUnrecoverablePosition)
	rows := []row{
		{confirmed, sub(`"channel":"a"`), "bind a"},
		{confirmed, sub(`"channel":"few:1"`), "bind few:1 most 10"},
		{confirmed, sub(`"channel":"shut"`), "bind shut most 0"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"7","offset":3`), "bind a since 7-3"},
		{confirmed, sub(`"channel":"a","epoch":"7","offset":3`), "bind a"},
		{confirmed, sub(`"channel":"a","recover":false,"epoch":"7","offset":3`), "bind a"},
		{confirmed, sub(`"channel":"few:1","recover":true,"epoch":"7"`), "bind few:1 most 10 since 7-0"},
		{confirmed, sub(`"channel":"shut","recover":true,"epoch":"7","offset":3`), "bind shut most 0 since 7-3"},
		{confirmed, sub(`"channel":"a","recover":true,"offset":3`), "bind a since 0-3"},
		{confirmed, sub(`"channel":"a","recover":true`), "bind a since 0-0"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"_"`), "bind a since 0-0"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"9007199254740990","offset":18446744073709551615`), "bind a since 9007199254740990-18446744073709551615"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"7","offset":9007199254740993`), "bind a since 7-9007199254740993"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"7","offset":3,"flag":1`), "bind a since 7-3"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"7","offset":3,"flag":3`), "bind a since 7-3 strict"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"7","offset":3,"flag":2`), "bind a since 7-3 strict"},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"7","offset":3,"flag":-1`), "bind a since 7-3 strict"},
		{confirmed, sub(`"channel":"a","flag":3`), "bind a"},
		{confirmed, sub(`"channel":"a","recover":true,"offset":3,"flag":3`), lost},
		{confirmed, sub(`"channel":"a","recover":true,"epoch":"07","offset":3,"flag":3`), lost},
		{confirmed, sub(`"channel":"shut","recover":true,"epoch":"7","offset":3,"flag":3`), lost},

		{confirmed, hist(`"channel":"a"`), "history of a"},
		{confirmed, hist(`"channel":"a","limit":1000`), "history of a limit 1000"},
		{confirmed, hist(`"channel":"a","limit":1001`), "history of a limit 1000"},
		{confirmed, hist(`"channel":"a","limit":2147483647`), "history of a limit 1000"},
		{confirmed, hist(`"channel":"a","limit":-1`), "history of a limit 1000"},
		{confirmed, hist(`"channel":"a","limit":-2147483648`), "history of a limit 1000"},
		{confirmed, hist(`"channel":"few:1","limit":20,"reverse":true`), "history of few:1 most 10 limit 20 reverse"},
		{confirmed, hist(`"channel":"a","limit":2,"since":{"offset":3,"epoch":"7"}`), "history of a since 7-3 limit 2"},
		{confirmed, hist(`"channel":"a","since":{"epoch":"7"},"reverse":true`), "history of a since 7-0 reverse"},
		{confirmed, hist(`"channel":"a","since":{"offset":3}`), "history of a since 3 of any epoch"},
		{confirmed, hist(`"channel":"a","since":{"offset":18446744073709551615,"epoch":""}`), "history of a since 18446744073709551615 of any epoch"},
		{confirmed, hist(`"channel":"a","since":{}`), "history of a since 0 of any epoch"},
		{confirmed, hist(`"channel":"a","since":null`), "history of a"},
		{confirmed, hist(`"channel":"a","since":{"offset":3,"epoch":"nope"}`), lost},
		{confirmed, hist(`"channel":"a","since":{"offset":0,"epoch":"0"}`), lost},
		{confirmed, hist(`"channel":"shut","limit":1`), failing(2, ErrorNotAvailable)},
		{confirmed, hist(`"channel":"none","limit":1`), failing(2, ErrorPermissionDenied)},
		{confirmed, hist(`"channel":"user:bob"`), failing(2, ErrorPermissionDenied)},
		{confirmed, hist(`"channel":"user:alice"`), "history of user:alice"},
		{confirmed, hist(`"channel":"b"`), failing(2, ErrorUnknownChannel)},
		{confirmed, hist(`"channel":"\u0007"`), failing(2, ErrorBadRequest)},

		{guest, connecting(`{"sub":"alice","channels":["few:1","shut"]}`, `"a":{"recover":true,"epoch":"7","offset":3},"few:1":{"recover":true,"epoch":"7"},`+
			`"user:alice":{"recover":true,"epoch":"x","offset":5},"ab":{"epoch":"7","offset":4}`),
			"confirm alice until 0 in user:alice since 0-5 few:1 most 10 since 7-0 shut most 0 a since 7-3 ab"},
		{guest, connecting(`{"sub":"alice"}`, ""), "confirm alice until 0 in user:alice"},
	}
	for _, epoch := range notEpochs {
		quoted, _ := json.Marshal(epoch)
		rows = append(rows, row{confirmed, sub(`"channel":"a","recover":true,"offset":3,"epoch":` + string(quoted)), "bind a since 0-3"})
	}
	checkRows(t, d, rows)
	kinds := d.Kinds()
	for channel, want := range map[string]string{"none": "forbidden", "b": "forbidden", "shut": "history", "a": "history"} {
		if p := d.Parse(confirmed, now, []byte(hist(`"channel":"`+channel+`"`)), false); kinds[p.Kind] != want {
			t.Errorf("a history of %s is counted as %s, want %s", channel, kinds[p.Kind], want)
		}
	}
}

// TestWhatAClientIsToldOfItsPlace checks the replies to subscribes, and what the replies to
// connects say of the same channels.
func TestWhatAClientIsToldOfItsPlace(t *testing.T) {
	at := func(epoch, offset uint64) dialect.Place {
		return dialect.Place{Kept: true, At: protocol.Position{Epoch: epoch, Offset: offset}}
	}
	resumed := func(p dialect.Place, list []dialect.Published) dialect.Place {
		p.Recovered, p.Missed = true, list
		return p
	}
	lost := at(7, 9)
	lost.Missed = missed(9)
	const fresh, asked = ``, `"recover":true,"epoch":"7","offset":3`
	for _, c := range []struct {
		since string
		place dialect.Place
		want  string
	}{
		{fresh, dialect.Place{}, ``},
		{asked, dialect.Place{}, `"was_recovering":true`},
		{fresh, at(0, 0), `"recoverable":true,"epoch":"0","positioned":true`},
		{asked, at(0, 0), `"recoverable":true,"epoch":"0","positioned":true,"was_recovering":true`},
		{fresh, dialect.Place{Kept: true, At: protocol.Unplaced(41)}, `"recoverable":true,"epoch":"0","positioned":true`},
		{fresh, at(7, 0), `"recoverable":true,"epoch":"7","positioned":true`},
		{fresh, at(7, 9), `"recoverable":true,"epoch":"7","offset":9,"positioned":true`},
		{fresh, at(protocol.MaxEpoch, protocol.MaxOffset), `"recoverable":true,"epoch":"9007199254740990","offset":9007199254740990,"positioned":true`},
		{asked, at(7, 9), `"recoverable":true,"epoch":"7","offset":9,"positioned":true,"was_recovering":true`},
		{asked, at(8, 2), `"recoverable":true,"epoch":"8","offset":2,"positioned":true,"was_recovering":true`},
		{asked, lost, `"recoverable":true,"epoch":"7","offset":9,"positioned":true,"was_recovering":true`},
		{asked, resumed(at(7, 3), nil), `"recoverable":true,"epoch":"7","recovered":true,"offset":3,"positioned":true,"was_recovering":true`},
		{asked, resumed(at(7, 5), missed(4, 5)), `"recoverable":true,"epoch":"7","publications":[{"data":4,"offset":4},{"data":5,"offset":5}],` +
			`"recovered":true,"offset":3,"positioned":true,"was_recovering":true`},
		{`"recover":true,"epoch":"7"`, resumed(at(7, 2), missed(1, 2)), `"recoverable":true,"epoch":"7","publications":[{"data":1,"offset":1,"epoch":"7"},{"data":2,"offset":2}],` +
			`"recovered":true,"positioned":true,"was_recovering":true`},
		{`"recover":true,"epoch":"7"`, resumed(at(7, 0), nil), `"recoverable":true,"epoch":"7","recovered":true,"positioned":true,"was_recovering":true`},
		{fresh, resumed(at(7, 5), missed(4, 5)), `"recoverable":true,"epoch":"7","offset":5,"positioned":true`},
	} {
		line := `{"id":2,"subscribe":{` + strings.TrimSuffix(`"channel":"group:g",`+c.since, ",") + `}}`
		p := speaks.Parse(confirmed, now, []byte(line), false)
		for range 2 {
			got := speaks.Answer(confirmed, &p, dialect.Verdict{Places: []dialect.Place{c.place}})
			if want := `{"id":2,"subscribe":{` + c.want + `}}`; string(got) != want {
				t.Errorf("%s is answered\n%s, want\n%s", line, got, want)
			}
		}
		p = speaks.Parse(guest, now, []byte(connecting(`{"sub":"alice"}`, `"group:g":{`+c.since+`}`)), false)
		got := speaks.Answer(guest, &p, dialect.Verdict{Places: []dialect.Place{at(9, 1), c.place}})
		want := `"subs":{"user:alice":{"recoverable":true,"epoch":"9","offset":1,"positioned":true},"group:g":{` + c.want + `}},`
		if !strings.Contains(string(got), want) {
			t.Errorf("%s in a connect is answered\n%s, want\n%s", c.since, got, want)
		}
	}
}

func TestHistoryIsAnswered(t *testing.T) {
	p := speaks.Parse(confirmed, now, []byte(`{"id":3,"history":{"channel":"all","limit":2}}`), false)
	for want, places := range map[string][]dialect.Place{
		`"publications":[],"epoch":"0","offset":0`: nil,
		`"publications":[],"epoch":"7","offset":0`: {{Kept: true, At: protocol.Position{Epoch: 7}}},
		`"publications":[],"epoch":"7","offset":9`: {{Kept: true, At: protocol.Position{Epoch: 7, Offset: 9}}},
		`"publications":[{"data":9,"offset":9},{"data":8,"offset":8}],"epoch":"7","offset":9`: {
			{Kept: true, At: protocol.Position{Epoch: 7, Offset: 9}, Missed: missed(9, 8)}},
		`"publications":[{"data":1,"offset":1,"epoch":"7"}],"epoch":"7","offset":1`: {
			{Kept: true, At: protocol.Position{Epoch: 7, Offset: 1}, Missed: missed(1)}},
	} {
		if got := speaks.Answer(confirmed, &p, dialect.Verdict{Places: places}); string(got) != `{"id":3,"history":{`+want+`}}` {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for reason, want := range map[dialect.Reason]string{
		dialect.Late:          failing(3, ErrorInternal),
		dialect.Unrecoverable: `{"id":3,"error":{"code":112,"message":"unrecoverable position"}}`,
	} {
		if got := speaks.Answer(confirmed, &p, dialect.Verdict{Reason: reason}); string(got) != want {
			t.Errorf("reason %d: %s, want %s", reason, got, want)
		}
	}
}

// TestPositionsOfPublications checks the position in a push, and in the list of a reply.
func TestPositionsOfPublications(t *testing.T) {
	for at, want := range map[protocol.Position]string{
		{}:                     ``,
		{Epoch: 7, Offset: 1}:  `,"offset":1,"tags":{"k":"v"},"epoch":"7"`,
		{Epoch: 7, Offset: 2}:  `,"offset":2,"tags":{"k":"v"}`,
		{Epoch: 70, Offset: 1}: `,"offset":1,"tags":{"k":"v"},"epoch":"70"`,
		{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset}: `,"offset":9007199254740990,"tags":{"k":"v"}`,
		protocol.Unplaced(0): ``,
	} {
		if want == "" {
			want = `,"tags":{"k":"v"}`
		}
		c := protocol.Content{From: "bob", Msg: "1", JSON: true, Client: "c1", Info: `[2]`, Tags: `{"k":"v"}`}
		want = `{"data":1,"info":{"user":"bob","client":"c1","conn_info":[2]}` + want + `}`
		push, _ := speaks.Render(nil, "all", at, &c)
		if string(push) != `{"push":{"channel":"all","pub":`+want+`}}` {
			t.Errorf("%v is rendered %s, want %s", at, push, want)
		}
		reply := AppendHistory(nil, 1, &HistoryResult{Publications: pubsOf([]dialect.Published{listed(at, &c)})})
		if !bytes.Contains(reply, []byte(`"publications":[`+want+`],`)) {
			t.Errorf("%v is in the reply %s, want %s", at, reply, want)
		}
	}
}

// TestAPushWithoutHistoryHasNoPosition renders publications of a channel whose rule says history=0.
// The pushes must have no offset and no epoch, or an SDK would take them for its position. A push
// of another channel has them.
func TestAPushWithoutHistoryHasNoPosition(t *testing.T) {
	d := withRules(t, "shut read=any write=any history=0; * read=any write=any")
	for channel, want := range map[protocol.Topic]string{"shut": ``, "open": `,"offset":1,"epoch":"7"`} {
		push, _ := d.Render(nil, channel, protocol.Position{Epoch: 7, Offset: 1}, &protocol.Content{Msg: "1", JSON: true})
		if string(push) != fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":1%s}}}`, channel, want) {
			t.Errorf("a push of %s is %s", channel, push)
		}
	}
}

// TestALongReplyIsAllocatedOnce checks the buffers of replies with many publications.
func TestALongReplyIsAllocatedOnce(t *testing.T) {
	list := missedTexts(2000, 1000)
	v := dialect.Verdict{Places: []dialect.Place{{Kept: true, At: protocol.Position{Epoch: 7, Offset: 2003}, Recovered: true, Missed: list}}}
	for _, line := range []string{
		`{"id":2,"subscribe":{"channel":"group:g","recover":true,"epoch":"7","offset":3}}`, `{"id":2,"history":{"channel":"group:g","limit":-1}}`,
	} {
		p := speaks.Parse(confirmed, now, []byte(line), false)
		if n := testing.AllocsPerRun(10, func() { speaks.Answer(confirmed, &p, v) }); n > 6 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

func BenchmarkResume(b *testing.B) {
	list := missedTexts(1000, 100)
	v := dialect.Verdict{Places: []dialect.Place{{Kept: true, At: protocol.Position{Epoch: 7, Offset: 1003}, Recovered: true, Missed: list}}}
	p := speaks.Parse(confirmed, now, []byte(`{"id":2,"subscribe":{"channel":"group:g","recover":true,"epoch":"7","offset":3}}`), false)
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(speaks.Answer(confirmed, &p, v))))
	}
}
