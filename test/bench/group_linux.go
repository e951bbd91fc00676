package main

import (
	"context"
	"fmt"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// speaker is a session that sends to a topic, and the sessions that receive its messages.
type speaker struct {
	socket    *load.Socket
	wrap      load.Wrap
	listeners []*load.Socket
}

// speaker.stream returns a new stream from the speaker to its listeners. From then on the listeners
// receive only this stream.
func (s speaker) stream(l *load.Loop, size, window int) *load.Stream {
	stream := l.Stream(s.socket, s.wrap, size, window)
	for _, listener := range s.listeners {
		listener.Hear(stream)
	}
	return stream
}

// openGroup opens one session that sends to a topic and other sessions that receive from the topic.
// All these sessions are spread over the servers.
func openGroup(ctx context.Context, s *site, l *load.Loop, topic load.Topic, members int) (sp speaker, err error) {
	err = sp.more(ctx, s, l, topic, members)
	return sp, err
}

// speaker.more opens sessions until the topic has the given number of members, including the
// speaker. The new members receive no stream yet.
func (sp *speaker) more(ctx context.Context, s *site, l *load.Loop, topic load.Topic, members int) error {
	there := len(sp.listeners)
	if sp.socket != nil {
		there++
	}
	sockets, err := l.Open(ctx, members-there, func(i int) (string, load.Opening) {
		opening, wrap := member(s, topic, there+i)
		if there+i == 0 {
			sp.wrap = wrap
		}
		return s.addr(there + i), opening
	})
	if err != nil {
		return err
	}
	if sp.socket == nil {
		sp.socket, sockets = sockets[0], sockets[1:]
	}
	sp.listeners = append(sp.listeners, sockets...)
	return l.Idle(ctx, settled)
}

// openGroups opens many groups. The members of each group are spread over the servers, and so are
// the groups' speakers.
func openGroups(ctx context.Context, s *site, l *load.Loop, groups, members int) ([]speaker, error) {
	speakers := make([]speaker, groups)
	sockets, err := l.Open(ctx, groups*members, func(i int) (string, load.Opening) {
		group, index := i/members, i%members
		opening, wrap := member(s, load.Group(fmt.Sprint("g", group)), index)
		if index == 0 {
			speakers[group].wrap = wrap
		}
		return s.addr(group + index), opening
	})
	if err != nil {
		return nil, err
	}
	for g := range speakers {
		of := sockets[g*members : (g+1)*members]
		speakers[g].socket, speakers[g].listeners = of[0], of[1:]
	}
	return speakers, l.Idle(ctx, settled)
}

// member returns the opening of the session that has the given index among a topic's sessions. The
// session with index 0 sends, and the Wrap is for its messages. Other sessions have no Wrap.
func member(s *site, topic load.Topic, index int) (load.Opening, load.Wrap) {
	user := fmt.Sprintf("%s%s-%d", topic.Kind, topic.Name, index)
	if index == 0 {
		return s.form.dialect.Send(user, topic)
	}
	return s.form.dialect.Receive(user, topic), load.Wrap{}
}
