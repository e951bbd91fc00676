package token

import (
	"crypto/sha256"
	"sync"
)

// ahead remembers whether signatures are good, for those who judge the same tokens soon after. It
// knows tokens by a hash. What it remembers holds for one list of public keys, and is forgotten
// when the keys change.
type ahead struct {
	mu   sync.Mutex
	keys *[]publicKey // the list for which the rest holds
	good map[[sha256.Size]byte]bool
	next [][sha256.Size]byte // the hashes in good, the oldest first
}

// maxAhead bounds the number of signatures that are remembered, which is some 300 KB of memory.
const maxAhead = 4096

func (a *ahead) remember(keys *[]publicKey, sum [sha256.Size]byte, good bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys != keys || a.good == nil {
		a.keys, a.good, a.next = keys, make(map[[sha256.Size]byte]bool), nil
	}
	if _, known := a.good[sum]; !known {
		if a.next = append(a.next, sum); len(a.next) > maxAhead {
			delete(a.good, a.next[0])
			a.next = a.next[1:]
		}
	}
	a.good[sum] = good
}

func (a *ahead) recall(keys *[]publicKey, sum [sha256.Size]byte) (good, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys != keys {
		return false, false
	}
	good, known = a.good[sum]
	return good, known
}

// VerifyAhead verifies the signature of a token that will be judged soon, and remembers the result
// for that judgement. So a goroutine that must not take long can leave the work to others. A token
// that is not signed with a public key is left out. VerifyAhead does not block.
func (j Judge) VerifyAhead(text string) {
	if j.Public == nil {
		return
	}
	p, err := split(text)
	if err != nil || bySecret(p.header.alg) {
		return
	}
	all := j.Public.keys.Load()
	if keys, _ := findIn(*all, p.header); len(keys) > 0 {
		j.Public.ahead.remember(all, p.sum(), p.signedByAny(keys))
	}
}
