package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/report"
)

// The constant keptMessages is how many messages of a topic the servers keep in the scenario
// resume.
const keptMessages = 5000

// storm is a case of the scenario resume: clients that all come back at once.
type storm struct {
	what    string
	clients int
	topics  func(client int) []load.Topic // topics to which a client is subscribed
	missed  int                           // messages to each topic while the clients are away
	size    int                           // bytes of each message
	// busy says that messages are sent all the time, busyPace a second, also while the clients come
	// back. The field missed does not count then.
	busy bool
	away time.Duration // how long clients of a busy topic are away
}

const busyPace = 500

// The functions below return the names of the cases. The goals in goals_linux.go refer to these
// names.
func hotCase(clients int) string { return fmt.Sprintf("%d sessions come back to one topic", clients) }
func ownCase(clients int) string {
	return fmt.Sprintf("%d sessions come back, each to a topic of its own and to one of 10 members", clients)
}
func busyCase(clients int) string {
	return fmt.Sprintf("%d sessions come back after 5 s to a topic of %d messages a second", clients, busyPace)
}

// The constant comeBack is how many sessions come back in the cases without a busy topic. The
// constant comeBackBusy is that number for the case with a busy topic.
const (
	comeBack     = 10_000
	comeBackBusy = 100
)

// resume lets sessions leave, sends messages that they miss, and lets all of them come back at
// once. The sockets are opened and the connects are answered first. The time runs from the first
// command that asks for what was missed until the last answer. All answers must say that nothing is
// lost, no session may be closed, and the edges of a cluster must keep their links. Other users
// send messages meanwhile.
func resume(ctx context.Context, b *bench, f *form) error {
	n, busy := b.sessions(comeBack), b.sessions(comeBackBusy)
	for _, c := range []storm{
		{what: hotCase(n), clients: n, missed: 100, size: messageSize, topics: func(int) []load.Topic { return []load.Topic{load.Group("hot")} }},
		{what: ownCase(n), clients: n, missed: 3, size: messageSize, topics: func(i int) []load.Topic {
			return []load.Topic{load.Group(fmt.Sprint("own", i)), load.Group(fmt.Sprint("of10-", i/10))}
		}},
		{what: busyCase(busy), clients: busy, size: 100, busy: true, away: 5 * time.Second, topics: func(int) []load.Topic { return []load.Topic{load.Group("busy")} }},
	} {
		keeping := *f
		keeping.start = f.keeps
		before := len(b.rows)
		err := keeping.with(ctx, b, func(s *site, l *load.Loop) error { return b.storm(ctx, s, l, c, b.of("resume", f, c.what)) })
		if err == nil {
			continue
		}
		if f.ours || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		// Another server that fails in one case may do well in the others.
		b.rows = b.rows[:before]
		b.note("%s failed in resume: %s: %v.", f.name, c.what, err)
		b.say("%s", b.notes[len(b.notes)-1])
	}
	return nil
}

// crowd is the state of a storm.
type crowd struct {
	storm
	speakers []*load.Socket
	all      []load.Topic                 // each topic once
	at       map[load.Topic]load.Position // where the clients left
}

func (b *bench) storm(ctx context.Context, s *site, l *load.Loop, c storm, r rows) error {
	w := &crowd{storm: c, at: map[load.Topic]load.Position{}}
	for i := range c.clients {
		for _, t := range c.topics(i) {
			if _, there := w.at[t]; !there {
				w.at[t] = load.Position{}
				w.all = append(w.all, t)
			}
		}
	}
	// A user may send only to a limited number of topics. So there are several users, and each of
	// them sends to some of the topics.
	var err error
	if w.speakers, err = w.open(ctx, s, l, "speaker", 20); err != nil {
		return err
	}
	if err := w.say(ctx, s, l, 1); err != nil {
		return err
	}
	clients, err := w.open(ctx, s, l, "client", c.clients)
	if err != nil {
		return err
	}
	if err := w.subscribe(ctx, l, clients); err != nil {
		return err
	}
	if err := l.Idle(ctx, settled); err != nil {
		return err
	}
	l.Leave(clients...)
	stop := func() error { return nil }
	if c.busy {
		if stop, err = w.talk(ctx, s); err != nil {
			return err
		}
		defer stop()
		err = l.Idle(ctx, c.away)
	} else if err = l.Idle(ctx, settled); err == nil {
		err = w.say(ctx, s, l, c.missed)
	}
	if err != nil {
		return err
	}
	if clients, err = w.open(ctx, s, l, "client", c.clients); err != nil {
		return err
	}
	if err := l.Idle(ctx, settled); err != nil {
		return err
	}
	o, err := startOthers(ctx, s)
	if err != nil {
		return err
	}
	defer o.end()
	if err := l.Idle(ctx, time.Second); err != nil {
		return err
	}
	links := s.cluster.links(ctx)
	o.storm.Store(true)
	if err := b.comesBack(ctx, s, l, w, clients, r); err != nil {
		return err
	}
	if err := o.end(); err != nil {
		return fmt.Errorf("others: %w", err)
	}
	o.rows(r)
	if now := s.cluster.links(ctx); now != links {
		return fmt.Errorf("the edges had linked %v times before, and %v times afterwards", links, now)
	}
	return stop()
}

