package token

import (
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// PublicKeys are the public keys that verify tokens. They are read from files, and fetched from the
// JWK Set of an identity provider. While Run runs, they change as the files and the set do. All
// methods but Run may be called by several goroutines, and none of them blocks.
type PublicKeys struct {
	sources Sources
	keys    atomic.Pointer[[]publicKey] // of all files and of the set
	set     atomic.Pointer[SetState]
	wanted  chan struct{} // from lookups to Run; never closed
	ahead   ahead

	// Owned by OpenKeys, and then by Run.
	files   [][]publicKey // by file
	broken  []bool        // by file: its last reading has failed
	fetched []publicKey
}

// Sources say where public keys are.
type Sources struct {
	Files  Files
	Set    SetURL       // empty: there is no JWK Set
	Client *http.Client // for Set; nil: a client that trusts the system's authorities
	Log    *slog.Logger // not nil
}

// SetState says how the last fetches of a JWK Set ended.
type SetState struct {
	Fetched time.Time // end of the last fetch that succeeded; zero: none has
	Keys    int       // how many keys of the set are in use
	Err     error     // of the last fetch; nil if it succeeded
	Failed  uint64    // fetches that failed, since the start
	Done    uint64    // fetches that succeeded, since the start
}

const (
	// readEvery is the time between two readings of the files.
	readEvery = 10 * time.Second
	// fetchEvery is the time between two fetches, if nobody wants one. A key that the provider has
	// withdrawn verifies new tokens for so long. A tenth of it is random, so that many processes
	// do not fetch at the same moment.
	fetchEvery = 5 * time.Minute
	// fetchGap is the least time between the begins of two fetches. Tokens with unknown kids cause
	// fetches, and anybody can make such tokens. A fetch brings all keys of the set. So the fetch
	// for a forged kid brings the key of a rotation too, if it begins after the rotation. A token
	// with a new key waits for fetchGap and a fetch at most, whoever else forges kids.
	fetchGap = 10 * time.Second
	// fetchTimeout bounds one fetch.
	fetchTimeout = 5 * time.Second
	// keepFor is how long the keys of a set are used while no fetch succeeds. Whoever keeps a
	// provider from being reached cannot keep a withdrawn key in use for longer.
	keepFor = 24 * time.Hour
)

// OpenKeys reads the files. It fails if one of them cannot be read. It does not fetch the set.
func OpenKeys(s Sources) (*PublicKeys, error) {
	p := &PublicKeys{sources: s, wanted: make(chan struct{}, 1), files: make([][]publicKey, len(s.Files)), broken: make([]bool, len(s.Files))}
	if p.sources.Client == nil {
		p.sources.Client = &http.Client{}
	}
	client := *p.sources.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.sources.Client = &client
	p.set.Store(&SetState{})
	for i, f := range s.Files {
		read, err := f.readFile()
		if err != nil {
			return nil, err
		}
		p.files[i] = keysOf(f, read)
	}
	p.publish()
	return p, nil
}

func keysOf(f File, read []crypto.PublicKey) []publicKey {
	keys := make([]publicKey, len(read))
	for i, key := range read {
		keys[i] = publicKey{id: f.ID, key: key}
	}
	return keys
}

// publish makes lookups see p.files and p.fetched.
func (p *PublicKeys) publish() {
	var all []publicKey
	for _, keys := range p.files {
		all = append(all, keys...)
	}
	all = append(all, p.fetched...)
	p.keys.Store(&all)
}

// State returns how the last fetches of the set ended.
func (p *PublicKeys) State() SetState { return *p.set.Load() }

// Stale reports whether there is a JWK Set whose last fetch has failed, or that was not fetched
// yet. PublicKeys that are nil have no set.
func (p *PublicKeys) Stale() bool {
	return p != nil && p.sources.Set != "" && (p.State().Err != nil || p.State().Done == 0)
}

// Kids returns the kids of the keys of the set that are in use. PublicKeys that are nil have none.
func (p *PublicKeys) Kids() (kids []string) {
	if p == nil {
		return nil
	}
	for _, k := range *p.keys.Load() {
		if k.fetched {
			kids = append(kids, k.id)
		}
	}
	return kids
}

// Cause returns why the last fetch of the set has failed. It returns "" if it has not failed.
func (p *PublicKeys) Cause() string {
	if p == nil || p.State().Err == nil {
		return ""
	}
	return p.State().Err.Error()
}

// Run reads the files again and again, and fetches the set. It returns when ctx is done. It may be
// called once.
func (p *PublicKeys) Run(ctx context.Context) error {
	read := time.NewTicker(readEvery)
	defer read.Stop()
	fetch := time.NewTimer(0)
	defer fetch.Stop()
	if p.sources.Set == "" {
		fetch.Stop()
	}
	var began time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-read.C:
			p.readFiles()
		case <-p.wanted:
			fetch.Reset(max(0, fetchGap-time.Since(began)))
		case <-fetch.C:
			began = time.Now()
			select { // this fetch is for all who have wanted one until now
			case <-p.wanted:
			default:
			}
			if p.fetch(ctx) {
				fetch.Reset(fetchEvery - rand.N(fetchEvery/10))
			} else {
				fetch.Reset(fetchGap + rand.N(fetchGap/2))
			}
		}
	}
}

