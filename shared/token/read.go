package token

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// header has the fields of a token's header that count. If header.named is true, the header has a
// kid, which names the key.
type header struct {
	alg   string
	kid   string
	named bool
}

// readHeader reads and checks a token's header. It refuses a name that occurs twice, and each alg
// that is not one of Algorithms. It also refuses crit, the list of the extensions that a recipient
// must understand (RFC 7515, 4.1.11). No extension is known here.
func readHeader(text []byte) (h header, err error) {
	m, err := fewMembersOf(text, MaxHeaderNames)
	if err != nil {
		return h, err
	}
	if _, critical := m["crit"]; critical {
		return h, Fault{Text: "its crit demands an extension; none is known here"}
	}
	if err := m.readText("alg", &h.alg); err != nil || methods[h.alg] == nil {
		return h, Fault{Text: "its alg is none of " + strings.Join(Algorithms, ", ")}
	}
	value, named := m["kid"]
	if named {
		if h.kid, err = unquote(value); err != nil {
			return h, Fault{Text: "its kid names no key"}
		}
	}
	h.named = named
	return h, nil
}

// claims has the claims of a token that count. Claims are read strictly. A name in the JSON object
// must match exactly, and no name may occur twice. A date is a number. A claim that is null counts
// as absent.
type claims struct {
	subject, issuer string
	audience        []string
	begins, expires *time.Time
	info            json.RawMessage
	channels        []string
	caps            []Cap
	channel         string
}

// readClaims reads a token's claims. Its errors are Faults. It also checks the form of iat, which
// is not used.
func readClaims(text []byte) (c claims, err error) {
	m, err := membersOf(text)
	if err != nil {
		return c, err
	}
	var issued *time.Time
	err = cmp.Or(
		m.readText("sub", &c.subject),
		m.readText("iss", &c.issuer),
		m.readAudience(&c.audience),
		m.readDate("exp", &c.expires),
		m.readDate("nbf", &c.begins),
		m.readDate("iat", &issued),
		m.readInfo(&c.info),
		m.readChannels(&c.channels),
		m.readCaps(&c.caps),
		m.readText("channel", &c.channel),
	)
	if err == nil && m.get("channel") != nil && c.channel == "" {
		err = Fault{Text: "channel is empty"}
	}
	return c, err
}

// members maps the names of a JSON object's members to their values as written.
type members map[string]json.RawMessage

// membersOf reads a JSON object. It fails if text is not a JSON object in UTF-8, or if a name of
// the object occurs twice.
func membersOf(text []byte) (members, error) { return fewMembersOf(text, math.MaxInt) }

// fewMembersOf is membersOf for a header. It also fails if the object has more than the given
// number of names.
func fewMembersOf(text []byte, most int) (members, error) {
	if !utf8.Valid(text) {
		return nil, Fault{Text: malformed}
	}
	m, names, twice := members{}, 0, false
	err := protocol.EachField(text, depth, func(name, value []byte) {
		if names++; names > most {
			return
		}
		_, known := m[string(name)]
		twice = twice || known
		m[string(name)] = value
	})
	switch {
	case err != nil:
		return nil, Fault{Text: malformed}
	case names > most:
		return nil, Fault{Text: fmt.Sprintf("its header has more than %d names", most)}
	case twice:
		return nil, Fault{Text: "a name is there twice in its header or claims"}
	}
	return m, nil
}

// depth is how many levels of arrays and objects a value may have, one less than encoding/json
// permits.
const depth = 9_999

// get returns a member's text, or nil when the member is null or absent.
func (m members) get(name string) json.RawMessage {
	if value := m[name]; string(value) != "null" {
		return value
	}
	return nil
}

// readText reads a claim that is a string.
func (m members) readText(name string, into *string) (err error) {
	value := m.get(name)
	if value == nil {
		return nil
	}
	if *into, err = unquote(value); err != nil {
		return Fault{Text: name + " is no string"}
	}
	return nil
}

