package redisbroker

import "time"

// pace is how much goes into one round trip: less while they take long, so that answers come when they arrive and little is lost with a
// connection; more while they are quick. It begins with the least.
type pace struct {
	least, most, now int
}

// A round trip is to take between these, if what it carries can bring that about.
const (
	paceQuick = 250 * time.Millisecond
	paceSlow  = time.Second
)

func newPace(least, most int) pace { return pace{least, most, least} }

// took notes that a round trip with so much in it took so long. A small one says nothing of larger ones.
func (p *pace) took(much int, d time.Duration) {
	switch {
	case d > paceSlow:
		p.now = max(p.now/2, p.least)
	case d < paceQuick && much > p.now/2:
		p.now = min(p.now*2, p.most)
	}
}

// failed notes that one was not answered.
func (p *pace) failed() { p.took(0, paceSlow+1) }
