package sdk

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// parts returns the recorded lines of both sides, by the heading above them.
func parts(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	parts, heading := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if is, ok := strings.CutPrefix(line, "# "); ok {
			heading = is
			continue
		}
		parts[heading] = append(parts[heading], line)
	}
	return parts
}

// plainText returns a reply or a push in a form that can be compared. The ids of clients become
// "c".
func plainText(t *testing.T, text string) string {
	t.Helper()
	if strings.HasPrefix(text, "close ") {
		return text
	}
	var strip func(v any) any
	strip = func(v any) any {
		m, is := v.(map[string]any)
		if !is {
			return v
		}
		for name, value := range m {
			if m[name] = strip(value); name == "client" {
				m[name] = "c"
			}
		}
		return m
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return fmt.Sprint(strip(v))
}

var epochIn = regexp.MustCompile(`"epoch":"([^"]*)"`)

// withEpochs returns recorded lines with our epochs: 7 for the first epoch of Centrifugo in these
// lines, 8 for the second, and so on.
func withEpochs(lines []string) (ours []string) {
	known := map[string]string{"nope": "nope"} // the text "nope" is no epoch, so it stays as it is
	for _, line := range lines {
		ours = append(ours, epochIn.ReplaceAllStringFunc(line, func(text string) string {
			theirs := epochIn.FindStringSubmatch(text)[1]
			if known[theirs] == "" {
				known[theirs] = strconv.Itoa(6 + len(known))
			}
			return `"epoch":"` + known[theirs] + `"`
		}))
	}
	return ours
}

// placeOf returns the place with which a command gets the reply in the given texts. If a push comes
// before the reply, placeOf also returns the position of the push's publication.
func placeOf(t *testing.T, replies []string) (at dialect.Place, pushed protocol.Position) {
	t.Helper()
	for _, text := range replies {
		outer := members(t, json.RawMessage(text))
		if outer[0].name == "push" {
			push := members(t, outer[0].value)
			p := decode[jsonPub](t, push[len(push)-1].value)
			// The position has no epoch in a push whose offset is not 1.
			pushed = protocol.Position{Epoch: max(parseEpoch(p.Epoch), 7), Offset: p.Offset}
			continue
		}
		r := decode[jsonResult](t, outer[len(outer)-1].value)
		at = dialect.Place{Kept: r.Recoverable || outer[len(outer)-1].name == "history", Recovered: r.Recovered}
		at.At = protocol.Position{Epoch: parseEpoch(r.Epoch), Offset: r.Offset}
		for _, p := range r.Publications {
			c := protocol.Content{Tags: string(p.Tags)}
			if err := c.SetData(p.Data); err != nil {
				t.Fatal(err)
			}
			at.Missed = append(at.Missed, listed(protocol.Position{Epoch: at.At.Epoch, Offset: p.Offset}, &c))
		}
		if n := len(at.Missed); n > 0 && at.Recovered {
			at.At = at.Missed[n-1].Position
		}
	}
	return at, pushed
}

var ttlIn = regexp.MustCompile(`"ttl":(\d+)`)

// recordedReplies returns the recorded texts by which the server answered a line. The answer to a
// send is the close. The answer to a publish is the push and the reply. The answer to any other
// line is the reply. The parameter named behind has the recorded lines that follow this line.
func recordedReplies(line string, behind []string) (replies []string) {
	c, _ := Read([]byte(line))
	for _, text := range behind {
		text, is := strings.CutPrefix(text, "<- ")
		switch {
		case !is:
		case c.Method == Send && strings.HasPrefix(text, "close "):
			return []string{text}
		case c.Method == Publish && strings.Contains(text, `"info":`) && len(replies) == 0:
			replies = append(replies, text)
		case c.Method != Send && strings.HasPrefix(text, fmt.Sprintf(`{"id":%d,`, c.ID)):
			return append(replies, text)
		}
	}
	return nil
}

// TestRecordedConversations parses the lines that SDKs sent to Centrifugo. Their tokens are
// replaced by tokens that fit the recorded replies. Subscribes with tokens of their own are left
// out. All commands take effect at once, at the places of which Centrifugo told. The replies, and
// the pushes of what the SDKs published, must be those of Centrifugo, with epochs of ours.
func TestRecordedConversations(t *testing.T) {
	d := withRules(t, "tok:* read=token write=token history=0; news* read=any write=any history=0; hist:* read=any write=any; short:* read=any write=any")
	d.Version = "0.0.0 OSS"
	recorded := parts(t)
	for heading, most := range map[string]int{
		"Connect, two subscribes, publish":                 12,
		"Reconnect with recovery of 3 missed publications": 8,
		"Recovery that fails":                              10,
		"History":                                          19,
		"Token expiry with refresh":                        10,
		"Subscription tokens":                              4,
		"rpc that is not available, and send":              6,
		"Server restart (SIGTERM, then started again; memory engine, so the stream is new)": 8,
	} {
		t.Run(heading, func(t *testing.T) {
			s, played := guest, 0
			lines := withEpochs(recorded[heading])
			for i, line := range lines {
				line, is := strings.CutPrefix(line, "-> ")
				own := strings.Contains(line, `"channel"`) && strings.Contains(line, `"token"`)
				if !is || own || strings.HasPrefix(line, "close ") {
					continue
				}
				if strings.Contains(line, `"connect":`) {
					s = guest // a new socket has a new guest
				}
				want := recordedReplies(line, lines[i+1:])
				got := d.play(t, &s, strings.ReplaceAll(line, "<jwt>", signed(claimsFor(want))), want)
				for _, texts := range [][]string{want, got} {
					for i := range texts {
						texts[i] = plainText(t, texts[i])
					}
				}
				if played++; !slices.Equal(got, want) {
					t.Errorf("%s is answered\n%q, want\n%q", line, got, want)
				}
			}
			if played != most {
				t.Errorf("%d lines were played, want %d", played, most)
			}
		})
	}
}

// claimsFor returns the claims of a token with which a command gets these replies.
func claimsFor(replies []string) string {
	claims := `{"sub":"alice","info":{"name":"Alice"}`
	switch all := strings.Join(replies, ""); {
	case strings.Contains(all, "token expired"):
		claims += `,"exp":1000`
	case ttlIn.MatchString(all):
		ttl, _ := strconv.Atoi(ttlIn.FindStringSubmatch(all)[1])
		claims += fmt.Sprintf(`,"exp":%d`, now.Unix()+int64(ttl))
	}
	return claims + "}"
}

// play returns the texts that a client gets for a line, at the places of which the recorded texts
// tell. If the line is a connect, play confirms the session.
func (d Dialect) play(t *testing.T, s *dialect.Session, line string, recorded []string) (texts []string) {
	t.Helper()
	p := d.Parse(*s, now, []byte(line), false)
	var places []dialect.Place
	var pushed protocol.Position
	if p.Verb != dialect.Close {
		var at dialect.Place
		if at, pushed = placeOf(t, recorded); p.Verb == dialect.Bind || p.Verb == dialect.History {
			if places = append(places, at); at.Kept != (p.Terms.Range.Most > 0) {
				t.Errorf("%s: the rule shows %d publications", line, p.Terms.Range.Most)
			}
		}
	}
	switch {
	case p.Verb == dialect.Nothing, p.Verb == dialect.Close && p.Terms.Code == 0:
		return []string{p.Text}
	case p.Verb == dialect.Close:
		return []string{words(d, *s, &p)}
	case p.Verb == dialect.Confirm:
		s.Confirmed, s.User, s.Until, s.Keep = true, p.Terms.User, p.Terms.Until, p.Terms.Keep
	case p.Verb == dialect.Renew:
		s.Until, s.Keep = p.Terms.Until, p.Terms.Keep
	case p.Verb == dialect.Publish:
		c := d.Content(*s, &p)
		text, _ := d.Render(nil, p.Topic, pushed, &c)
		texts = append(texts, string(text))
	}
	return append(texts, string(d.Answer(*s, &p, dialect.Verdict{Places: places})))
}
