package link

import "hash/maphash"

// Names keeps the users that frames of a link have excepted, so that one who is excepted again and again, as who talks is, costs a copy once. It keeps
// some hundreds at most. Its zero value is ready; it is for one caller at a time.
type Names struct {
	kept [256]string // each in the place that its hash says; a later one takes it
}

var namesSeed = maphash.MakeSeed()

// of returns b as a string, and the one that it returned before if it still has it.
func (n *Names) of(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	kept := &n.kept[maphash.Bytes(namesSeed, b)%uint64(len(n.kept))]
	if *kept != string(b) {
		*kept = string(b)
	}
	return *kept
}

// ParsePublication is the function of that name, without a copy of a known Except.
func (n *Names) ParsePublication(body []byte) (Publication, error) {
	f := fields{b: body}
	p := Publication{Topic: f.uvarint(), Position: f.position(), ID: f.eight(), Except: n.of(f.bytes()), Payload: f.rest()}
	return p, f.end("publication")
}
