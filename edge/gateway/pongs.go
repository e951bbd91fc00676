package gateway

import "time"

// pongsPerSecond bounds how many pings of one client are answered.
const pongsPerSecond = 10

// pongCount counts the pongs of the present second.
type pongCount struct {
	second int64
	n      int
}

func (p *pongCount) allow(now time.Duration) bool {
	if second := int64(now / time.Second); second != p.second {
		*p = pongCount{second: second}
	}
	p.n++
	return p.n <= pongsPerSecond
}