// want asks Run to fetch the set. Without a set it has no effect: files are read often enough.
func (p *PublicKeys) want() {
	if p.sources.Set == "" {
		return
	}
	select {
	case p.wanted <- struct{}{}:
	default:
	}
}

// readFiles reads the files again. A file that cannot be read keeps its keys: perhaps it is being
// written at the moment.
func (p *PublicKeys) readFiles() {
	for i, f := range p.sources.Files {
		read, err := f.readFile()
		if err != nil && !p.broken[i] {
			p.sources.Log.Warn("a file of JWT_PUBLIC_KEYS cannot be read, and its last keys are used", "err", err)
		}
		if p.broken[i] = err != nil; err != nil {
			continue
		}
		if keys := keysOf(f, read); !same(keys, p.files[i]) {
			p.files[i] = keys
			p.publish()
			p.sources.Log.Info("a file of JWT_PUBLIC_KEYS has other keys", "path", f.Path, "keys", len(keys))
		}
	}
}

// same reports whether two lists have the same keys in the same order.
func same(a, b []publicKey) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		equal, ok := a[i].key.(interface{ Equal(crypto.PublicKey) bool })
		if a[i].id != b[i].id || a[i].alg != b[i].alg || !ok || !equal.Equal(b[i].key) {
			return false
		}
	}
	return true
}

var errTimeout = fmt.Errorf("no answer within %v", fetchTimeout)

// fetch fetches the set, and reports whether that has succeeded. If not, the last keys stay in use
// for keepFor.
func (p *PublicKeys) fetch(ctx context.Context) bool {
	limited, cancel := context.WithTimeoutCause(ctx, fetchTimeout, errTimeout)
	defer cancel()
	keys, err := fetchSet(limited, p.sources.Client, p.sources.Set)
	if err != nil && context.Cause(limited) == errTimeout {
		err = errTimeout
	}
	if ctx.Err() != nil {
		return false
	}
	state := p.State()
	log := p.sources.Log.With("url", string(p.sources.Set))
	if err == nil {
		if state.Err != nil || !same(keys, p.fetched) {
			log.Info("the keys of JWT_JWKS_URL are known", "keys", len(keys))
		}
		p.fetched = keys
		state = SetState{Fetched: time.Now(), Keys: len(keys), Failed: state.Failed, Done: state.Done + 1}
	} else {
		if time.Since(state.Fetched) > keepFor {
			p.fetched, state.Keys = nil, 0
		}
		state.Err, state.Failed = err, state.Failed+1
		log.Warn("the keys of JWT_JWKS_URL cannot be fetched: tokens with other keys are not judged until they are",
			"err", err, "keys", state.Keys)
	}
	p.publish()
	p.set.Store(&state)
	return err == nil
}

// find returns the keys that may have signed a token with this header. The result known says
// whether a key has the token's kid, whatever the key is for.
func (p *PublicKeys) find(h header) (keys []publicKey, known bool) {
	if p == nil {
		return nil, false
	}
	return findIn(*p.keys.Load(), h)
}

// findIn is find in the given list of keys.
func findIn(all []publicKey, h header) (keys []publicKey, known bool) {
	for _, k := range all {
		switch {
		case h.named && k.id == h.kid:
			known = true
		case h.named && k.id != "", !h.named && k.fetched:
			continue
		}
		if fits(h.alg, k.key) && (k.alg == "" || k.alg == h.alg) {
			keys = append(keys, k)
		}
	}
	return keys, known
}
