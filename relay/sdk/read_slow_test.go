package sdk

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"
)

// slowRead reads a line as Read does, by means of encoding/json alone. Instead of an error it
// returns the Label of the LineError.
func slowRead(line []byte) (c Command, label string) {
	first := json.NewDecoder(bytes.NewReader(line))
	var object json.RawMessage
	if !utf8.Valid(line) || first.Decode(&object) != nil || object[0] != '{' || depthOf(object) > maxDepth {
		return c, "json"
	}
	if rest := line[first.InputOffset():]; strings.Trim(string(rest), " \t\r\n") != "" {
		return c, "trailing"
	}
	bodies := map[string]json.RawMessage{}
	for _, m := range slowMembers(object) {
		bodies[m.name] = m.value
	}
	if id := bodies["id"]; id != nil && json.Unmarshal(id, &c.ID) != nil {
		return Command{}, "id"
	}
	method := ""
	for m := methods - 1; m >= Connect; m-- {
		if body := bodies[m.String()]; body != nil && string(body) != "null" {
			c.Method, method = m, m.String()
		}
	}
	if c.ID == 0 && method != "send" {
		return Command{}, "no_id"
	}
	if method == "" {
		return Command{}, "method"
	}
	if label := c.slowBody(bodies[method]); label != "" {
		return Command{}, label
	}
	return c, ""
}

func (c *Command) slowBody(body json.RawMessage) (label string) {
	fields, channel := map[string]any{}, true
	switch c.Method.String() {
	case "connect":
		fields, channel = map[string]any{"token": &c.Token, "data": &c.Data, "name": &c.Name, "version": &c.Version}, false
	case "subscribe":
		fields = map[string]any{"token": &c.Token, "data": &c.Data, "recover": &c.Recover, "epoch": &c.Since.Epoch,
			"offset": &c.Since.Offset, "positioned": &c.Positioned, "recoverable": &c.Recoverable, "join_leave": &c.JoinLeave,
			"flag": &c.Flag, "delta": &c.Delta, "type": &c.Type}
	case "publish":
		fields = map[string]any{"data": &c.Data, "type": &c.Type}
	case "history":
		fields = map[string]any{"limit": &c.Limit, "reverse": &c.Reverse}
	case "rpc":
		fields, channel = map[string]any{"method": &c.Call, "data": &c.Data}, false
	case "send":
		fields, channel = map[string]any{"data": &c.Data}, false
	case "refresh":
		fields, channel = map[string]any{"token": &c.Token}, false
	case "sub_refresh":
		fields = map[string]any{"token": &c.Token}
	}
	if channel {
		fields["channel"] = &c.Channel
	}
	if body[0] != '{' || !slowFields(body, fields) {
		return "field"
	}
	var subs json.RawMessage
	for _, m := range slowMembers(body) {
		isNull := string(m.value) == "null"
		switch c.Method.String() + " " + m.name {
		case "connect subs":
			subs = m.value
		case "subscribe tf":
			c.Filtered = !isNull
		case "history since":
			c.HasSince, c.Since = !isNull, Position{}
			if !isNull && (m.value[0] != '{' || !slowFields(m.value, map[string]any{"epoch": &c.Since.Epoch, "offset": &c.Since.Offset})) {
				return "field"
			}
		}
	}
	switch {
	case channel && c.Channel == "":
		return "channel"
	case c.Method.String() == "refresh" && c.Token == "":
		return "token"
	case subs != nil && string(subs) != "null":
		return c.slowSubs(subs)
	}
	return ""
}

func (c *Command) slowSubs(subs json.RawMessage) (label string) {
	if subs[0] != '{' {
		return "field"
	}
	at := map[string]int{}
	for n, m := range slowMembers(subs) {
		if n == 128 {
			return "subs"
		}
		if m.name == "" {
			return "channel"
		}
		s := Sub{Channel: m.name}
		fields := map[string]any{"recover": &s.Recover, "epoch": &s.Since.Epoch, "offset": &s.Since.Offset}
		if string(m.value) != "null" && (m.value[0] != '{' || !slowFields(m.value, fields)) {
			return "field"
		}
		if i, again := at[m.name]; again {
			c.Subs[i] = s
			continue
		}
		at[m.name] = len(c.Subs)
		c.Subs = append(c.Subs, s)
	}
	return ""
}

// slowFields reads members of an object into the variables to which the parameter fields points. It
// returns false if a member is of the wrong type, even if a later member of the same name is of the
// right type.
func slowFields(object json.RawMessage, fields map[string]any) bool {
	for _, m := range slowMembers(object) {
		switch v := fields[m.name].(type) {
		case nil:
		case *[]byte:
			*v = m.value
		default:
			reflect.ValueOf(v).Elem().SetZero()
			if json.Unmarshal(m.value, v) != nil {
				return false
			}
		}
	}
	return true
}

// slowMembers returns the members of a valid JSON object.
func slowMembers(object json.RawMessage) (all []member) {
	d := json.NewDecoder(bytes.NewReader(object))
	_, _ = d.Token() // the opening brace
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			panic(string(object) + " is not valid")
		}
		all = append(all, member{name.(string), value})
	}
	return all
}

// depthOf returns how many levels of arrays and objects valid JSON has.
func depthOf(value json.RawMessage) (deepest int) {
	depth := 0
	for d := json.NewDecoder(bytes.NewReader(value)); ; {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		deepest = max(deepest, depth)
	}
}
