package protocol

import (
	"errors"
	"strconv"
	"unicode/utf8"
)

// Kind is the kind of a Command.
type Kind uint8

const (
	KindOne   Kind = iota + 1 // a direct message to the user Target
	KindJoin                  // join the group Target
	KindGroup                 // a message to the group Target
	KindLeave                 // leave the group Target
	KindAll                   // a broadcast
)

// Command is what a client's frame asks for.
type Command struct {
	Kind   Kind
	Target string // the user or group; passes CheckID; "" for KindAll
	// Msg is valid UTF-8 of 0 to MaxMsg bytes. It is "" for KindJoin and KindLeave.
	Msg string
}

// Topic returns the topic that the command is about.
func (c Command) Topic() Topic {
	switch c.Kind {
	case KindOne:
		return UserTopic(c.Target)
	case KindJoin, KindGroup, KindLeave:
		return GroupTopic(c.Target)
	}
	return All
}

// MaxMsg is the greatest length of a message, in bytes of UTF-8, before rendering and escaping.
const MaxMsg = 1 << 20

// CommandError says why a client's frame is refused. Its Error is the answer to the client. That
// text begins with "error: " and is short whatever the client sent.
type CommandError struct{ text string }

func (e *CommandError) Error() string { return "error: " + e.text }

// ParseCommand reads a frame that a client sent on a session at the endpoint e. The parameter group
// is the session's group, and counts only at EndpointGroup. ParseCommand keeps no reference to
// data.
//
// Every error is a *CommandError. The caller must carry out or answer each valid command.
// ParseCommand ignores the fields that the command does not need, whatever JSON they hold. If a
// field is repeated, the last one counts. The caller must have dropped NUL bytes at the end of a
// binary frame.
func ParseCommand(e Endpoint, group string, data []byte) (Command, error) {
	if !utf8.Valid(data) {
		return Command{}, &CommandError{"the frame is not valid UTF-8"}
	}
	switch e {
	case EndpointChannel:
		return parseMethod(data)
	case EndpointUser:
		return parseOne("the frame", data)
	case EndpointGroup:
		return parseRaw(Command{Kind: KindGroup, Target: group}, data)
	case EndpointAll:
		return parseRaw(Command{Kind: KindAll}, data)
	}
	return Command{}, &CommandError{"nothing can be sent here"}
}

// parseRaw returns c with the whole frame as its message.
func parseRaw(c Command, data []byte) (Command, error) {
	if len(data) > MaxMsg {
		return Command{}, tooLong("the frame")
	}
	c.Msg = string(data)
	return c, nil
}

// parseMethod reads {"Method":…,"Group":…,"MsgBody":…}.
func parseMethod(data []byte) (Command, error) {
	var method, group, body []byte
	err := eachField(data, func(key, value []byte) {
		switch {
		case folds(key, "Method"):
			method = value
		case folds(key, "Group"):
			group = value
		case folds(key, "MsgBody"):
			body = value
		}
	})
	if err != nil {
		return Command{}, notObject("the frame", err)
	}
	kind, err := parseKind(method)
	if err != nil {
		return Command{}, err
	}
	if kind == KindOne {
		if isNull(body) {
			return Command{}, &CommandError{"MsgBody is missing"}
		}
		return parseOne("MsgBody", body)
	}
	c := Command{Kind: kind}
	if kind != KindAll {
		if c.Target, err = parseID("Group", group); err != nil {
			return Command{}, err
		}
	}
	if kind == KindJoin || kind == KindLeave {
		return c, nil
	}
	if c.Msg, err = parseMsg("MsgBody", body); err != nil {
		return Command{}, err
	}
	return c, nil
}

// parseKind reads the value of Method.
func parseKind(method []byte) (Kind, error) {
	if isNull(method) {
		return KindAll, nil
	}
	if !isString(method) {
		return 0, unknownMethod(string(bounded(method)))
	}
	switch s := unquote(method); s {
	case "One":
		return KindOne, nil
	case "UserGroup":
		return KindJoin, nil
	case "Group":
		return KindGroup, nil
	case "LeaveGroup":
		return KindLeave, nil
	case "All", "":
		return KindAll, nil
	default:
		return 0, unknownMethod(string(bounded([]byte(s))))
	}
}

// parseOne reads {"Id":…,"Msg":…}. In error texts this object has the given name.
func parseOne(name string, data []byte) (Command, error) {
	var id, msg []byte
	err := eachField(data, func(key, value []byte) {
		switch {
		case folds(key, "Id"):
			id = value
		case folds(key, "Msg"):
			msg = value
		}
	})
	if err != nil {
		return Command{}, notObject(name, err)
	}
	c := Command{Kind: KindOne}
	if c.Target, err = parseID("Id", id); err != nil {
		return Command{}, err
	}
	if c.Msg, err = parseMsg("Msg", msg); err != nil {
		return Command{}, err
	}
	return c, nil
}

// parseID reads the value of a field that names a user or a group. The value is a string, or a
// number whose literal text is the id.
func parseID(field string, value []byte) (string, error) {
	if isNull(value) {
		return "", &CommandError{field + " is missing"}
	}
	if !isString(value) && !isNumber(value) {
		return "", &CommandError{field + " must be a string or a number"}
	}
	id := literal(value)
	if err := CheckID(id); err != nil {
		return "", &CommandError{field + " " + err.Error()}
	}
	return id, nil
}

// parseMsg reads the value of a field that holds a message. The value null counts as missing. A
// string is the message itself. For any other value, the message is the value as compact JSON.
func parseMsg(field string, value []byte) (string, error) {
	if isNull(value) {
		return "", &CommandError{field + " is missing"}
	}
	msg := literal(value)
	if len(msg) > MaxMsg {
		return "", tooLong(field)
	}
	return msg, nil
}

func tooLong(name string) error {
	return &CommandError{name + " must be at most " + strconv.Itoa(MaxMsg) + " bytes"}
}

func notObject(name string, err error) error {
	if errors.Is(err, errNotObject) {
		return &CommandError{name + " must be a JSON object"}
	}
	return &CommandError{name + " is malformed JSON"}
}

func unknownMethod(s string) error { return &CommandError{"unknown method " + strconv.Quote(s)} }

// bounded shortens a client's text that is quoted back to the client. It cuts a text of more than
// 64 bytes, and adds an ellipsis. The cut is between two characters, at 64 bytes or shortly before.
func bounded(b []byte) []byte {
	const limit = 64
	if len(b) <= limit {
		return b
	}
	n := limit
	for !utf8.RuneStart(b[n]) {
		n--
	}
	return append(b[:n:n], "…"...)
}
