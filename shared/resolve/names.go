// Package resolve finds the addresses of names, and connects to them, also while DNS is slow or
// away.
//
// The source of the addresses is the system's resolver, by way of Go's package net: the hosts file,
// then the nameservers of resolv.conf. If a nameserver is silent, that resolver waits 5 s before it
// asks the next one. resolv.conf may set another time. Edges and relays give most dials up sooner.
// So a look-up goes on when the dial that began it has ended. A look-up may take 30 s, and later
// dials of the same name use its answer too. The answer is kept until a newer answer comes or the
// name is forgotten. The time to live in the answer does not matter. A dial that has an older
// answer waits at most 200 ms for a newer one, and then uses the older one. A and AAAA records are
// looked up apart from each other, since some nameservers answer for only one of the two.
//
// A value of type Names remembers 1,024 names. To remember a further name, it forgets the least
// recently used name that is not being looked up. It looks up at most 128 names at once, with two
// look-ups for each. While 128 names are being looked up, a further name gets its last answer if
// that is remembered, and otherwise an error.
package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// lookupTime bounds one look-up. Search domains may make five names of one name, and a silent
	// nameserver costs 5 s for each of the five. The remaining 5 s are for the nameserver that
	// answers.
	lookupTime = 30 * time.Second
	// patience bounds the wait for a look-up if an address is known already. The time counts from
	// the start of the look-up.
	patience = 200 * time.Millisecond

	maxNames    = 1024
	maxUnderWay = 128 // names with a look-up under way
)

// Lookup is a function that returns the addresses of a name. The network is "ip4" or "ip6". The
// function must return soon after ctx is done.
type Lookup func(ctx context.Context, network, name string) ([]netip.Addr, error)

// families are the networks for which a Lookup can be asked. A family is IPv6 or IPv4. In the
// result of Names.Lookup, addresses of the two families alternate. The first address is of the
// first family, unless the name has no such address.
var families = [...]string{"ip6", "ip4"}

// Names remembers the addresses of names. All its methods may be called concurrently.
type Names struct {
	lookup   Lookup
	ended    context.Context // done after Close
	end      context.CancelFunc
	underWay sync.WaitGroup

	mu    sync.Mutex // guards the following
	names map[string]*name
	busy  int    // names with a look-up under way
	uses  uint64 // number of uses of all names together
}

// name is the entry of one name in Names.names. Names.mu guards it.
type name struct {
	families [len(families)]family
	used     uint64        // Names.uses at the last use
	changed  chan struct{} // closed and replaced when a look-up has ended
}

type family struct {
	began time.Time    // start of the look-up under way; zero: there is none
	addrs []netip.Addr // addresses of the last answer
	err   error        // error of the last look-up; nil: it was answered
}

// New returns an empty Names that finds addresses with lookup. If lookup is nil, the Names asks the
// system's resolver. The caller must call Close.
func New(lookup Lookup) *Names {
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	n := &Names{lookup: lookup, names: make(map[string]*name)}
	n.ended, n.end = context.WithCancel(context.Background())
	return n
}

// Close ends the look-ups that are under way and awaits them. Later look-ups of names fail, even of
// names that are remembered.
func (n *Names) Close() {
	n.mu.Lock()
	n.end()
	n.mu.Unlock()
	n.underWay.Wait()
}

var (
	errAbsent = errors.New("no such host")
	errClosed = errors.New("names are not looked up any more: this process stops")
	errCrowd  = errors.New("too many names are being looked up; is DNS slow or away?")
	errSlow   = errors.New("DNS has not answered yet")
)

// Lookup returns the addresses of host. In this list, IPv6 and IPv4 addresses alternate. If host is
// an IP address, Lookup returns that address. An address is fresh if it comes from the last look-up
// of its family. The error is nil if at least one address is fresh. Otherwise the error says why
// none is fresh, and all addresses come from older answers. After Close, the look-up of a name
// fails. If Close is called during Lookup, there may be an error and addresses of any age.
//
// Lookup waits until each look-up under way has ended. If an address is known already, Lookup does
// not wait for look-ups that have lasted longer than the constant patience. It stops waiting when
// ctx is done or Close is called.
func (n *Names) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	entry, err := n.begin(host)
	if err != nil {
		return nil, failure(host, err)
	}
	for {
		n.mu.Lock()
		addrs, err := entry.answer()
		wait, bounded := entry.wait(len(addrs) > 0)
		changed := entry.changed
		n.mu.Unlock()
		if bounded && wait <= 0 {
			return addrs, failure(host, err)
		}
		var late <-chan time.Time
		if bounded {
			late = time.After(wait)
		}
		select {
		case <-changed:
		case <-late:
		case <-n.ended.Done():
			return addrs, failure(host, errClosed)
		case <-ctx.Done():
			if len(addrs) == 0 {
				err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
			}
			return addrs, failure(host, err)
		}
	}
}

