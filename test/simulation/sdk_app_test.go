package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// app is a program with an SDK. It outlives its sessions: after a session has ended, the app comes
// back with another one, at any edge, and asks for what it has missed.
type app struct {
	user     string
	open     bool     // its edges vouch for the user, so it needs no token
	js       bool     // it has the SDK for JavaScript, and otherwise that for Go
	channels []string // channels that its tokens name
	s        *session // its last session
	due      bool     // it is about to come back
	trails   map[protocol.Topic]*trail
}

// trail is an app's part in one channel, over all its sessions.
type trail struct {
	// These fields are what an SDK keeps of a channel.
	recovers bool // the last reply said that the channel is recoverable
	epoch    string
	offset   uint64
	wanted   bool // the app has asked to be subscribed
	served   bool // the last connect has subscribed the app

	ticket *claims // the token for subscribing that the app has; nil: none
	habit  habit   // when the app brings a newer one

	// The fields from here on belong to the model. If trail.known is true, trail.at is the place
	// that the last reply named, or the position of a publication that came later.
	at      protocol.Position
	known   bool
	resumed bool            // the last reply said that nothing was lost
	ahead   map[uint64]bool // IDs of the messages that the app was given ahead
}

// ask is what a subscribe, or a connect, asks of one channel.
type ask struct {
	resume bool // asks for what was published after a position
	epoch  string
	offset uint64
	strict bool // asks for an error if something is lost
}

// since returns the position that a client names. The second result is false if the client names no
// position, or an epoch that no broker gives.
func (a ask) since() (p protocol.Position, ok bool) {
	epoch, err := strconv.ParseUint(a.epoch, 10, 64)
	return protocol.Position{Epoch: epoch, Offset: a.offset}, a.resume && err == nil && epoch > 0 && epoch <= protocol.MaxEpoch
}

// fields returns the JSON fields by which a client asks to resume.
func (a ask) fields() string {
	if !a.resume {
		return ""
	}
	text := `"recover":true`
	if a.epoch != "" {
		text += fmt.Sprintf(`,"epoch":%q`, a.epoch)
	}
	if a.offset != 0 {
		text += fmt.Sprintf(`,"offset":%d`, a.offset)
	}
	return text
}

// trail returns the app's part in a channel. It makes one if there is none.
func (a *app) trail(t protocol.Topic) *trail {
	r := a.trails[t]
	if r == nil {
		r = &trail{ahead: map[uint64]bool{}}
		a.trails[t] = r
	}
	return r
}

// idle reports whether the app has no session, and is not about to come back.
func (a *app) idle() bool { return !a.due && (a.s == nil || a.s.gone) }

// newApp makes an app, which has had no session yet.
func (w *world) newApp() *app {
	a := &app{user: pick(w, users), open: w.chance(25), js: w.chance(50), trails: map[protocol.Topic]*trail{}}
	a.channels = w.named(a.user)
	w.apps = append(w.apps, a)
	return a
}

// named draws the channels that a user's tokens name.
func (w *world) named(user string) (channels []string) {
	for _, t := range news {
		if w.chance(60) {
			channels = append(channels, string(t))
		}
	}
	if w.chance(15) {
		channels = append(channels, "group:h", "user:"+pick(w, users))
	}
	return channels
}

// mostApps bounds the apps of a run.
const mostApps = 40

// someApp returns an app that can open a session: one that was there before, or a new one.
func (w *world) someApp() *app {
	var idle []*app
	for _, a := range w.apps {
		if a.idle() {
			idle = append(idle, a)
		}
	}
	if len(idle) > 0 && (w.chance(60) || len(w.apps) >= mostApps) {
		return pick(w, idle)
	}
	return w.newApp()
}

// left is called when a session has ended. Most apps come back soon, as SDKs do by themselves.
func (w *world) left(s *session) {
	if s.sdk == nil || !w.calm.IsZero() || s.sdk.app.due || !w.chance(80) {
		return
	}
	most := 1500 * time.Millisecond
	if w.chance(50) {
		most = 30 * time.Millisecond
	}
	w.returns(s.sdk.app, w.between(0, most))
}

// returns brings an app back at some edge after the given time. The app tries again while no edge
// takes it. Once all is mended, no app comes back in this way.
func (w *world) returns(a *app, after time.Duration) {
	a.due = true
	w.after(after, func() {
		a.due = false
		if !w.calm.IsZero() || !a.idle() {
			return
		}
		if e := w.edge(); e == nil || w.comes(e, a, w.chance(10), false) == nil {
			w.returns(a, w.between(200*time.Millisecond, time.Second))
		}
	})
}

