package token

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Allow is a set of actions that a token permits on channels.
type Allow uint8

// The actions, by the words of the claim "caps". Relays let edges keep these values: never change
// them.
const (
	AllowSubscribe Allow = 1 << iota // "sub": to subscribe
	AllowPublish                     // "pub": to publish
	AllowHistory                     // "hst": to ask for history
	AllowPresence                    // "prs": to ask who is there

	// AllowAll is what a name in the claims "channels" and "subs" permits.
	AllowAll = AllowSubscribe | AllowPublish | AllowHistory | AllowPresence
)

var allowWords = map[string]Allow{
	"sub": AllowSubscribe, "pub": AllowPublish, "hst": AllowHistory, "prs": AllowPresence,
}

// Cap permits some actions on the channel that it names, or on all channels whose names have a
// prefix.
type Cap struct {
	Name   string // Unicode that need not be a valid name, nor a part of one
	Prefix bool   // Name is a prefix
	Allow  Allow  // may be empty
}

// readCaps reads the claim "caps": a list of objects. Each has "channels", a list of names, and
// "allow", a list of words. A name that ends with a star is a prefix. The member "match" may be
// there if it says "wildcard", which says the same. What is not understood refuses the token: it
// must not permit more, or less, than its maker wanted.
func (m members) readCaps(into *[]Cap) error {
	value := m.get("caps")
	if value == nil {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil {
		return Fault{Text: "caps is no list of objects"}
	}
	for _, one := range list {
		caps, err := readCap(one)
		if err != nil {
			return err
		}
		if *into = append(*into, caps...); len(*into) > MaxCaps {
			return Fault{Text: fmt.Sprintf("caps has more than %d names", MaxCaps)}
		}
	}
	return nil
}

// readCap reads one object of the claim "caps".
func readCap(text json.RawMessage) (caps []Cap, err error) {
	if text[0] != '{' {
		return nil, Fault{Text: "caps is no list of objects"}
	}
	m, err := membersOf(text)
	if err != nil {
		return nil, err
	}
	var match string
	if m.readText("match", &match) != nil || match != "" && match != "wildcard" {
		return nil, Fault{Text: `caps has a match other than "wildcard"`}
	}
	words, err := m.texts("allow")
	if err != nil {
		return nil, Fault{Text: "caps has an allow that is no list of strings"}
	}
	var allow Allow
	for _, word := range words {
		if allowWords[word] == 0 {
			return nil, Fault{Text: "caps allows something else than sub, pub, hst and prs"}
		}
		allow |= allowWords[word]
	}
	names, err := m.texts("channels")
	if err != nil {
		return nil, Fault{Text: "caps has channels that are no list of strings"}
	}
	for _, name := range names {
		name, prefix := strings.CutSuffix(name, "*")
		if strings.Contains(name, "*") {
			return nil, Fault{Text: "caps has a * that is not at the end of a name"}
		}
		caps = append(caps, Cap{name, prefix, allow})
	}
	return caps, nil
}

// texts returns the strings of a list, or none if the member is null or absent.
func (m members) texts(name string) ([]string, error) {
	value := m.get(name)
	if value == nil {
		return nil, nil
	}
	return unquoteAll(value)
}
