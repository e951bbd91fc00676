package uplink

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/timing"
)

func testKeys(t testing.TB, text string) (k link.Keys) {
	t.Helper()
	if err := k.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return k
}

const goodKey = "k1:0123456789abcdef"

// network joins an Uplink to fake relays by address.
type network struct {
	mu     sync.Mutex
	relays map[string]*fakeRelay // host:port
	dials  []time.Time
}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, time.Now())
	r := n.relays[addr]
	n.mu.Unlock()
	if r == nil {
		return nil, syscall.ECONNREFUSED
	}
	if r.isAway() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if !timing.Sleep(ctx, r.distance(), nil) {
		return nil, ctx.Err()
	}
	conn, err := r.net.Dial(ctx)
	if err == nil && r.isFrozen() {
		conn.(*memnet.Conn).Freeze()
	}
	return conn, err
}

func (n *network) dialCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.dials)
}

// fakeRelay accepts links, and keeps the frames that came on each link.
type fakeRelay struct {
	t      testing.TB
	name   string
	net    *memnet.Listener
	server *http.Server
	// handle, if set, is called with each frame that came.
	handle func(*fakeLink, any)

	mu       sync.Mutex
	keys     link.Keys
	versions link.Versions
	welcome  link.Welcome // if Relay is "", the relay's name is sent
	accepted []*fakeLink
	refusing bool
	frozen   bool
	far      time.Duration // how long each dial is delayed
	away     bool          // dials to this relay get no answer
	slow     time.Duration // time from Hello to Welcome
	hellos   []link.Hello
	asked    []*fakeLink // links of surveys, which have generation 0
}

// start adds a relay to n at addr.
func (n *network) start(t testing.TB, addr string) *fakeRelay {
	return n.startWith(t, addr, link.Welcome{})
}

// startWith adds a relay to n at addr. The relay sends the given Welcome from its first link on.
func (n *network) startWith(t testing.TB, addr string, welcome link.Welcome) *fakeRelay {
	r := &fakeRelay{t: t, name: addr, net: memnet.Listen(), keys: testKeys(t, goodKey), welcome: welcome}
	r.server = &http.Server{Handler: r}
	var served sync.WaitGroup
	served.Go(func() { r.server.Serve(r.net) })
	t.Cleanup(func() {
		r.stop()
		served.Wait()
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.relays == nil {
		n.relays = make(map[string]*fakeRelay)
	}
	n.relays[addr] = r
	return r
}

func (r *fakeRelay) stop() {
	r.server.Close()
	r.net.Close()
	r.net.CutAll()
}

func (r *fakeRelay) set(keys link.Keys, versions link.Versions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys, r.versions = keys, versions
}

func (r *fakeRelay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	welcome, refusing := r.welcome, r.refusing
	if welcome.Relay == "" {
		welcome.Relay = r.name
	}
	cfg := link.AcceptConfig{Keys: r.keys, Versions: r.versions, Welcome: func(h link.Hello) (link.Welcome, error) {
		r.mu.Lock()
		r.hellos = append(r.hellos, h)
		slow := r.slow
		r.mu.Unlock()
		time.Sleep(slow)
		return welcome, nil
	}}
	r.mu.Unlock()
	if refusing {
		http.Error(w, "relay stops", http.StatusServiceUnavailable)
		return
	}
	conn, hello, err := link.Accept(w, req, cfg)
	if err != nil {
		return
	}
	l := &fakeLink{relay: r, conn: conn, hello: hello}
	r.mu.Lock()
	if hello.Generation == 0 {
		r.asked = append(r.asked, l)
	} else {
		r.accepted = append(r.accepted, l)
	}
	r.mu.Unlock()
	err = conn.Run(context.Background(), l, l)
	l.mu.Lock()
	l.end = err.(*link.CloseError)
	l.mu.Unlock()
}

// freeze freezes the relay's connections, and those that are dialled later. On a frozen connection
// nothing goes in or out. A call with false thaws the connections.
func (r *fakeRelay) freeze(on bool) {
	r.mu.Lock()
	r.frozen = on
	r.mu.Unlock()
	for _, c := range r.net.Conns() {
		if on {
			c.Freeze()
		} else {
			c.Thaw()
		}
	}
}

func (r *fakeRelay) isAway() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away
}

func (r *fakeRelay) distance() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.far
}

func (r *fakeRelay) isFrozen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.frozen
}

func (r *fakeRelay) heard() []link.Hello {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hellos)
}

// refuse makes the relay take no new links, as a stopping relay does.
func (r *fakeRelay) refuse(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = on
}

func (r *fakeRelay) links() []*fakeLink {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted)
}