// again returns the lines by which an app subscribes again to the channels that it wants.
func (w *world) again(s *session, plain bool) (lines []line) {
	a := s.sdk.app
	for _, t := range sortedKeys(a.trails) {
		if a.trails[t].wanted && (plain || w.chance(90)) {
			lines = append(lines, w.subscription(s, string(t), w.asksFor(a, t, plain)))
		}
	}
	return lines
}

// asksFor returns what an app asks of a channel. If the parameter plain is false, the app now and
// then names a position that is not its own, or asks for an error if something is lost.
func (w *world) asksFor(a *app, t protocol.Topic, plain bool) ask {
	r := a.trails[t]
	k := ask{}
	if r != nil && r.recovers {
		k = ask{resume: true, epoch: r.epoch, offset: r.offset}
	}
	if plain {
		return k
	}
	k.strict = w.chance(8)
	if w.chance(15) {
		w.forge(a, t, &k)
	}
	return k
}

// forge changes the position that an app names.
func (w *world) forge(a *app, t protocol.Topic, k *ask) {
	k.resume = true
	w.count("positions that are not the app's own")
	switch w.rnd.IntN(8) {
	case 0: // from the future
		k.offset += 1 + uint64(w.rnd.IntN(5))
	case 1:
		k.offset = pick(w, []uint64{protocol.MaxOffset, protocol.MaxOffset + 1, 1 << 63, 1<<64 - 1})
	case 2: // an older one
		k.offset -= min(k.offset, uint64(1+w.rnd.IntN(30)))
	case 3:
		k.offset = 0
	case 4: // of another channel
		if all := sortedKeys(a.trails); len(all) > 0 {
			k.epoch = a.trails[pick(w, all)].epoch
		}
	case 5: // of another app
		if other := pick(w, w.apps).trails[t]; other != nil {
			k.epoch, k.offset = other.epoch, other.offset
		}
	case 6:
		k.epoch = ""
	case 7:
		k.epoch = pick(w, []string{"_", "0", "-1", "1e3", "18446744073709551616", "9007199254740991", "abcdefgh", k.epoch + "0", strings.Repeat("9", 300)})
	}
}

// takes gives the app what a reply says of the channel. The app takes it as an SDK does.
func (r *trail) takes(reply *subscribed) {
	r.recovers = reply.Recoverable
	if !reply.Recoverable {
		return
	}
	r.epoch, r.offset = reply.Epoch, reply.Offset
	for _, p := range reply.Publications {
		r.takesPush(p, false)
	}
}

// takesPush gives a publication to the app. Only the SDK for JavaScript takes over an epoch.
func (r *trail) takesPush(p pub, js bool) {
	if p.Offset > 0 {
		r.offset = p.Offset
	}
	if js && p.Epoch != "" {
		r.epoch = p.Epoch
	}
}

// comeBack makes all apps go and come back, twice, while nothing is broken. Redis keeps all that
// they miss, so their resumes must succeed.
func (w *world) comeBack() {
	if w.failure != "" || !w.config.sdk {
		return
	}
	quiet := protocol.GroupTopic("quiet") // nobody has published there yet
	for round := range 2 {
		w.tracef("--- all apps go and come back")
		var apps []*app
		for _, s := range w.confirmed() {
			if i := s.interests[quiet]; i == nil || !i.in {
				w.sends(s, []line{w.subscription(s, string(quiet), w.asksFor(s.sdk.app, quiet, true))})
			}
		}
		w.pass(time.Second)
		for _, s := range w.confirmed() {
			w.disconnect(s)
			apps = append(apps, s.sdk.app)
		}
		topics := sortedKeys(w.model.topics)
		if !slices.Contains(topics, quiet) {
			topics = append(topics, quiet)
		}
		much := pick(w, topics)
		for _, t := range topics {
			n := w.rnd.IntN(4)
			if t == much && round == 1 { // more than relays have in their memory
				n = min(w.kept(t).Size, w.config.tail+1+w.rnd.IntN(70))
			}
			for range n {
				w.store.elsewhere(t, "elsewhere", w.text())
			}
		}
		w.pass(w.between(0, 500*time.Millisecond))
		w.plain = true
		for _, a := range apps {
			edges := slices.Clone(w.edges)
			w.rnd.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
			for _, e := range edges {
				if w.comes(e, a, false, true) != nil {
					break
				}
			}
		}
		w.pass(3 * time.Second)
		w.plain = false
		if w.failure == "" {
			w.model.allAreBack(apps)
		}
	}
}

// confirmed returns the sessions of SDKs that are confirmed.
func (w *world) confirmed() (all []*session) {
	for _, e := range w.edges {
		for _, s := range e.sessions {
			if s.sdk != nil && s.sdk.confirmed {
				all = append(all, s)
			}
		}
	}
	return all
}