// failure adds the host to err, unless err is an error of the resolver, which names the host
// itself.
func failure(host string, err error) error {
	if err == nil {
		return nil
	}
	if _, named := errors.AsType[*net.DNSError](err); named {
		return err
	}
	return fmt.Errorf("lookup %s: %w", host, err)
}

// begin returns the entry of host. It starts a look-up of host in each family in which none is
// under way. If maxUnderWay other names are being looked up, begin starts no look-up, and fails if
// host is not remembered. It also fails after Close.
func (n *Names) begin(host string) (*name, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended.Err() != nil {
		return nil, errClosed
	}
	entry := n.names[host]
	idle := entry == nil || !entry.busy()
	if entry == nil {
		if n.busy >= maxUnderWay {
			return nil, errCrowd
		}
		n.makeRoomLocked()
		entry = &name{changed: make(chan struct{})}
		n.names[host] = entry
	}
	n.uses++
	entry.used = n.uses
	if idle && n.busy >= maxUnderWay {
		return entry, nil
	}
	if idle {
		n.busy++
	}
	for i := range families {
		if entry.families[i].began.IsZero() {
			entry.families[i].began = time.Now()
			n.underWay.Go(func() { n.run(host, entry, i) })
		}
	}
	return entry, nil
}

// makeRoomLocked makes room for one more name. If maxNames names are remembered, it forgets the
// least recently used name that is not being looked up. There always is such a name, since at most
// maxUnderWay names are being looked up.
func (n *Names) makeRoomLocked() {
	if len(n.names) < maxNames {
		return
	}
	var oldest string
	for host, entry := range n.names {
		if !entry.busy() && (oldest == "" || entry.used < n.names[oldest].used) {
			oldest = host
		}
	}
	delete(n.names, oldest)
}

// run does one look-up of host, in the family with index i, and keeps the answer in entry.
func (n *Names) run(host string, entry *name, i int) {
	ctx, cancel := context.WithTimeout(n.ended, lookupTime)
	defer cancel()
	addrs, err := n.lookup(ctx, families[i], host)
	if absent(err) {
		addrs, err = nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f := &entry.families[i]
	f.began, f.err = time.Time{}, err
	if err == nil {
		f.addrs = addrs
	}
	if !entry.busy() {
		n.busy--
	}
	close(entry.changed)
	entry.changed = make(chan struct{})
}

// absent reports whether err means that there is no such name, or no address of this family. Such
// an error counts as an answer.
func absent(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	if ok {
		return dns.IsNotFound
	}
	_, ok = errors.AsType[*net.AddrError](err) // the hosts file has the other family only
	return ok
}

func (e *name) busy() bool {
	for _, f := range e.families {
		if !f.began.IsZero() {
			return true
		}
	}
	return false
}

// answer returns all known addresses. If none of them comes from the last look-up of its family,
// the result stale says why. Otherwise stale is nil.
func (e *name) answer() (addrs []netip.Addr, stale error) {
	stale = errAbsent
	fresh := false
	for _, f := range e.families {
		switch {
		case !f.began.IsZero():
			stale = errSlow
		case f.err != nil && !errors.Is(stale, errSlow):
			stale = f.err
		case len(f.addrs) > 0:
			fresh = true
		}
	}
	six, four := e.families[0].addrs, e.families[1].addrs
	for i := range max(len(six), len(four)) {
		for _, list := range [][]netip.Addr{six, four} {
			if i < len(list) {
				addrs = append(addrs, list[i].Unmap())
			}
		}
	}
	if fresh {
		stale = nil
	}
	return addrs, stale
}

// wait returns how long to wait for the look-ups under way. The parameter known says whether an
// address is known. If one is known, the wait ends when each look-up has lasted as long as the
// constant patience says. If none is known and a look-up is under way, the result bounded is false:
// the caller must wait until a look-up has ended.
func (e *name) wait(known bool) (rest time.Duration, bounded bool) {
	for _, f := range e.families {
		if !f.began.IsZero() {
			if !known {
				return 0, false
			}
			rest = max(rest, time.Until(f.began.Add(patience)))
		}
	}
	return rest, true
}
