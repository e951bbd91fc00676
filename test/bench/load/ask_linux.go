package load

import "context"

// Ask is commands of a session, each of which is answered by a text that begins like Answer. No message is on its way to the session meanwhile.
type Ask struct {
	Of       *Socket
	Commands []string
	Answer   string

	sent, answered int
}

// Ask has each session give its commands, as many at once as window says. It returns when all are answered.
func (l *Loop) Ask(ctx context.Context, window int, asks ...*Ask) error {
	for _, a := range asks {
		a.Of.asks = a
		for range window {
			if err := l.command(a); err != nil {
				return err
			}
		}
	}
	defer func() {
		for _, a := range asks {
			a.Of.asks = nil
		}
	}()
	return l.await(ctx, func() (n int) {
		for _, a := range asks {
			n += len(a.Commands) - a.answered
		}
		return n
	})
}

// command gives the next one, if there is one.
func (l *Loop) command(a *Ask) error {
	if a.sent == len(a.Commands) {
		return nil
	}
	a.sent++
	return l.send(a.Of, appendFrame(nil, opText, []byte(a.Commands[a.sent-1])))
}

// answer takes an answer.
func (l *Loop) answer(a *Ask) error {
	if a.answered++; a.answered > a.sent {
		return wrong("%s: %d answers to %d commands", a.Of.name, a.answered, a.sent)
	}
	l.deliveries++ // so that something came
	return l.command(a)
}
