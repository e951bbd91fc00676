package load

import "context"

// Ask holds commands of one session. The server answers each command with a text that begins with
// the field Answer. Until the last answer, no message of a stream may be on its way to the session.
type Ask struct {
	Of       *Socket
	Commands []string
	Answer   string
	// Heard is called with each answer, if it is not nil. It must not keep the answer.
	Heard func(answer []byte) error

	sent, answered int
}

// Ask sends the commands of all sessions. The window bounds how many commands of a session are
// unanswered at any time. Ask returns when all commands are answered.
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

// Loop.command sends the session's next command, if there is one.
func (l *Loop) command(a *Ask) error {
	if a.sent == len(a.Commands) {
		return nil
	}
	a.sent++
	return l.send(a.Of, AppendFrame(nil, OpText, []byte(a.Commands[a.sent-1])))
}

// Loop.answer handles the answer to one command.
func (l *Loop) answer(a *Ask, text []byte) error {
	if a.Heard != nil {
		if err := a.Heard(text); err != nil {
			return err
		}
	}
	if a.answered++; a.answered > a.sent {
		return wrong("%s: %d answers to %d commands", a.Of.name, a.answered, a.sent)
	}
	l.deliveries++ // so that Loop.await sees that something has arrived
	return l.command(a)
}