// readAudience reads aud, which is a string or a list of strings.
func (m members) readAudience(into *[]string) (err error) {
	value := m.get("aud")
	if value == nil {
		return nil
	}
	if value[0] == '"' {
		*into = make([]string, 1)
		(*into)[0], err = unquote(value)
	} else {
		*into, err = unquoteAll(value)
	}
	if err != nil {
		return Fault{Text: "aud is no string and no list of strings"}
	}
	return nil
}

// readInfo reads the claim "info", which is any JSON. It leaves out the space between names and
// values.
func (m members) readInfo(into *json.RawMessage) error {
	value := m.get("info")
	if value == nil {
		return nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return Fault{Text: malformed}
	}
	if b.Len() > MaxInfo {
		return Fault{Text: fmt.Sprintf("info has more than %d bytes", MaxInfo)}
	}
	*into = bytes.Clone(b.Bytes())
	return nil
}

// readChannels reads the claims "channels", which is a list of strings, and "subs", which is an
// object of objects. Only the names of subs are used.
func (m members) readChannels(into *[]string) (err error) {
	if value := m.get("channels"); value != nil {
		if *into, err = unquoteAll(value); err != nil {
			return Fault{Text: "channels is no list of strings"}
		}
	}
	if value := m.get("subs"); value != nil {
		names, err := readSubs(value)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !slices.Contains(*into, name) {
				*into = append(*into, name)
			}
		}
	}
	if len(*into) > MaxChannels {
		return Fault{Text: fmt.Sprintf("channels and subs have more than %d names", MaxChannels)}
	}
	return nil
}

// readSubs returns the names of the claim "subs" in ascending order.
func readSubs(value json.RawMessage) ([]string, error) {
	const noObject = "subs is no object of objects"
	if value[0] != '{' {
		return nil, Fault{Text: noObject}
	}
	subs, err := membersOf(value)
	if err != nil {
		return nil, err
	}
	for _, options := range subs {
		if options[0] != '{' {
			return nil, Fault{Text: noObject}
		}
	}
	return slices.Sorted(maps.Keys(subs)), nil
}

// lastDate is the end of the year 9999, in Unix seconds. A date before -lastDate counts as
// -lastDate, and a date after lastDate counts as lastDate. time.Time would wrap around for dates
// that are too far away.
const lastDate = 253402300799

// readDate reads a claim that is a number of seconds, perhaps with a fraction.
func (m members) readDate(name string, into **time.Time) error {
	value := m.get(name)
	if value == nil {
		return nil
	}
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return Fault{Text: name + " is no number"}
	}
	// ParseFloat returns an infinity for numbers beyond its range.
	seconds, _ := strconv.ParseFloat(string(value), 64)
	whole, fraction := math.Modf(min(max(seconds, -lastDate), lastDate))
	date := time.Unix(int64(whole), int64(fraction*1e9))
	*into = &date
	return nil
}

// unquoteAll returns the texts of a JSON list of strings.
func unquoteAll(list json.RawMessage) (texts []string, err error) {
	var values []json.RawMessage
	if err := json.Unmarshal(list, &values); err != nil {
		return nil, err
	}
	texts = make([]string, len(values))
	for i, value := range values {
		if texts[i], err = unquote(value); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// unquote returns the text of a JSON string. It fails if value is no string, or if an escape in
// value stands for no character.
func unquote(value json.RawMessage) (text string, err error) {
	if value[0] != '"' || unpaired(value) {
		return "", Fault{Text: malformed}
	}
	err = json.Unmarshal(value, &text)
	return text, err
}

// unpaired reports whether a JSON string has an escape for one half of a surrogate pair without the
// other half. Such a string is not text. The decoder replaces an unpaired half by a fixed
// character. So different strings could become equal.
func unpaired(value []byte) bool {
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' {
			continue
		}
		first, ok := escaped(value[i:])
		if !ok {
			i++ // skips the escaped character, which may be a backslash
			continue
		}
		i += 5
		if utf16.IsSurrogate(first) {
			second, _ := escaped(value[i+1:])
			if utf16.DecodeRune(first, second) == utf8.RuneError {
				return true
			}
			i += 6
		}
	}
	return false
}

// escaped returns the UTF-16 code unit of the \uXXXX escape at the beginning of b. If b does not
// begin with such an escape, ok is false.
func escaped(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}
