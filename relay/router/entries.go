package router

// entries is the order of a lane: a list through its frames, which any of them can leave at no cost, however many wait before and behind it.
type entries struct {
	first, last *frame
	unsent      *frame // the first that is to be given to the broker; nil: there is none
	ungiven     *frame // while the broker is away: the first that is to be given ahead; nil: there is none
}

// add puts a frame at the end.
func (es *entries) add(fr *frame) {
	if fr.before = es.last; es.last != nil {
		es.last.behind = fr
	} else {
		es.first = fr
	}
	es.last = fr
	if es.unsent == nil {
		es.unsent = fr
	}
	if es.ungiven == nil {
		es.ungiven = fr
	}
}

// remove takes a frame out, which keeps no others alive.
func (es *entries) remove(fr *frame) {
	before, behind := fr.before, fr.behind
	fr.before, fr.behind = nil, nil
	if before != nil {
		before.behind = behind
	} else {
		es.first = behind
	}
	if behind != nil {
		behind.before = before
	} else {
		es.last = before
	}
	if es.unsent == fr {
		es.unsent = behind
	}
	if es.ungiven == fr {
		es.ungiven = behind
	}
}