// bench.comesBack lets the sessions ask for what they missed, and adds the rows.
func (b *bench) comesBack(ctx context.Context, s *site, l *load.Loop, w *crowd, clients []*load.Socket, r rows) error {
	least := w.missed
	if w.busy {
		least = int(w.away.Seconds() * busyPace * 0.8) // a sender may be late by a little
	}
	before, err := s.store.Info()
	if err != nil {
		return err
	}
	var took []time.Duration
	publications, began := 0, time.Time{}
	asks := make([]*load.Ask, len(clients))
	for i, socket := range clients {
		a := &load.Ask{Of: socket, Answer: `{"id":`}
		for k, t := range w.topics(i) {
			a.Commands = append(a.Commands, load.Resume(k+2, t, w.at[t]))
		}
		a.Heard = func(answer []byte) error {
			n, err := load.Recovered(answer, least)
			publications += n
			took = append(took, time.Since(began))
			return err
		}
		asks[i] = a
	}
	t, err := s.during(func() error {
		began = time.Now()
		return l.Ask(ctx, 2, asks...)
	})
	if err != nil {
		return err
	}
	after, err := s.store.Info()
	if err != nil {
		return err
	}
	slices.Sort(took)
	read := after.Since(before, "lrange", "xrange", "xrevrange")
	n := len(clients)
	r.add(untilLast, "ms", took[len(took)-1].Seconds()*1000, 0)
	r.add("the same, until the median answer", "ms", report.Percentile(took, 0.5).Seconds()*1000, 0)
	r.cpu("resume", t, n, 0)
	if s.cluster != nil {
		r.add("CPU per resume, edge", "µs", micros(t.by["edge"], n), 0)
		r.add("CPU per resume, relay", "µs", micros(t.by["relay"], n), 0)
	}
	r.add("CPU of Redis per resume", "µs", micros(t.redis, n), 0)
	r.add("messages per resume", "", float64(publications)/float64(n), 0)
	r.add("LRANGE and XRANGE in Redis, those in scripts included", "", float64(read), 0)
	// A busy topic has many pages of history, and each page takes several of these commands. So
	// this check is not for the busy topic.
	if s.cluster != nil && len(w.all) == 1 && !w.busy && read > n/10 {
		return fmt.Errorf("the history of one topic was read by %d commands for %d sessions", read, n)
	}
	return nil
}

const untilLast = "from the first command until the last answer"

// crowd.open opens sessions that are connected and subscribed to nothing.
func (w *crowd) open(ctx context.Context, s *site, l *load.Loop, name string, n int) ([]*load.Socket, error) {
	return l.Open(ctx, n, func(i int) (string, load.Opening) {
		o, _ := s.form.dialect.Send(fmt.Sprint(name, i), load.Group("hot"))
		return s.addr(i), o
	})
}

// crowd.subscribe subscribes each session to its topics. It sets the positions of all topics.
func (w *crowd) subscribe(ctx context.Context, l *load.Loop, clients []*load.Socket) error {
	asks := make([]*load.Ask, len(clients))
	for i, socket := range clients {
		a, topics := &load.Ask{Of: socket, Answer: `{"id":`}, w.topics(i)
		for k, t := range topics {
			a.Commands = append(a.Commands, load.Subscribe(k+2, t))
		}
		next := 0 // with a window of 1, answers come in the order of the commands
		a.Heard = func(answer []byte) (err error) {
			w.at[topics[next]], err = load.At(answer)
			next++
			return err
		}
		asks[i] = a
	}
	return l.Ask(ctx, 1, asks...)
}

// crowd.say sends n messages to each topic.
func (w *crowd) say(ctx context.Context, s *site, l *load.Loop, n int) error {
	asks := make([]*load.Ask, len(w.speakers))
	for i := range asks {
		asks[i] = &load.Ask{Of: w.speakers[i], Answer: `{"id":`}
	}
	for i, t := range w.all {
		a := asks[i%len(asks)]
		for range n {
			a.Commands = append(a.Commands, w.message(s, t))
		}
	}
	return l.Ask(ctx, 8, asks...)
}

// crowd.message returns the command that sends a message to a topic.
func (w *crowd) message(s *site, t load.Topic) string {
	_, wrap := s.form.dialect.Send("", t)
	return wrap.Before + strings.Repeat("x", w.size) + wrap.After
}

// crowd.talk sends busyPace messages a second to the topic, by a session of its own in a goroutine.
// The returned function ends the sending, and may be called twice.
func (w *crowd) talk(ctx context.Context, s *site) (stop func() error, err error) {
	l, err := load.NewLoop(s.form.dialect)
	if err != nil {
		return nil, err
	}
	speaker, err := w.open(ctx, s, l, "busy", 1)
	if err != nil {
		l.Close()
		return nil, err
	}
	talking, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer l.Close()
		const every = 20 * time.Millisecond
		var commands []string
		for range busyPace * int(every) / int(time.Second) {
			commands = append(commands, w.message(s, w.all[0]))
		}
		for due := time.Now(); talking.Err() == nil; due = due.Add(every) {
			if err := l.Ask(ctx, len(commands), &load.Ask{Of: speaker[0], Commands: commands, Answer: `{"id":`}); err != nil {
				ended <- err
				return
			}
			if err := l.Idle(ctx, time.Until(due.Add(every))); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	stopped := false
	return func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}, nil
}
