package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// parse returns the rules in a text, which must have no fault.
func parse(t testing.TB, text string) Rules {
	t.Helper()
	r, faults := Parse(text)
	if faults != nil {
		t.Fatalf("%.200q: %v", text, faults)
	}
	return r
}

// TestP14_EachRulePermitsWhatItSays checks the verdict on each action, for each value of read= and
// write=, and for clients of several users.
func TestP14_EachRulePermitsWhatItSays(t *testing.T) {
	askers := []struct {
		name string
		is   Who
	}{
		{"the user whose id is in the name", Who{User: "1"}},
		{"another user", Who{User: "2"}},
		{"nobody", Who{}},
		{"another, of whom no token is asked", Who{User: "2", Open: true}},
	}
	for _, c := range []struct {
		rule   string
		action Action
		want   []Verdict // want[i] is for askers[i]
	}{
		{"c:* read=any write=none", Read, []Verdict{Yes, Yes, Yes, Yes}},
		{"c:* read=any write=none", Write, []Verdict{No, No, No, No}},
		{"c:* read=none write=any", Read, []Verdict{No, No, No, No}},
		{"c:* read=none write=any", Write, []Verdict{Yes, Yes, Yes, Yes}},
		{"c:* read=self write=member", Read, []Verdict{Yes, No, No, No}},
		{"c:* read=self write=member", Write, []Verdict{IfMember, IfMember, IfMember, IfMember}},
		{"c:* read=token write=any", Read, []Verdict{IfNamed, IfNamed, IfNamed, Yes}},
		{"c:* read=none write=token", Write, []Verdict{IfNamed, IfNamed, IfNamed, Yes}},
		{"c:1 read=token write=none", Read, []Verdict{IfNamed, IfNamed, IfNamed, Yes}},
		{"* read=none write=token", Write, []Verdict{IfNamed, IfNamed, IfNamed, Yes}},
		// The prefix of this pattern is empty, so the whole name c:1 stands for the user. No asker
		// has that id.
		{"* read=self write=none", Read, slices.Repeat([]Verdict{No}, len(askers))},
		{"d:* read=any write=any", Read, slices.Repeat([]Verdict{Unknown}, len(askers))},
		{"c:11 read=any write=any", Write, slices.Repeat([]Verdict{Unknown}, len(askers))},
		{"c: read=any write=any", Write, slices.Repeat([]Verdict{Unknown}, len(askers))},
	} {
		r := parse(t, c.rule)
		for i, who := range askers {
			if got := r.Judge(who.is, "c:1", c.action); got != c.want[i] {
				t.Errorf("%s: action %d of %s: verdict %d, want %d", c.rule, c.action, who.name, got, c.want[i])
			}
		}
	}
}

func TestP14_TheDefaultRules(t *testing.T) {
	for _, c := range []struct {
		name        string
		read, write Verdict
	}{
		{"user:1", Yes, Yes}, {"user:2", No, Yes}, {"user:", No, Yes}, {"user:1:1", No, Yes}, {"user:１", No, Yes},
		{"group:g", Yes, IfMember}, {"all", Yes, Yes},
		{"all:", IfNamed, IfNamed}, {"All", IfNamed, IfNamed}, {"USER:1", IfNamed, IfNamed},
		{"news:1", IfNamed, IfNamed}, {"user", IfNamed, IfNamed}, {"*", IfNamed, IfNamed},
	} {
		for _, r := range []Rules{{}, parse(t, Default)} {
			who := Who{User: "1"}
			if read, write := r.Judge(who, c.name, Read), r.Judge(who, c.name, Write); read != c.read || write != c.write {
				t.Errorf("%s: verdicts %d and %d, want %d and %d", c.name, read, write, c.read, c.write)
			}
		}
	}
	if got := (Rules{}).Judge(Who{}, "user:", Read); got != No {
		t.Errorf("a name without a user, asked for without a user: verdict %d, want %d", got, No)
	}
	if got := (Rules{}).Judge(Who{Open: true}, "news:1", Write); got != Yes {
		t.Errorf("without tokens: verdict %d, want %d", got, Yes)
	}
}

func TestTheFirstRuleThatMatchesCounts(t *testing.T) {
	r := parse(t, "news:staff:x read=any write=any; news:staff:* read=none write=none\n\n news:*\tread=any write=none ;\r\nnews write=any read=none;")
	for _, c := range []struct {
		name        string
		read, write Verdict
	}{
		{"news:staff:x", Yes, Yes}, {"news:staff:y", No, No}, {"news:staff:", No, No}, {"news:staff", Yes, No},
		{"news:", Yes, No}, {"news", No, Yes}, {"new", Unknown, Unknown},
	} {
		who := Who{User: "1"}
		if read, write := r.Judge(who, c.name, Read), r.Judge(who, c.name, Write); read != c.read || write != c.write {
			t.Errorf("%s: verdicts %d and %d, want %d and %d", c.name, read, write, c.read, c.write)
		}
	}
}

// TestP14_ReservedNamesAreForNobody checks that no rule and no token gives access to a name that
// relays use themselves.
func TestP14_ReservedNamesAreForNobody(t *testing.T) {
	who := Who{User: "edgerelay:x", Open: true}
	for _, rule := range []string{"* read=any write=any", "edge* read=any write=any", "* read=self write=member", "* read=token write=token", "x read=any write=any"} {
		for _, name := range []string{"edgerelay:", "edgerelay:x", "edgerelay:probe:{1}", "edgerelay:relays"} {
			for _, a := range []Action{Read, Write} {
				if got := parse(t, rule).Judge(who, name, a); got != No {
					t.Errorf("%s: action %d on %s: verdict %d", rule, a, name, got)
				}
			}
		}
	}
	if got := parse(t, "* read=any write=any").Judge(who, "edgerelay", Read); got != Yes {
		t.Errorf("a name that is not reserved: verdict %d", got)
	}
}

func TestNamesThatAreNoChannels(t *testing.T) {
	r := parse(t, "* read=any write=any")
	long := strings.Repeat("é", 127) + "x"
	for name, want := range map[string]Verdict{
		"a": Yes, "a b": Yes, "*": Yes, "名/前?": Yes, "}x{": Yes, "a:b*c": Yes, long: Yes, "\ufffd": Yes,
		"": NoChannel, long + "x": NoChannel, "a\x00": NoChannel, "a\nb": NoChannel, "\x7f": NoChannel, "a\u0085b": NoChannel,
		"a\xff": NoChannel, "\xc0\x80": NoChannel, "\xed\xa0\x80": NoChannel, "edgerelay:\x00": NoChannel,
	} {
		for _, a := range []Action{Read, Write} {
			if got := r.Judge(Who{User: "1"}, name, a); got != want {
				t.Errorf("%q: verdict %d, want %d", name, got, want)
			}
		}
	}
}

// costly returns the judgements whose cost is measured. Two of them have the rules of Default, and
// two have as many rules as there may be.
func costly(t testing.TB) (all []judgement) {
	var beside, nested strings.Builder
	for i := range Most - 1 {
		fmt.Fprintf(&beside, "news:%03d:* read=any write=none\n", i)
		fmt.Fprintf(&nested, "%s* read=any write=any\n", strings.Repeat("n", Most-1-i))
	}
	const last = "* read=any write=token"
	open := Who{User: "1", Open: true}
	return []judgement{
		{"group", Rules{}, Who{User: "1"}, "group:g1"},
		{"all", Rules{}, Who{User: "1"}, "all"},
		{"256_rules", parse(t, beside.String()+last), open, "news:sport:127"},
		{"256_rules_within_each_other", parse(t, nested.String()+last), open, strings.Repeat("n", 9) + "o"},
	}
}

type judgement struct {
	name    string
	rules   Rules
	who     Who
	channel string
}

func TestAJudgementAllocatesNothing(t *testing.T) {
	for _, c := range costly(t) {
		var got Verdict
		if n := testing.AllocsPerRun(100, func() { got = c.rules.Judge(c.who, c.channel, Write) }); n != 0 || got == No {
			t.Errorf("%s: %v allocations, verdict %d", c.name, n, got)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	for _, c := range costly(b) {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v := c.rules.Judge(c.who, c.channel, Write); v == No {
					b.Fatal("not permitted")
				}
			}
		})
	}
}
