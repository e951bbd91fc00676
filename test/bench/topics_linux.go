package main

import (
	"context"
	"fmt"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// The constant talkers is the number of members that share the topics, and also the number of their
// partners. With fewer talkers, the bench could exceed two limits of the product: a session may be
// in 1,000 topics, and a user may address 4,096 topics through one edge within two minutes.
const talkers = 200

// topics are groups with one member each. Each member has a partner on the other edge. The partner
// can join the member's groups in order to send messages there.
type topics struct {
	s                 *site
	l                 *load.Loop
	members, partners []*load.Socket
	count             int
}

func openTopics(ctx context.Context, s *site, l *load.Loop) (t *topics, err error) {
	t = &topics{s: s, l: l}
	open := func(kind string, edge int) ([]*load.Socket, error) {
		return l.Open(ctx, talkers, func(i int) (string, load.Opening) {
			return s.addr(i + edge), s.form.dialect.Session(fmt.Sprint(kind, i))
		})
	}
	if t.members, err = open("member-", 0); err == nil {
		t.partners, err = open("partner-", 1)
	}
	return t, err
}

// topics.more makes members join further topics, until the given number of topics have a member.
func (t *topics) more(ctx context.Context, count int) error {
	const atOnce = 8 // commands in flight per member
	asks := make([]*load.Ask, talkers)
	for i := range asks {
		asks[i] = t.ask("member-", i, "UserGroup")
	}
	for ; t.count < count; t.count++ {
		a := asks[t.count%talkers]
		a.Commands = append(a.Commands, groupCommand("UserGroup", t.count))
	}
	return t.l.Ask(ctx, atOnce, asks...)
}

// topics.some returns the indexes of n topics, spread evenly over all topics. If there are fewer
// than n topics, it returns the indexes of all topics.
func (t *topics) some(n int) (topics []int) {
	n = min(n, t.count)
	for i := range n {
		topics = append(topics, i*t.count/n)
	}
	return topics
}

// topics.each sends one command with the given method for each topic of a list. It awaits each
// answer before it sends the next command. If the kind is "member-", the topic's member sends the
// command. If the kind is "partner-", the partner of that member sends it.
func (t *topics) each(ctx context.Context, kind, method string, topics []int) error {
	for _, topic := range topics {
		a := t.ask(kind, topic%talkers, method)
		a.Commands = []string{groupCommand(method, topic)}
		if err := t.l.Ask(ctx, 1, a); err != nil {
			return err
		}
	}
	return nil
}

// topics.ask returns an Ask that has no commands yet. Talker i of the given kind will send the
// commands, and all of them must have the given method.
func (t *topics) ask(kind string, i int, method string) *load.Ask {
	of := t.members
	if kind == "partner-" {
		of = t.partners
	}
	answer := "add to group"
	if method == "LeaveGroup" {
		answer = "leave group"
	}
	return &load.Ask{Of: of[i], Answer: fmt.Sprintf("user 【%s%d】 %s", kind, i, answer)}
}

func groupCommand(method string, topic int) string {
	return fmt.Sprintf(`{"Method":"%s","Group":"%s"}`, method, topicName(topic))
}

func topicName(topic int) string { return fmt.Sprintf("g%06d", topic) }

// topics.streams returns a stream for each member that has some of the given topics. The stream
// goes from the member's partner to the member, and its messages go to these topics in turn. The
// partners must have joined the topics.
func (t *topics) streams(topics []int) (streams []*load.Stream) {
	var wraps [talkers][]load.Wrap
	for _, topic := range topics {
		wraps[topic%talkers] = append(wraps[topic%talkers], load.Wrap{Before: `{"Method":"Group","Group":"` + topicName(topic) + `","MsgBody":"`, After: `"}`})
	}
	for i, of := range wraps {
		if len(of) > 0 {
			stream := t.l.Stream(t.partners[i], of[0], messageSize, 1)
			stream.Among(of)
			t.members[i].Hear(stream)
			streams = append(streams, stream)
		}
	}
	return streams
}