// fakeRelay.last waits until all goroutines of the bubble are blocked, and returns the relay's last
// link. The test fails if the relay has not had n links.
func (r *fakeRelay) last(n int) *fakeLink {
	r.t.Helper()
	synctest.Wait()
	links := r.links()
	if len(links) != n {
		r.t.Fatalf("%s has had %d links, want %d", r.name, len(links), n)
	}
	return links[n-1]
}

// fakeLink is a link at a fakeRelay. It is its own Source and Sink.
type fakeLink struct {
	relay *fakeRelay
	conn  *link.Conn
	hello link.Hello

	mu     sync.Mutex
	frames []any
	out    []byte
	end    *link.CloseError
}

type appender interface{ Append([]byte) []byte }

func (l *fakeLink) send(frames ...appender) {
	l.mu.Lock()
	for _, f := range frames {
		l.out = f.Append(l.out)
	}
	l.mu.Unlock()
	l.conn.Wake()
}

func (l *fakeLink) Fill(batch []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch = append(batch, l.out...)
	l.out = nil
	return batch
}

func (l *fakeLink) HandleFrame(t link.Type, body []byte) error {
	var f any
	var err error
	switch body := slices.Clone(body); t {
	case link.TypeSession:
		f, err = link.ParseSession(body)
	case link.TypeClient:
		f, err = link.ParseClient(body)
	case link.TypeDrained:
		f, err = link.ParseDrained(body)
	case link.TypeKeep:
		f, err = link.ParseKeep(body)
	case link.TypeHeld:
		f, err = link.ParseHeld(body)
	case link.TypeSynced:
		f, err = link.ParseSynced(body)
	case link.TypeMessage:
		f, err = link.ParseMessage(body)
	case link.TypeEnd:
		f, err = link.ParseEnd(body)
	case link.TypeMoved:
		f, err = link.ParseMoved(body)
	default:
		err = fmt.Errorf("%v from an edge", t)
	}
	if err != nil {
		l.relay.t.Error(err)
		return err
	}
	l.mu.Lock()
	l.frames = append(l.frames, f)
	l.mu.Unlock()
	if l.relay.handle != nil {
		l.relay.handle(l, f)
	}
	return nil
}

func (l *fakeLink) EndBatch() error { return nil }

func (l *fakeLink) received() []any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.frames)
}

func (l *fakeLink) ended() *link.CloseError {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

func (r *fakeRelay) cut() { r.net.CutAll() }

// fakeHub is a Handler that keeps sessions and records its calls.
type fakeHub struct {
	mu         sync.Mutex
	sessions   map[uint64]link.Session
	dead       map[uint64]bool
	held       []link.Held
	clients    []link.Client
	keeps      []link.Keep
	calls      []string
	comparable bool
	begun      int
	sides      []string             // calls of Begin, Leaving and Staying, with the link's number
	naming     bool                 // recorded calls name their link; see fakeFeed.note
	telling    func()               // called at the end of Begin
	fault      error                // the result of Confirmed, Refreshed and Bound
	say        []func(link.Drained) // what OnDrained was given, for each link
}

func (h *fakeHub) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf(format, args...))
}

func (h *fakeHub) side(format string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sides = append(h.sides, fmt.Sprintf(format, n))
}

// tookSides returns the calls of Begin, Leaving and Staying since the previous call of tookSides.
func (h *fakeHub) tookSides() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	sides := strings.Join(h.sides, ", ")
	h.sides = nil
	return sides
}

func (h *fakeHub) took() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := h.calls
	h.calls = nil
	return calls
}

func (h *fakeHub) Begin(session func(link.Session), client func(link.Client), held func(link.Held), keep func(link.Keep)) Feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		session(s)
	}
	for _, c := range h.clients {
		client(c)
	}
	for _, t := range h.held {
		held(t)
	}
	for _, k := range h.keeps {
		keep(k)
	}
	if h.telling != nil {
		h.telling()
	}
	h.begun++
	h.sides = append(h.sides, fmt.Sprint(h.begun, " begins"))
	return &fakeFeed{h, h.begun}
}

// fakeFeed is the Feed of the nth link.
type fakeFeed struct {
	*fakeHub
	n int
}

// note records a call. If the field naming is set and this is not the first link, the link's number
// goes before the call.
func (f *fakeFeed) note(format string, args ...any) {
	if f.naming && f.n > 1 {
		format = fmt.Sprintf("%d: ", f.n) + format
	}
	f.fakeHub.note(format, args...)
}

