package rules

import (
	"fmt"
	"strings"

	"github.com/edgerelay/edgerelay/shared/config"
)

// Default has the rules that count where RELAY_CHANNELS is not set.
const Default = "user:* read=self write=any; group:* read=any write=member; " +
	"all read=any write=any; * read=token write=token"

var byDefault, _ = Parse(Default)

// Most is the greatest number of rules.
const Most = 256

// The words in this map are for rules of later versions. This version refuses them.
var later = map[string]bool{"presence": true, "joins": true, "hook": true}

// Parse reads rules from the value of RELAY_CHANNELS. Semicolons and line feeds separate rules, and
// empty rules are left out. A rule is a pattern and what is permitted, as in "news:* read=any
// write=none". It may say what of the history is kept and shown, as in "history=1000/1h".
//
// Each fault names its rule and says what to do, in one line. If there are faults, the Rules must
// not be used. If the number of rules is above Most, that is the only fault: Parse does not look
// for faults in the rules.
func Parse(text string) (r Rules, faults []error) {
	var texts []string
	for one := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ';' || c == '\n' }) {
		if len(words(one)) > 0 {
			texts = append(texts, one)
		}
	}
	switch n := len(texts); {
	case n == 0:
		return r, []error{fmt.Errorf("there is no rule in it: write one such as %q, or unset it", "* read=token write=token")}
	case n > Most:
		return r, []error{fmt.Errorf("it has %d rules, and may have %d: let one pattern stand for several names", n, Most)}
	}
	var list []rule
	for i, one := range texts {
		parsed, wrong := parseRule(words(one))
		if len(wrong) == 0 {
			wrong = unreachable(parsed.pattern, list)
		}
		for _, text := range wrong {
			faults = append(faults, fmt.Errorf("rule %d, %s: %s", i+1, config.Quote(words(one)[0]), text))
		}
		list = append(list, parsed) // even a faulty one, so that later faults name the right number
	}
	return Rules{newIndex(list)}, faults
}

// The function words returns the words of one rule.
func words(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' || c == '\r' })
}

// parseRule reads one rule. The result wrong has the texts of its faults.
func parseRule(words []string) (r rule, wrong []string) {
	pattern, err := ParsePattern(words[0])
	switch {
	case err != nil:
		wrong = append(wrong, "a pattern is a name, or the beginning of names and a *, and "+err.Error())
	case strings.HasPrefix(pattern.text, Reserved):
		wrong = append(wrong, "names that begin with "+Reserved+" are for the relays alone: leave the rule out")
	}
	r.pattern = pattern
	for _, word := range words[1:] {
		if strings.Contains(word, ",") { // the words after this one seem to belong to another rule
			return r, append(wrong, config.Quote(word)+" has a comma, which separates nothing: "+
				"write spaces between words, and a semicolon or a line feed between rules")
		}
		if text := r.take(word); text != "" {
			wrong = append(wrong, text)
		}
	}
	for _, one := range []struct {
		word string
		is   permit
		may  string
	}{{"read", r.read, mayRead}, {"write", r.write, mayWrite}} {
		if one.is == unset {
			wrong = append(wrong, one.word+"= is missing: add it, with "+one.may)
		}
	}
	if r.read == self && err == nil && !pattern.prefix {
		wrong = append(wrong, "read=self needs a pattern with a * in the place of the user: "+
			"add a *, or write any, token or none")
	}
	return r, wrong
}

const (
	mayRead  = "any, self, token or none"
	mayWrite = "any, member, token or none"
)

// take takes one word of a rule. It returns the text of a fault, or "".
func (r *rule) take(word string) string {
	key, value, _ := strings.Cut(word, "=")
	field, words, may := &r.read, permits[Read], mayRead
	switch {
	case key == "read":
	case key == "write":
		field, words, may = &r.write, permits[Write], mayWrite
	case key == "history":
		return r.takeHistory(word, value)
	case later[key]:
		return "this version does not know " + key + " yet: leave it out"
	default:
		return config.Quote(word) + " is not known: a rule has read=, write= and perhaps history= behind its pattern, and a semicolon at its end"
	}
	is, known := words[value]
	if *field != unset {
		return key + "= is there twice: leave one of them out"
	}
	if *field = is; !known {
		*field = none // so that no second fault says that it is missing
		return config.Quote(word) + " is not known: write " + key + "= with " + may
	}
	return ""
}

// takeHistory takes a word with the key history. It returns the text of a fault, or "".
func (r *rule) takeHistory(word, value string) (wrong string) {
	if r.history.given {
		return "history= is there twice: leave one of them out"
	}
	r.history, wrong = parseHistory(word, value)
	return wrong
}

// unreachable returns the text of a fault if one of the earlier rules matches all names that the
// pattern matches. A rule with such a pattern never counts.
func unreachable(p Pattern, earlier []rule) []string {
	for i := range earlier {
		if first := earlier[i].pattern; first.covers(p) {
			return []string{fmt.Sprintf("rule %d, %s, matches all of its names first: put this rule before that one, or leave it out",
				i+1, config.Quote(first.String()))}
		}
	}
	return nil
}
