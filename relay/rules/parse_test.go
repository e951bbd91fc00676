package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestEachFaultNamesItsRuleAndWhatToDo checks the faults of rules, one line for each.
func TestEachFaultNamesItsRuleAndWhatToDo(t *testing.T) {
	const fine = "a read=any write=any;"
	for text, want := range map[string][]string{
		"a": {`rule 1, "a": read= is missing: add it, with any, self, token or none`,
			`rule 1, "a": write= is missing: add it, with any, member, token or none`},
		fine + "b read=any":     {`rule 2, "b": write= is missing: add it, with any, member, token or none`},
		"a read=any write=self": {`rule 1, "a": "write=self" is not known: write write= with any, member, token or none`},
		"a read=member write=any\n\nb read= write": {
			`rule 1, "a": "read=member" is not known: write read= with any, self, token or none`,
			`rule 2, "b": "read=" is not known: write read= with any, self, token or none`,
			`rule 2, "b": "write" is not known: write write= with any, member, token or none`},
		"a read=any write=any, b read=any write=none": {`rule 1, "a": "write=any," has a comma, which separates nothing: ` +
			`write spaces between words, and a semicolon or a line feed between rules`},
		"a read=any write=any read=none": {`rule 1, "a": read= is there twice: leave one of them out`},
		"a Read=any write=any": {
			`rule 1, "a": "Read=any" is not known: a rule has read=, write= and perhaps history= behind its pattern, and a semicolon at its end`,
			`rule 1, "a": read= is missing: add it, with any, self, token or none`},
		"a read=any write=any b read=any write=any": {
			`rule 1, "a": "b" is not known: a rule has read=, write= and perhaps history= behind its pattern, and a semicolon at its end`,
			`rule 1, "a": read= is there twice: leave one of them out`,
			`rule 1, "a": write= is there twice: leave one of them out`},
		"a read=any write=any presence joins=50 hook": {
			`rule 1, "a": this version does not know presence yet: leave it out`,
			`rule 1, "a": this version does not know joins yet: leave it out`,
			`rule 1, "a": this version does not know hook yet: leave it out`},
		"a*b read=any write=any":   {`rule 1, "a*b": a pattern is a name, or the beginning of names and a *, and may have a * at its end only`},
		"** read=any write=any":    {`rule 1, "**": a pattern is a name, or the beginning of names and a *, and may have a * at its end only`},
		"a\x01 read=any write=any": {`rule 1, "a\x01": a pattern is a name, or the beginning of names and a *, and must have no control characters`},
		"\xff* read=any write=any": {`rule 1, "\xff*": a pattern is a name, or the beginning of names and a *, and must be valid UTF-8`},
		strings.Repeat("x", 256) + "* read=any write=any": {`rule 1, "` + strings.Repeat("x", 80) +
			`…": a pattern is a name, or the beginning of names and a *, and must be 1 to 255 bytes`},
		"edgerelay:* read=any write=any":                  {`rule 1, "edgerelay:*": names that begin with edgerelay: are for the relays alone: leave the rule out`},
		"me read=self write=any":                          {`rule 1, "me": read=self needs a pattern with a * in the place of the user: add a *, or write any, token or none`},
		"* read=any write=any; b read=any write=any":      {`rule 2, "b": rule 1, "*", matches all of its names first: put this rule before that one, or leave it out`},
		"b:* read=any write=any; b:c* read=any write=any": {`rule 2, "b:c*": rule 1, "b:*", matches all of its names first: put this rule before that one, or leave it out`},
		fine + fine:               {`rule 2, "a": rule 1, "a", matches all of its names first: put this rule before that one, or leave it out`},
		"":                        {`there is no rule in it: write one such as "* read=token write=token", or unset it`},
		" ;\n\r\n":                {`there is no rule in it: write one such as "* read=token write=token", or unset it`},
		strings.Repeat("a;", 257): {`it has 257 rules, and may have 256: let one pattern stand for several names`},
	} {
		_, faults := Parse(text)
		var got []string
		for _, err := range faults {
			got = append(got, err.Error())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q has the faults\n%s\nwant\n%s", text, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestAsManyRulesAsThereMayBe(t *testing.T) {
	var text strings.Builder
	for i := range Most {
		fmt.Fprintf(&text, "%03d read=any write=any;", i)
	}
	parse(t, text.String())
	parse(t, strings.Repeat("x", MaxName)+"* read=any write=any")
	parse(t, "b:c* read=any write=any; b: read=any write=any; b:* read=any write=any; b* read=any write=any")
}

// TestTheFirstOfManyRulesCounts compares the verdicts of random rules with those of a slow judge.
// Names and patterns have no letters but a and b. Therefore a pattern is often the beginning of
// another one.
func TestTheFirstOfManyRulesCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := func(least int) string {
		b := make([]byte, least+random.IntN(5))
		for i := range b {
			b[i] = 'a' + byte(random.IntN(2))
		}
		return string(b)
	}
	several := 0
	for range 100 {
		text := ""
		for i := range 40 { // long patterns first
			pattern := letters(3)
			if random.IntN(3) > 0 {
				pattern = letters(4-i/9) + "*"
			}
			longer := text + fmt.Sprintf("%s read=%s write=%s;", pattern,
				[]string{"any", "none", "self"}[random.IntN(3)], []string{"any", "none", "member"}[random.IntN(3)])
			if _, faults := Parse(longer); len(faults) == 0 {
				text = longer
			}
		}
		r := parse(t, text)
		if len(r.prefixes) > 5 && len(r.names) > 2 {
			several++
		}
		for range 200 {
			name, user := letters(1), letters(0)
			read, write := slowly(text, name, user, false)
			who := Who{User: user}
			if gotRead, gotWrite := r.Judge(who, name, Read), r.Judge(who, name, Write); gotRead != read || gotWrite != write {
				t.Fatalf("%q on %q: verdicts %d and %d, want %d and %d", text, name, gotRead, gotWrite, read, write)
			}
		}
	}
	if several < 50 {
		t.Errorf("only %d lists of rules had several rules: the test is wrong", several)
	}
}

// FuzzParse compares the verdicts of rules with those of a slow judge, which reads the text of the
// rules again for each verdict.
func FuzzParse(f *testing.F) {
	f.Add(Default, "user:1", "1", true)
	f.Add("a* read=self write=member\nb read=none write=token;", "ab", "b", false)
	f.Add("edgerelay:* read=any", "edgerelay:x", "", true)
	f.Add("a* history=5/1h read=any write=any;b history=0 read=any write=any", "ab", "", true)
	f.Add("a\xff;* read=any\twrite=any", "\xff", "1", true)
	f.Fuzz(func(t *testing.T, text, name, user string, open bool) {
		r, faults := Parse(text)
		for _, err := range faults {
			if strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 1000 {
				t.Errorf("not one short line: %q", err)
			}
		}
		if len(faults) > 0 {
			return
		}
		read, write := slowly(text, name, user, open)
		who := Who{User: user, Open: open}
		if gotRead, gotWrite := r.Judge(who, name, Read), r.Judge(who, name, Write); gotRead != read || gotWrite != write {
			t.Errorf("%q on %q: verdicts %d and %d, want %d and %d", text, name, gotRead, gotWrite, read, write)
		}
		checkHistory(t, r, text, name)
	})
}

// The function named slowly returns the verdicts on reading and writing for somebody whose token
// names no channel. The rules in the text must have no fault.
func slowly(text, name, user string, open bool) (read, write Verdict) {
	if name == "" || len(name) > 255 || strings.ToValidUTF8(name, "") != name || strings.ContainsFunc(name, control) {
		return NoChannel, NoChannel
	}
	if strings.HasPrefix(name, "edgerelay:") {
		return No, No
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(text, ";", "\n"), "\n") {
		words := strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\r", c) })
		if len(words) == 0 {
			continue
		}
		rest, fits := "", words[0] == name
		if before, star := strings.CutSuffix(words[0], "*"); star {
			rest, fits = strings.CutPrefix(name, before)
		}
		if !fits {
			continue
		}
		line = " " + strings.Join(words[1:], " ") + " "
		says := func(word string) bool { return strings.Contains(line, " "+word+" ") }
		switch {
		case says("read=any"), says("read=self") && rest == user && user != "", says("read=token") && open:
			read = Yes
		case says("read=token"):
			read = IfNamed
		}
		switch {
		case says("write=any") || says("write=token") && open:
			write = Yes
		case says("write=member"):
			write = IfMember
		case says("write=token"):
			write = IfNamed
		}
		return read, write
	}
	return Unknown, Unknown
}

func control(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }
