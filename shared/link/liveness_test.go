package link

import (
	"testing"
	"time"
)

const second = time.Second

func TestLiveness(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name   string
		pinged time.Duration
		signs  Signs
		want   verdict
	}{
		{"ping not due", 10 * s, Signs{Now: 10*s + pingEvery - 1, Received: 10 * s}, alive},
		{"ping due", 10 * s, Signs{Now: 10*s + pingEvery, Received: 10 * s}, pingDue},
		{"silent", 10 * s, Signs{Now: 15 * s}, silent},
		{"nearly silent", 15*s - 1, Signs{Now: 15*s - 1}, alive},
		{"sending is no sign of life", 14 * s, Signs{Now: 15 * s, Writing: true, Progress: 15 * s}, silent},
		{"silent while handling", 15 * s, Signs{Now: 15 * s, Handling: true}, alive},
		{"just handled", 20 * s, Signs{Now: 20 * s, Handled: 6 * s}, alive},
		{"handled long ago", 19 * s, Signs{Now: 21 * s, Handled: 6 * s}, silent},
		{"stuck", 29 * s, Signs{Now: 30 * s, Received: 29 * s, Writing: true, Progress: 20 * s}, stuck},
		{"stuck since the batch began", 9 * s, Signs{Now: 10 * s, Received: 9 * s, Writing: true}, stuck},
		{"progress", 30 * s, Signs{Now: 30 * s, Received: 29 * s, Writing: true, Progress: 21 * s}, alive},
		{"nothing to write", 30 * s, Signs{Now: 30 * s, Received: 29 * s, Progress: 1 * s}, alive},
		{"leaving", 30 * s, Signs{Now: 30 * s, Received: 29 * s, leaving: true, left: 29 * s}, alive},
		{"peer does not close", 29 * s, Signs{Now: 31 * s, Received: 29 * s, leaving: true, left: 29 * s}, abandoned},
	} {
		l := liveness{pinged: tt.pinged}
		if got, _ := l.step(tt.signs); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// watched is one end of a link, without a network. The field sent counts the bytes that were
// written.
type watched struct {
	t     *testing.T
	talk  *Talk
	signs Signs
	sent  uint64
}

func watch(t *testing.T, side Side) *watched {
	return &watched{t: t, talk: NewTalk(side, func() {})}
}

type nothing struct{}

func (nothing) Fill(batch []byte) []byte { return batch }

// look advances the time by WatchEvery and calls Watch. A Ping that is due is written. Unless the
// parameter blocked is true, all written bytes leave this machine at once.
func (w *watched) look(blocked bool) {
	w.t.Helper()
	w.signs.Now += WatchEvery
	if w.talk.Watch(w.signs) {
		w.t.Fatalf("the link ends: %v", w.talk.Cause())
	}
	if batch, _ := w.talk.Next(nil, nothing{}, w.signs.Now); len(batch) > 0 {
		w.sent += uint64(len(batch))
		w.talk.Wrote(w.sent, w.signs.Now)
	}
	if !blocked {
		w.signs.Left = w.sent
	}
}

// watched.until calls look until doubt begins. It returns the time that has passed since the moment
// that the parameter from gives. The parameter most bounds that time: without a doubt until then,
// the result is most. After each look without doubt it calls the function each.
func (w *watched) until(from, most time.Duration, each func()) time.Duration {
	w.t.Helper()
	for w.signs.Now-from < most {
		w.look(false)
		if w.talk.Silent(w.signs.Received) {
			return w.signs.Now - from
		}
		each()
	}
	return most
}

func (w *watched) hear() { w.signs.Received = w.signs.Now }

func TestP12_DoubtBeginsWithinTwoSecondsOfSilence(t *testing.T) {
	for offset := range 7 {
		w := watch(t, Edge)
		for range 50 + offset {
			w.look(false)
			w.hear()
		}
		last := w.signs.Received
		if took := w.until(last, 10*second, func() {}); took < doubtLeast || took > pingEvery+doubtLeast+200*time.Millisecond {
			t.Errorf("doubt began after %v of silence", took)
		}
		select {
		case <-w.talk.Doubt():
		default:
			t.Error("doubt is not signalled")
		}
		w.hear()
		if w.look(false); w.talk.Silent(w.signs.Received) {
			t.Error("a byte came, and the relay is still doubted")
		}
	}
}

// A late call of Watch during a doubt must neither end the doubt nor signal it again.
func TestP12_ALateLookDoesNotEndADoubt(t *testing.T) {
	w := watch(t, Edge)
	w.until(0, 10*second, func() {})
	<-w.talk.Doubt()
	w.signs.Now += second
	w.look(false)
	if !w.talk.Silent(w.signs.Received) {
		t.Error("the doubt is over, and no byte has come")
	}
	select {
	case <-w.talk.Doubt():
		t.Error("the doubt is signalled again")
	default:
	}
}

func TestDoubtIsOfEdgesAlone(t *testing.T) {
	w := watch(t, Relay)
	if took := w.until(0, 10*second, func() {}); took != 10*second {
		t.Errorf("a relay doubts its edge after %v", took)
	}
}

// With a round trip of 0.5 s, doubt begins after a silence of three round trips and 0.6 s: 2.1 s.
func TestDoubtWaitsForLongRoundTrips(t *testing.T) {
	w := watch(t, Edge)
	w.talk.pings.trips = []time.Duration{second / 2}
	took := w.until(0, 10*second, func() {})
	if took < 2100*time.Millisecond || took > 2900*time.Millisecond {
		t.Errorf("doubt began after %v", took)
	}
}

// Of several round trips the shortest counts. A longer one may be due to a process that stood
// still.
func TestP12_OneLongRoundTripIsNotTheLimit(t *testing.T) {
	w := watch(t, Edge)
	w.talk.pings.trips = []time.Duration{second, 10 * time.Millisecond, 3 * second}
	if took := w.until(0, 10*second, func() {}); took > pingEvery+doubtLeast+200*time.Millisecond {
		t.Errorf("doubt began after %v", took)
	}
}

// A Pong that is read long after the last look must measure nothing: this process stood still.
func TestAPongThatWasReadLateMeasuresNothing(t *testing.T) {
	w := watch(t, Edge)
	for w.talk.pings.token == 0 {
		w.look(false)
	}
	w.talk.measure(1, w.signs.Now+4*second)
	if got := w.talk.ShortRTT(); got != 0 {
		t.Errorf("a round trip of %v", got)
	}
	w.talk.measure(1, w.signs.Now+20*time.Millisecond)
	if got := w.talk.ShortRTT(); got != 20*time.Millisecond {
		t.Errorf("a round trip of %v, want 20 ms", got)
	}
}

func TestDoubtIsBoundedWhateverTheRoundTrip(t *testing.T) {
	w := watch(t, Edge)
	w.talk.pings.trips = []time.Duration{time.Minute}
	if took := w.until(0, 10*second, func() {}); took > doubtMost+pingEvery+200*time.Millisecond {
		t.Errorf("doubt began after %v", took)
	}
}

// While bytes leave the kernel, a Ping that waits behind them must cause no doubt. When no byte
// leaves any more, doubt must begin.
func TestDoubtIsNotOfASlowWayUp(t *testing.T) {
	w := watch(t, Edge)
	for range 100 {
		w.signs.Drained = w.signs.Now
		if w.look(true); w.talk.Silent(w.signs.Received) {
			t.Fatalf("doubt began after %v, and the way is slow only", w.signs.Now)
		}
	}
	blocked := w.signs.Now
	for w.look(true); !w.talk.Silent(w.signs.Received); w.look(true) {
		if w.signs.Now-blocked > 2*second {
			t.Fatal("nothing leaves, and that is no doubt")
		}
	}
}

// A process has stood still, and bytes may have come that it has not read yet. Its next call of
// Watch is late, and must not begin a doubt.
func TestDoubtIsNotOfALateEdge(t *testing.T) {
	w := watch(t, Edge)
	for range 30 {
		w.look(false)
		w.hear()
	}
	for range 7 {
		w.look(false) // a Ping has left, and is not answered yet
	}
	w.signs.Now += 3 * second // the process stands still
	w.look(false)
	if w.talk.Silent(w.signs.Received) {
		t.Error("the late look itself decides")
	}
	if took := w.until(w.signs.Now, 10*second, func() {}); took < 2*WatchEvery {
		t.Errorf("doubt began %v after the process went on", took)
	}
}

// A process has stood still, and then a byte comes. The process must forget the time before that
// byte. So doubt must begin as soon after this byte as after any other.
func TestP12_DoubtAfterALateLook(t *testing.T) {
	w := watch(t, Edge)
	for range 30 {
		w.look(false)
		w.hear()
	}
	w.signs.Now += 4 * second // the process stands still
	w.hear()
	last := w.signs.Now
	if took := w.until(last, 10*second, func() {}); took > pingEvery+doubtLeast+300*time.Millisecond {
		t.Errorf("doubt began %v after the last byte", took)
	}
}

// A late first call of Watch, before the first Ping of a link, must not delay doubt.
func TestP12_DoubtAfterALateFirstLook(t *testing.T) {
	w := watch(t, Edge)
	w.signs.Now += 4 * second
	last := w.signs.Now
	if took := w.until(last, 10*second, func() {}); took > pingEvery+doubtLeast+300*time.Millisecond {
		t.Errorf("doubt began %v after the first look", took)
	}
}

func TestDoubtIsNotWhileTheEdgeHandlesABatch(t *testing.T) {
	w := watch(t, Edge)
	w.signs.Handling = true
	if took := w.until(0, 10*second, func() {}); took != 10*second {
		t.Errorf("doubt began after %v", took)
	}
	w.signs.Handling, w.signs.Handled = false, w.signs.Now
	if took := w.until(w.signs.Now, 10*second, func() {}); took < doubtLeast-WatchEvery {
		t.Errorf("doubt began %v after the batch", took)
	}
}

func TestPatienceMultipliesTheLimit(t *testing.T) {
	w := watch(t, Edge)
	w.talk.SetPatience(4)
	if took := w.until(0, 10*second, func() {}); took < 4*doubtLeast || took > 5*doubtLeast {
		t.Errorf("doubt began after %v", took)
	}
}

// While a relay's reader waits for the Sink, the relay answers no Ping. It must still send
// something whenever it has sent nothing for beatAfter.
func TestARelayBeatsThoughItsReaderWaits(t *testing.T) {
	w := watch(t, Relay)
	w.signs.Handling = true
	var last time.Duration
	for before := w.sent; w.signs.Now < time.Minute; before = w.sent {
		w.look(false)
		if w.sent == before && w.signs.Now-last > beatAfter+WatchEvery {
			t.Fatalf("nothing was sent from %v to %v", last, w.signs.Now)
		}
		if w.sent != before {
			last = w.signs.Now
		}
	}
}

// A relay that often answers an edge's Pings must ping only every measureEvery.
func TestARelayThatAnswersDoesNotBeat(t *testing.T) {
	w := watch(t, Relay)
	pings := 0
	for i := 0; w.signs.Now < time.Minute; i++ {
		if i%3 == 0 {
			w.talk.owePong(uint64(i + 1))
		}
		before := w.talk.pings.token
		w.look(false)
		w.hear()
		pings += int(w.talk.pings.token - before)
	}
	if want := int(time.Minute / measureEvery); pings < want-1 || pings > want {
		t.Errorf("%d pings in a minute, want %d", pings, want)
	}
}
