package sdk

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// maxDepth is how many levels of arrays and objects a line may have. It bounds the stack of Read.
const maxDepth = 1000

// LineError says why a line is no command. The session of such a line is closed.
type LineError struct {
	// Close is CloseBadRequest, or CloseChannelLimit for a connect with too many channels.
	Close CloseCode
	// Label is one of channel, field, id, json, method, no_id, subs, token and trailing. It is fit
	// for a metric's label.
	Label  string
	detail string
}

func (e *LineError) Error() string { return "line: " + e.detail }

var (
	errJSON     = &LineError{CloseBadRequest, "json", "no JSON object in UTF-8 of at most " + strconv.Itoa(maxDepth) + " levels"}
	errTrailing = &LineError{CloseBadRequest, "trailing", "something follows the JSON object; a line feed must part two commands"}
	errID       = &LineError{CloseBadRequest, "id", "id is no number from 0 to 4294967295"}
	errNoID     = &LineError{CloseBadRequest, "no_id", "id is missing, and only send needs none"}
	errMethod   = &LineError{CloseBadRequest, "method", "no known method"}
	errField    = &LineError{CloseBadRequest, "field", "a field has a value of the wrong type"}
	errChannel  = &LineError{CloseBadRequest, "channel", "channel is missing"}
	errToken    = &LineError{CloseBadRequest, "token", "token is missing"}
	errSubs     = &LineError{CloseChannelLimit, "subs", "subs has more than " + strconv.Itoa(MaxSubs) + " channels"}
)

// lineErrors has each LineError.
var lineErrors = []*LineError{errJSON, errTrailing, errID, errNoID, errMethod, errField, errChannel, errToken, errSubs}

// Read reads one line of a client: a JSON object without the line feed that ends it. Every error is
// a *LineError. The time that Read takes grows with the line's length. In addition, Read compares
// names up to MaxSubs² times. Read allocates little more than the strings and the list of the
// Command. Command.Data shares memory with line, so the caller must not change line while it uses
// the Command.
//
// Keys may be in any order. Unknown fields are ignored. If a line has several methods, the first in
// the order of Method counts. If a field is repeated, the last one counts. A field that is null
// counts as missing, except data: there null is a value.
//
// Two objects on one line are an error. Centrifugo would drop the second object without a word, and
// the client would wait for a reply in vain. The line {} is also an error. With that line a client
// answers a ping of the edge, and the edge does not forward it.
//
// Read does not judge names of channels and tokens. Command.Refused says which commands are
// answered with an error.
func Read(line []byte) (Command, error) {
	if !utf8.Valid(line) {
		return Command{}, errJSON
	}
	var id []byte
	var bodies [methods][]byte
	err := protocol.EachField(line, maxDepth-1, func(key, value []byte) {
		if string(key) == "id" {
			id = value
		} else if m := methodOf(key); m != 0 {
			bodies[m] = value
		}
	})
	if errors.Is(err, protocol.ErrTrailing) {
		return Command{}, errTrailing
	}
	if err != nil {
		return Command{}, errJSON
	}
	var c Command
	if !readUint(&c.ID, id) {
		return Command{}, errID
	}
	for m := Connect; m < methods && c.Method == 0; m++ {
		if !isNull(bodies[m]) {
			c.Method = m
		}
	}
	if c.ID == 0 && c.Method != Send {
		return Command{}, errNoID
	}
	if c.Method == 0 {
		return Command{}, errMethod
	}
	if err := c.readBody(bodies[c.Method]); err != nil {
		return Command{}, err
	}
	return c, nil
}

// methodOf returns the method of a name, or 0 if there is none.
func methodOf(name []byte) Method {
	for m := Connect; m < methods; m++ {
		if string(name) == methodNames[m] {
			return m
		}
	}
	return 0
}

// readBody reads the value of the method's key. Every error is a *LineError.
func (c *Command) readBody(body []byte) error {
	ok := true
	var subs []byte
	err := protocol.EachField(body, maxDepth, func(key, value []byte) {
		switch c.Method {
		case Connect:
			if string(key) == "subs" {
				subs = value
			} else {
				ok = c.readConnect(key, value) && ok
			}
		case Subscribe:
			ok = c.readSubscribe(key, value) && ok
		case History:
			ok = c.readHistory(key, value) && ok
		default:
			ok = c.readOther(key, value) && ok
		}
	})
	switch {
	case err != nil || !ok:
		return errField
	case c.Method.hasChannel() && c.Channel == "":
		return errChannel
	case c.Method == Refresh && c.Token == "":
		return errToken
	case c.Method == Connect:
		return c.readSubs(subs)
	}
	return nil
}