func (h *fakeFeed) Topic(f link.TopicNumber)          { h.note("topic %d %s", f.ID, f.Topic) }
func (h *fakeFeed) Untopic(f link.Untopic)            { h.note("untopic %d", f.ID) }
func (h *fakeFeed) Opened(f link.Opened)              { h.note("opened %d %v", f.Session, f.Confirmed) }
func (h *fakeFeed) Joined(f link.Joined, answer bool) { h.note("joined %d %v", f.Session, answer) }
func (h *fakeFeed) Left(f link.Left, answer bool)     { h.note("left %d %v", f.Session, answer) }
func (h *fakeHub) Answer(f link.Answer)               { h.note("answer %d %s", f.Session, f.Text) }
func (h *fakeFeed) Publication(f link.Publication)    { h.note("publication %d %s", f.Topic, f.Payload) }
func (h *fakeFeed) Ahead(f link.Ahead)                { h.note("ahead %d %s", f.Topic, f.Payload) }
func (h *fakeFeed) Unbound(f link.Unbound)            { h.note("unbound %d %s", f.Session, f.Text) }
func (h *fakeFeed) Close(f link.Close)                { h.note("close %d %d", f.Session, f.Code) }
func (h *fakeFeed) Forms(f link.Forms)                { h.note("forms %d %s", f.Topic, f.Texts[0].Text) }
func (h *fakeFeed) AheadForms(f link.AheadForms) {
	h.note("aheadforms %d %s", f.Topic, f.Texts[0].Text)
}
func (h *fakeFeed) Gap(f link.Gap) { h.note("gap %d %d", f.Topic, f.Lost) }
func (h *fakeFeed) BeginBatch()    {}
func (h *fakeFeed) EndBatch()      {}
func (h *fakeFeed) Cost(link.Cost) {}
func (h *fakeFeed) BrokerBack()    {}

func (h *fakeFeed) OnDrained(say func(link.Drained)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.say = append(h.say, say)
}

func (h *fakeFeed) Live()    {}
func (h *fakeFeed) Leaving() { h.side("%d leaving", h.n) }
func (h *fakeFeed) Staying() { h.side("%d staying", h.n) }
func (h *fakeFeed) Down()    { h.note("down") }

func (h *fakeFeed) Confirmed(f link.Confirmed, answer bool) error {
	h.note("confirmed %d %s %v", f.Session, f.User, answer)
	return h.fault
}

func (h *fakeFeed) Refreshed(f link.Refreshed, answer bool) error {
	h.note("refreshed %d %v", f.Session, answer)
	return h.fault
}

func (h *fakeFeed) Bound(f link.Bound, answer bool) error {
	h.note("bound %d %v", f.Session, answer)
	return h.fault
}

func (h *fakeHub) Forget(session uint64) {
	h.note("forget %d", session)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, session)
	delete(h.dead, session)
}

func (h *fakeHub) Digest() (d link.Digest, comparable bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		d.Sessions++
		d.SessionHash ^= link.SessionHash(s)
	}
	return d, h.comparable && len(h.dead) == 0
}

// edge is a running Uplink with its hub.
type edge struct {
	*Uplink
	t    testing.TB
	hub  *fakeHub
	stop context.CancelFunc // makes Run return
}

// run makes an Uplink, calls the given functions with it, and then starts it. The Uplink ends with
// the test.
func (n *network) run(t testing.TB, config Config, prepare ...func(*edge)) *edge {
	t.Helper()
	if config.Keys.IsZero() {
		config.Keys = testKeys(t, goodKey)
	}
	config.Node = "n1"
	config.NetDial = n.dial
	hub := &fakeHub{sessions: make(map[uint64]link.Session), dead: make(map[uint64]bool), comparable: true}
	u, err := New(config, hub)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &edge{u, t, hub, cancel}
	for _, f := range prepare {
		f(e)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := u.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return e
}

// open adds a session as the gateway does.
func (e *edge) open(id uint64) link.Session {
	s := link.Session{ID: id, Endpoint: protocol.EndpointChannel, User: fmt.Sprint("u", id)}
	e.hub.mu.Lock()
	e.hub.sessions[id] = s
	e.hub.mu.Unlock()
	e.Open(s)
	return s
}

// withSession opens session 1. As an argument of network.run it is called before there is a link,
// so that the first link tells of the session once.
func withSession(e *edge) { e.open(1) }

func (e *edge) end(id uint64) {
	e.hub.mu.Lock()
	e.hub.dead[id] = true
	e.hub.mu.Unlock()
	e.End(id)
}

func (e *edge) accept(session uint64, texts ...string) {
	e.t.Helper()
	for _, text := range texts {
		if !e.Accept(session, []byte(text)) {
			e.t.Fatalf("Accept(%d, %q) refused", session, text)
		}
	}
}

// answers is a Lookup whose answer a test changes.
type answers struct {
	mu    sync.Mutex
	addrs []netip.Addr
	err   error
}

func (a *answers) set(err error, addrs ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addrs, a.err = nil, err
	for _, s := range addrs {
		a.addrs = append(a.addrs, netip.MustParseAddr(s))
	}
}

func (a *answers) lookup(_ context.Context, network, _ string) (of []netip.Addr, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range a.addrs {
		if addr.Unmap().Is4() == (network == "ip4") {
			of = append(of, addr)
		}
	}
	return of, a.err
}
