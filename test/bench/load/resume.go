package load

import (
	"bytes"
	"fmt"
)

// Position is a place in a topic's history. Its fields have the texts that a server gave.
type Position struct{ Epoch, Offset string }

// Subscribe returns the command that subscribes to a topic. It is for the protocol of Centrifugo's
// SDKs, which Centrifugo and edgerelay speak. The topic's Kind must be group.
func Subscribe(id int, t Topic) string {
	return fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"%s","flag":1}}`, id, t.channel())
}

// Resume returns the command of Subscribe with one addition: the command also asks for all that
// came after a position.
func Resume(id int, t Topic, after Position) string {
	return fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"%s","recover":true,"epoch":"%s","offset":%s,"flag":1}}`,
		id, t.channel(), after.Epoch, after.Offset)
}

// At returns the position in the answer to a Subscribe.
func At(answer []byte) (p Position, err error) {
	_, epoch, named := bytes.Cut(answer, []byte(`"epoch":"`))
	epoch, _, _ = bytes.Cut(epoch, []byte(`"`))
	if !named || len(epoch) == 0 {
		return p, fmt.Errorf("a subscribe is answered without a position: %.200s", answer)
	}
	p = Position{string(epoch), "0"} // an offset that is zero is left out
	if _, offset, named := bytes.Cut(answer, []byte(`"offset":`)); named {
		end := bytes.IndexFunc(offset, func(c rune) bool { return c < '0' || c > '9' })
		p.Offset = string(offset[:max(0, end)])
	}
	return p, nil
}

// Recovered returns an error if the answer to a Resume does not say that everything is there, or if
// the answer has fewer publications than the argument least. It returns how many publications the
// answer has.
func Recovered(answer []byte, least int) (publications int, err error) {
	publications = bytes.Count(answer, []byte(`"data":`))
	if !bytes.Contains(answer, []byte(`"recovered":true`)) || publications < least {
		return 0, wrong("a resume is answered with %d publications, want %d, all of them: %.200s … %s",
			publications, least, answer, answer[max(0, len(answer)-200):])
	}
	return publications, nil
}
