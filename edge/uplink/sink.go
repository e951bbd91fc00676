package uplink

import (
	"fmt"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// HandleFrame implements link.Sink. On a link that is being left, it ignores frames other than
// publications, gaps, costs and topic numbers.
func (l *Link) HandleFrame(t link.Type, body []byte) error {
	l.feed.BeginBatch()
	if !l.sdk && onlyWithSDK(t) {
		return fmt.Errorf("frame %v on a link without its feature", t)
	}
	switch t {
	case link.TypeTopic:
		return handle(body, link.ParseTopicNumber, l.feed.Topic)
	case link.TypeUntopic:
		return handle(body, link.ParseUntopic, l.feed.Untopic)
	case link.TypePublication:
		return handle(body, l.names.ParsePublication, l.feed.Publication)
	case link.TypeForms:
		return handle(body, l.names.ParseForms, l.feed.Forms)
	case link.TypeGap:
		return handle(body, link.ParseGap, l.feed.Gap)
	case link.TypeCost:
		return handle(body, link.ParseCost, l.feed.Cost)
	}
	l.links.turn.Lock()
	defer l.links.turn.Unlock()
	if !l.inUse() {
		return nil
	}
	return l.handleInTurn(t, body)
}

// handleInTurn handles the frames that HandleFrame ignores on a link that is being left. Frames
// that change memberships or finish numbers are among them. The caller holds Links.turn.
func (l *Link) handleInTurn(t link.Type, body []byte) error {
	switch t {
	case link.TypeOpened:
		return handle(body, link.ParseOpened, l.feed.Opened)
	case link.TypeJoined:
		return handle(body, link.ParseJoined, func(f link.Joined) { l.feed.Joined(f, l.answer(f.Number, f.Granted)) })
	case link.TypeLeft:
		return handle(body, link.ParseLeft, func(f link.Left) { l.feed.Left(f, l.answer(f.Number, f.Granted)) })
	case link.TypeAnswer:
		return handle(body, link.ParseAnswer, l.handleAnswer)
	// HandleFrame ignores an Ahead on a link that is being left. If such an Ahead counted, its
	// message could overtake earlier messages of the topic, which the new relay has yet to bring.
	case link.TypeAhead:
		return handle(body, link.ParseAhead, l.feed.Ahead)
	case link.TypeGranted:
		return l.handleGranted(body)
	case link.TypeAck:
		return l.handleAck(body)
	case link.TypeDigest:
		return l.handleDigest(body)
	case link.TypeStatus:
		return handle(body, link.ParseStatus, l.handleStatus)
	case link.TypeDrain:
		return handle(body, link.ParseDrain, l.handleDrain)
	case link.TypeLive:
		return handle(body, link.ParseLive, l.handleLive)
	}
	return l.handleSDK(t, body)
}

// EndBatch implements link.Sink. The frames of the batch were handled one by one; now the Feed
// writes to the clients.
func (l *Link) EndBatch() error {
	l.feed.EndBatch()
	return nil
}

func handle[F any](body []byte, parse func([]byte) (F, error), use func(F)) error {
	f, err := parse(body)
	if err == nil {
		use(f)
	}
	return err
}

// answer notes in the log that the message with this number is answered. If the parameter grants is
// true, the message is granted. Otherwise it is finished. The result says whether the client should
// get the answer.
func (l *Link) answer(number uint64, grants bool) bool {
	l.links.mu.Lock()
	first := l.links.log.Answer(number, grants, l.dropped)
	l.links.admission.grant()
	l.links.notify()
	l.links.mu.Unlock()
	if !first {
		l.links.metrics.repeated.Inc()
	}
	return first
}

func (l *Link) handleAnswer(f link.Answer) { l.pass(f, false) }

// pass passes an Answer on, or an Answered, which grants its message. If the message was answered
// before, the text is dropped.
func (l *Link) pass(f link.Answer, grants bool) {
	if l.answer(f.Number, grants) {
		l.links.handler.Answer(f)
	} else if link.IsLong(f.Text) && l.isClient(f.Session) {
		l.sayDrained(link.Drained{Session: f.Session, Bytes: uint64(len(f.Text))})
	}
}

func (l *Link) handleGranted(body []byte) error {
	f, err := link.ParseGranted(body)
	if err != nil {
		return err
	}
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	return l.links.log.Grant(link.Range(f))
}

func (l *Link) handleAck(body []byte) error {
	f, err := link.ParseAck(body)
	if err != nil {
		return err
	}
	l.links.mu.Lock()
	err = l.links.log.Ack(f.Through, f.Finished, l.dropped)
	l.links.admission.grant()
	l.links.notify()
	ended := l.ended
	l.ended = nil
	l.links.mu.Unlock()
	for _, session := range ended {
		l.links.handler.Forget(session)
	}
	return err
}

// dropped is called for each entry that the log has dropped. The caller holds Links.mu.
func (l *Link) dropped(session uint64, end bool) {
	if end {
		l.ended = append(l.ended, session)
		return
	}
	l.links.admission.freed(session)
}

func (l *Link) handleStatus(f link.Status) {
	l.links.mu.Lock()
	same := slices.Equal(l.links.degraded, f.Degraded)
	l.links.degraded = f.Degraded
	l.links.mu.Unlock()
	if len(f.Degraded) == 0 {
		l.feed.BrokerBack()
	}
	if !same {
		l.links.logger.Info("relay status", "degraded", f.Degraded)
	}
}

// handleDrain passes the relay's Drain on. It ignores a second Drain until the edge has received
// the first one from Link.Drain.
func (l *Link) handleDrain(f link.Drain) {
	select {
	case l.drain <- min(time.Duration(f.Window), maxWindow) * time.Millisecond:
	default:
	}
}

// maxWindow is the longest window of a Drain, in milliseconds. A longer window is cut to maxWindow.
const maxWindow = 60_000

func (l *Link) handleLive(link.Live) {
	select {
	case <-l.live:
	default:
		l.feed.Live()
		close(l.live)
	}
}

// handleDigest compares the relay's tables of this edge with the Handler's. A difference ends the
// link, and the edge tells its tables anew on the next link. If either side may lack something that
// is on its way, nothing is compared.
func (l *Link) handleDigest(body []byte) error {
	theirs, err := link.ParseDigest(body)
	if err != nil {
		return err
	}
	ours, comparable := l.links.handler.Digest()
	if !comparable || !l.allTold(theirs.Heard) {
		l.links.metrics.digests.WithLabelValues("skipped").Inc()
		return nil
	}
	ours.Heard = theirs.Heard
	if ours == theirs {
		l.links.metrics.digests.WithLabelValues("equal").Inc()
		return nil
	}
	l.links.metrics.digests.WithLabelValues("different").Inc()
	return &link.CloseError{Code: link.CodeTables, Text: fmt.Sprintf(
		"tables differ: edge has %d sessions (%016x) and %d bindings (%016x), relay %d (%016x) and %d (%016x)",
		ours.Sessions, ours.SessionHash, ours.Bindings, ours.BindingHash,
		theirs.Sessions, theirs.SessionHash, theirs.Bindings, theirs.BindingHash)}
}

// allTold reports whether the relay has heard all Session and Client frames that this link has to
// tell. It returns false if the log has an end of a session. The parameter heard is how many
// Session and Client frames the relay has heard on this link.
func (l *Link) allTold(heard uint64) bool {
	l.links.mu.Lock()
	defer l.links.mu.Unlock()
	return len(l.chunks) == 0 && len(l.added) == 0 && len(l.clients) == 0 && l.told == heard && l.links.log.Ends() == 0
}
