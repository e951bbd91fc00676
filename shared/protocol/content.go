package protocol

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// Greatest lengths of a Content's Client, Info and Tags, in bytes.
const (
	MaxClient = 64
	MaxInfo   = 1 << 10
	MaxTags   = 1 << 10
)

// MaxDataDepth is the deepest nesting of the JSON in a Content. Receivers read that JSON inside
// other JSON. Many parsers have a limit of 1,000 levels or fewer, and refuse a whole text that is
// nested deeper.
const MaxDataDepth = 512

// In the JSON of a Content, a number may have at most MaxDigits digits in a row. Python's parser
// refuses numbers of more than 4,300 digits, and with them all of the text around them.
const MaxDigits = 1000

// Content is what a publication says, and who says it. Every publication has a text, which chat
// clients and original servers show, and data, which is JSON for SDK clients. Msg is the text, and
// AppendData writes the data. The Content of a chat client or of an original server has only From
// and Msg.
//
// The data, Info and Tags are one line of JSON each: they have no line feeds, and no space around
// the value. SetData, SetInfo and SetTags make sure of that.
type Content struct {
	From string // id of the publishing user
	Msg  string // the text, up to MaxMsg bytes of UTF-8
	// JSON says that Msg is also the data. It is false if the data is a string: Msg then has the
	// text of that string, without the quotes.
	JSON bool
	// Raw is the data if it is a string that AppendData could not write exactly from Msg alone.
	// Otherwise Raw is empty.
	Raw    string
	Client string // id of the publishing connection, or empty
	Info   string // what the publisher's token says about the publisher
	Tags   string // an object whose values are strings
}

var (
	errDataJSON   = errors.New("must be JSON, nested at most 512 deep, without numbers of over 1,000 digits")
	errDataLength = errors.New("is too long")
	errTags       = errors.New("must be an object whose values are strings")
	errClient     = errors.New("must be 1 to 64 bytes of printable ASCII")
)

// SetData sets Msg, JSON and Raw from a publisher's data. It drops the space around the JSON value,
// and all line feeds. AppendData then writes exactly the bytes that are left. SetData keeps no
// reference to data.
//
// SetData returns an error if data is not valid UTF-8, is not one JSON value, or is nested deeper
// than MaxDataDepth. It also returns an error if data has a number with more than MaxDigits digits
// in a row, or if more than MaxMsg bytes are left. After an error the Content is unchanged. The
// error's text is a predicate, as in CheckID.
func (c *Content) SetData(data []byte) error {
	data, err := oneLine(data, MaxMsg)
	if err != nil {
		return err
	}
	c.JSON, c.Raw = !isString(data), ""
	if c.JSON {
		c.Msg = string(data)
		return nil
	}
	c.Msg = unquote(data)
	if !quotes(data, c.Msg) {
		c.Raw = string(data)
	}
	return nil
}

// AppendData appends the data. Data that SetData has set has at most MaxMsg bytes. The data of a
// chat client's message is its text as a JSON string, which may be six times as long as the text.
func (c *Content) AppendData(b []byte) []byte {
	switch {
	case c.JSON:
		return append(b, c.Msg...)
	case c.Raw != "":
		return append(b, c.Raw...)
	}
	return AppendQuoted(b, c.Msg)
}

// SetInfo sets Info to a JSON value, without the space around it and without line feeds. The errors
// are those of SetData, with MaxInfo in place of MaxMsg.
func (c *Content) SetInfo(info []byte) error {
	line, err := oneLine(info, MaxInfo)
	if err == nil {
		c.Info = string(line)
	}
	return err
}

// SetTags sets Tags to a JSON object, without the space around it and without line feeds. The
// errors are those of SetData, with MaxTags in place of MaxMsg. SetTags also returns an error if
// tags is no object, or has a value that is no string.
func (c *Content) SetTags(tags []byte) error {
	line, err := oneLine(tags, MaxTags)
	if err == nil && !areTags(line) {
		err = errTags
	}
	if err == nil {
		c.Tags = string(line)
	}
	return err
}

// CheckClient returns nil if s can be a client id: 1 to MaxClient bytes of printable ASCII. The
// error's text is a predicate, as in CheckID.
func CheckClient(s string) error {
	if len(s) == 0 || len(s) > MaxClient {
		return errClient
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return errClient
		}
	}
	return nil
}

// Size returns the number of bytes of all texts in c except From. For a message of the chat, the
// result is the length of Msg.
func (c *Content) Size() int {
	return len(c.Msg) + len(c.Raw) + len(c.Client) + len(c.Info) + len(c.Tags)
}

// oneLine returns the JSON value in data without the space around it and without line feeds. Valid
// JSON has line feeds only between its tokens, so no value changes. The parameter most is the
// greatest length of the result, in bytes. The result may be a part of data.
func oneLine(data []byte, most int) ([]byte, error) {
	if !utf8.Valid(data) {
		return nil, errUTF8
	}
	begin := skipSpace(data, 0)
	end := nestedEnd(data, begin, maxDepth-MaxDataDepth)
	if end < 0 || skipSpace(data, end) != len(data) || hasLongNumber(data[begin:end]) {
		return nil, errDataJSON
	}
	if data = data[begin:end]; bytes.IndexByte(data, '\n') >= 0 {
		data = bytes.ReplaceAll(data, []byte("\n"), nil)
	}
	if len(data) > most {
		return nil, errDataLength
	}
	return data, nil
}

// hasLongNumber reports whether valid JSON has a number with more than MaxDigits digits in a row.
func hasLongNumber(data []byte) bool {
	if len(data) <= MaxDigits {
		return false
	}
	digits, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted, digits = !quoted, 0
		case quoted:
		case '0' <= c && c <= '9':
			if digits++; digits > MaxDigits {
				return true
			}
		default:
			digits = 0
		}
	}
	return false
}

// isOneLine reports whether oneLine accepts data and returns all of it.
func isOneLine(data []byte, most int) bool {
	line, err := oneLine(data, most)
	return err == nil && len(line) == len(data)
}

// quotes reports whether AppendQuoted writes text exactly as raw has it. The parameter raw must be
// a valid JSON string, and text must be what that string means.
func quotes(raw []byte, text string) bool {
	// Only escapes can be written in several ways.
	return bytes.IndexByte(raw, '\\') < 0 || string(AppendQuoted(make([]byte, 0, len(raw)), text)) == string(raw)
}

// areTags reports whether a valid JSON value is an object whose values are strings.
func areTags(value []byte) bool {
	strings := true
	err := eachField(value, func(_, value []byte) { strings = strings && isString(value) })
	return err == nil && strings
}
