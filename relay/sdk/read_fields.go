package sdk

import (
	"strconv"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The functions here read one field of a method. They report whether the value is of the right
// type. Any value of an unknown field is of the right type.

func (c *Command) readConnect(key, value []byte) bool {
	switch string(key) {
	case "token":
		return readText(&c.Token, value)
	case "data":
		c.Data = value
	case "name":
		return readText(&c.Name, value)
	case "version":
		return readText(&c.Version, value)
	}
	return true
}

func (c *Command) readSubscribe(key, value []byte) bool {
	switch string(key) {
	case "channel":
		return readText(&c.Channel, value)
	case "token":
		return readText(&c.Token, value)
	case "data":
		c.Data = value
	case "recover":
		return readBool(&c.Recover, value)
	case "epoch", "offset":
		return c.Since.readField(key, value)
	case "positioned":
		return readBool(&c.Positioned, value)
	case "recoverable":
		return readBool(&c.Recoverable, value)
	case "join_leave":
		return readBool(&c.JoinLeave, value)
	case "flag":
		return readInt(&c.Flag, value)
	case "delta":
		return readText(&c.Delta, value)
	case "tf":
		c.Filtered = !isNull(value)
	case "type":
		return readInt(&c.Type, value)
	}
	return true
}

func (c *Command) readHistory(key, value []byte) bool {
	switch string(key) {
	case "channel":
		return readText(&c.Channel, value)
	case "limit":
		return readInt(&c.Limit, value)
	case "since":
		c.HasSince = !isNull(value)
		return c.Since.read(value)
	case "reverse":
		return readBool(&c.Reverse, value)
	}
	return true
}

// readOther reads a field of a method that has no read function of its own.
func (c *Command) readOther(key, value []byte) bool {
	switch m := c.Method; string(key) {
	case "channel":
		return !m.hasChannel() || readText(&c.Channel, value)
	case "token":
		return m != Refresh && m != SubRefresh || readText(&c.Token, value)
	case "data":
		if m == Publish || m == RPC || m == Send {
			c.Data = value
		}
	case "type":
		return m != Publish || readInt(&c.Type, value)
	case "method":
		return m != RPC || readText(&c.Call, value)
	}
	return true
}

// readSubs reads the value of subs: an object whose keys are channels.
func (c *Command) readSubs(value []byte) error {
	if isNull(value) {
		return nil
	}
	n := 0 // keys seen so far, repeated ones included
	var wrong *LineError
	err := protocol.EachField(value, maxDepth, func(key, value []byte) {
		n++
		switch {
		case wrong != nil:
		case n > MaxSubs:
			wrong = errSubs
		case len(key) == 0:
			wrong = errChannel
		default:
			sub := c.sub(key)
			sub.Recover, sub.Since = false, Position{}
			if !sub.read(value) {
				wrong = errField
			}
		}
	})
	if err != nil {
		return errField
	}
	if wrong != nil {
		return wrong
	}
	return nil
}

// sub returns the Sub of a channel. If there is none, sub adds it.
func (c *Command) sub(channel []byte) *Sub {
	for i := range c.Subs {
		if c.Subs[i].Channel == string(channel) {
			return &c.Subs[i]
		}
	}
	c.Subs = append(c.Subs, Sub{Channel: string(channel)})
	return &c.Subs[len(c.Subs)-1]
}

// read reads the value of a channel in subs.
func (s *Sub) read(value []byte) bool {
	return readObject(value, func(key, value []byte) bool {
		if string(key) == "recover" {
			return readBool(&s.Recover, value)
		}
		return s.Since.readField(key, value)
	})
}

func (p *Position) read(value []byte) bool {
	*p = Position{}
	return readObject(value, p.readField)
}

func (p *Position) readField(key, value []byte) bool {
	switch string(key) {
	case "epoch":
		return readText(&p.Epoch, value)
	case "offset":
		return readUint(&p.Offset, value)
	}
	return true
}

// readObject calls f with each field of an object. It returns false if a call of f returns false,
// or if the value is no object. A null counts as an object without fields.
func readObject(value []byte, f func(key, value []byte) bool) bool {
	ok := true
	return isNull(value) || protocol.EachField(value, maxDepth, func(key, value []byte) {
		ok = f(key, value) && ok
	}) == nil && ok
}

// isNull reports whether a raw value is null, or missing.
func isNull(value []byte) bool { return len(value) == 0 || value[0] == 'n' }

// Each of the functions below reads a raw value of one type. It returns false if the value is of
// another type. For a null it stores the zero value and returns true.

func readText(s *string, value []byte) (ok bool) {
	*s = ""
	if !isNull(value) {
		*s, ok = protocol.ReadString(value)
		return ok
	}
	return true
}

func readBool(b *bool, value []byte) bool {
	*b = len(value) > 0 && value[0] == 't'
	return *b || isNull(value) || value[0] == 'f'
}

func readUint[T uint32 | uint64](n *T, value []byte) bool {
	*n = 0
	if isNull(value) {
		return true
	}
	u, err := strconv.ParseUint(string(value), 10, 64)
	*n = T(u)
	return err == nil && uint64(*n) == u
}

func readInt[T int32 | int64](n *T, value []byte) bool {
	*n = 0
	if isNull(value) {
		return true
	}
	i, err := strconv.ParseInt(string(value), 10, 64)
	*n = T(i)
	return err == nil && int64(*n) == i
}
