package rules

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/config"
)

// Bounds of what follows "history=" in a rule.
const (
	MaxHistory    = 100_000             // largest size, in publications
	MinHistoryAge = time.Second         // smallest age
	MaxHistoryAge = 30 * 24 * time.Hour // greatest age
)

// AllKept is the result of Rules.Visible for a channel whose clients see all that is kept. It is
// more than anybody keeps.
const AllKept = math.MaxInt32

// history is what a rule says behind "history=". The zero value says nothing.
type history struct {
	given bool
	size  int
	age   time.Duration // 0: that of all channels
}

// Visible returns how many of a channel's newest publications its clients may see. The result is
// AllKept if the rule has no "history=". The result is 0 if clients may see none, or if there is no
// rule for the name. Visible does not allocate.
func (r Rules) Visible(name string) int {
	one := r.of(name)
	switch {
	case one == nil:
		return 0
	case one.history.given:
		return one.history.size
	}
	return AllKept
}

// Kept returns how many publications of a channel are to be kept, and for how long after the last
// one. A result that is less than what the relay keeps of every channel has no effect. A result is
// 0 if the rule does not give it, or if there is no rule for the name. Kept does not allocate.
func (r Rules) Kept(name string) (size int, age time.Duration) {
	if one := r.of(name); one != nil {
		return one.history.size, one.history.age
	}
	return 0, 0
}

// of returns the rule that counts for a name, or nil if there is none.
func (r Rules) of(name string) *rule {
	if strings.HasPrefix(name, Reserved) {
		return nil
	}
	if r.index == nil {
		r = byDefault
	}
	return r.find(name)
}

// parseHistory reads the value of a word such as "history=1000/1h". The result wrong is the text of
// a fault, or "".
func parseHistory(word, value string) (h history, wrong string) {
	h.given = true
	word = config.Quote(word)
	text, age, aged := strings.Cut(value, "/")
	size, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil && (text == "" || strings.Trim(text, "0123456789") != ""):
		return h, word + " is not known: write history= with a number of messages, such as 1000, " +
			"or with a number and a time, such as 1000/1h"
	case err != nil || size > MaxHistory:
		return h, fmt.Sprintf("%s has too many messages: a rule may have %d", word, MaxHistory)
	}
	if h.size = int(size); !aged {
		return h, ""
	}
	if size == 0 {
		return h, word + " shows no messages, and has a time: write history=0, or another number"
	}
	if h.age, err = time.ParseDuration(age); err != nil || h.age < MinHistoryAge || h.age > MaxHistoryAge {
		return h, word + " needs a time from 1s to 720h behind the /, which is 30 days: write it with h, m and s"
	}
	return h, ""
}
