package gateway

import (
	"sync"
	"time"
)

// clock holds the timers of the sessions. When a session's timer has fired, Server.check looks at
// the silence, the token, the unfinished message and the deferred pong of the session.
type clock struct {
	mu    sync.Mutex // guards the fields below, and the sessions' timers
	wheel *wheel
	fired []*Session // the result of the last clock.step; the next step reuses it
}

func (k *clock) set(s *Session, due time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wheel.set(&s.timer, due)
}

// hasten sets the session's timer to the given time. If the timer is already set to that time, or
// to an earlier time, hasten does nothing.
func (k *clock) hasten(s *Session, due time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s.timer.next == nil || due < s.timer.due {
		k.wheel.set(&s.timer, due)
	}
}

func (k *clock) stop(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wheel.stop(&s.timer)
}

// step returns the sessions whose timers fired. The slice is valid until the next step.
func (k *clock) step(now time.Duration) []*Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.fired)
	k.fired = k.wheel.step(now, k.fired[:0])
	return k.fired
}

// tick calls check for the conn of each session whose timer has fired. If the session goes on, tick
// sets its timer anew. Only one goroutine may call tick.
func (v *Server) tick(now time.Duration) {
	for _, s := range v.clock.step(now) {
		if c := s.conn.Load(); c != nil && v.check(c, now) {
			v.arm(c, now)
		}
	}
}

// beat is called about every wheelTick. The parameter wall is the present moment by the wall clock.
// The parameter now is the same moment by Server.now. While the machine is suspended, the wall
// clock goes on and the monotonic clock may stand still. The method beat records the difference of
// the two clocks for Server.expires.
//
// If a call of beat comes late by timing.Suspended or more on either clock, beat calls resume
// first. In any case beat calls tick, and then starts the writers. The writers are started even
// while an unfinished batch of the link holds messages back.
func (v *Server) beat(wall time.Time, now time.Duration) {
	v.wallGain.Store(int64(v.wallSince(wall) - now))
	if v.suspension.Step(wall, now) > 0 {
		v.resume(now)
	}
	v.tick(now)
	v.hub.writers.relieve()
}

// resume is called after a time during which this process seems not to have run. That time counts
// neither as a client's silence nor as time for an unfinished message. From the given moment on,
// silences and the times of unfinished messages are measured anew. Tokens expire all the same. The
// method resume sets the timers of the living sessions anew. Only the goroutine that calls tick may
// call it.
func (v *Server) resume(now time.Duration) {
	v.resumed.Store(int64(now))
	for _, s := range v.hub.living() {
		if c := s.conn.Load(); c != nil {
			v.arm(c, now)
		}
	}
}

// lastSeen returns the time of the client's last sign of life or of the last resume, whichever is
// later.
func (v *Server) lastSeen(c *conn) time.Duration {
	return time.Duration(max(c.seen.Load(), v.resumed.Load()))
}

// wallSince returns the duration from v.start to the given time of the wall clock. The result is at
// most longestStay.
func (v *Server) wallSince(wall time.Time) time.Duration {
	return min(wall.Round(0).Sub(v.start.Round(0)), longestStay)
}

// expires returns when a session's token ends, as a time of Server.now; 0 means never. The end is
// computed by the wall clock and by the monotonic clock, and the earlier end counts. During a
// suspension the wall clock goes on, and the monotonic clock may stand still. If somebody sets the
// wall clock back, the session still ends by the monotonic clock.
func (v *Server) expires(c *conn) time.Duration {
	expires := time.Duration(c.expires.Load())
	if expires == 0 {
		return 0
	}
	return max(min(expires, time.Duration(c.expiresByWall.Load()-v.wallGain.Load())), 1)
}

// setEnd sets when a session ends. The zero time means never.
func (v *Server) setEnd(c *conn, until time.Time) {
	if until.IsZero() {
		c.expires.Store(0)
		return
	}
	wall := time.Now()
	c.expiresByWall.Store(int64(v.wallSince(until)))
	c.expires.Store(int64(max(wall.Sub(v.start)+min(until.Sub(wall), longestStay), 1)))
}

// startMessageTimer records that the reader waits for the remainder of a message or of a control
// frame. It sets the session's timer to the message's deadline, unless the timer is due earlier.
// The timer stays set when the message is complete. Once the timer fires, check finds nothing to do
// for that message. Only the reader calls startMessageTimer.
func (v *Server) startMessageTimer(c *conn) {
	now := v.now()
	c.awaitedSince.Store(int64(now))
	v.clock.hasten(c.session, now+v.cfg.messageTime())
}

// messageTime is how long the remainder of a message or of a control frame may take. The time
// begins when the reader begins to wait for the remainder. A resume begins the time anew.
func (cfg *Config) messageTime() time.Duration {
	return messageWait + time.Duration(cfg.MaxMessage)*time.Second/messageRate
}

// messageDue returns the deadline of the message or control frame that is being received, as a time
// of Server.now. It returns 0 if the reader does not wait for a remainder.
func (v *Server) messageDue(c *conn) time.Duration {
	begun := c.awaitedSince.Load()
	if begun == 0 {
		return 0
	}
	return time.Duration(max(begun, v.resumed.Load())) + v.cfg.messageTime()
}

// ping queues a ping. Only Server.check and Server.checkSDK call it.
func (c *conn) ping(frame []byte, now time.Duration) {
	c.pinged.Store(int64(now))
	if c.session.queue.pushPing(frame) == pushFull {
		c.session.close(ReasonSlow, closeWait)
	}
	c.server.metrics.pings.Inc()
}

// pingHeld is called when the time to answer a ping is over. If the ping has spent some of that
// time in the session's queue behind other frames, pingHeld returns true and begins the time anew.
// A client that reads slowly cannot answer before it has read these frames. The method
// queue.pingHeld bounds how often pingHeld returns true for one ping.
func (c *conn) pingHeld(now time.Duration) bool {
	if !c.session.queue.pingHeld() {
		return false
	}
	c.pinged.Store(int64(now))
	return true
}

// check ends a session whose token expired, whose message or control frame was not finished in
// time, or whose client gave no sign of life after a ping. It pings a silent client, and sends a
// deferred pong that is due. For a session of an SDK it leaves pings and silence to checkSDK. If
// check ends the session, it returns false.
func (v *Server) check(c *conn, now time.Duration) bool {
	if expires := v.expires(c); expires != 0 && now >= expires {
		c.session.close(ReasonExpired, closeWait)
		return false
	}
	if due := v.messageDue(c); due != 0 && now >= due {
		c.session.close(ReasonUnfinished, closeWait)
		return false
	}
	c.sendDeferred(now)
	if c.session.sdk != nil {
		return v.checkSDK(c, now)
	}
	if v.cfg.Ping <= 0 {
		return true
	}
	if c.session.pacing.Load() != nil { // the client's signs of life are not being read
		c.seen.Store(int64(now))
	}
	seen, pinged := v.lastSeen(c), time.Duration(c.pinged.Load())
	if pinged != 0 && seen < pinged {
		if now < pinged+pongWait || c.pingHeld(now) {
			return true
		}
		c.session.close(ReasonSilent, closeWait)
		return false
	}
	c.pinged.Store(0)
	if now >= seen+v.cfg.Ping {
		c.ping(pingFrame, now)
	}
	return true
}

// arm sets the session's timer to the next moment at which check may have something to do. If there
// is no such moment, the timer stays as it is. A sign of life does not move the timer: check looks
// for signs of life when the timer has fired. A pinged client is checked pongWait after the ping.
// If Config.Ping is shorter than pongWait, the client is also checked when Config.Ping has passed
// since the ping. If the client answered the ping at once, the next ping is due at that moment.
func (v *Server) arm(c *conn, now time.Duration) {
	var due time.Duration
	switch {
	case c.session.sdk != nil:
		due = v.sdkDue(c)
	case v.cfg.Ping > 0:
		due = v.lastSeen(c) + v.cfg.Ping
		if pinged := time.Duration(c.pinged.Load()); pinged != 0 {
			due = pinged + pongWait
			if next := pinged + v.cfg.Ping; now < next && next < due {
				due = next
			}
		}
	}
	if expires := v.expires(c); expires != 0 && (due == 0 || expires < due) {
		due = expires
	}
	if due != 0 {
		v.clock.set(c.session, due)
	}
	// A concurrent call of hasten may have set an earlier time, which the call of set above has
	// replaced. So the times below are set anew.
	if expires := v.expires(c); expires != 0 {
		v.clock.hasten(c.session, expires)
	}
	if due := v.messageDue(c); due != 0 {
		v.clock.hasten(c.session, due)
	}
	if p := c.deferred.Load(); p != nil {
		v.clock.hasten(c.session, p.due)
	}
	if k := c.session.sdk; k != nil && k.leave.Load() != nil {
		v.clock.hasten(c.session, k.leave.Load().at)
	}
}

// wheelTick is the usual time between two steps, and the wheel's precision. A step fires no timer
// early. It fires each timer that has been due for wheelTick or longer, unless the timer was set
// less than wheelTick ago.
const wheelTick = 250 * time.Millisecond

// wheelSlots is the number of slots. One step visits each slot once at most. If a timer is due more
// than wheelSlots ticks from now, its slot is visited before the timer is due. Such a visit leaves
// the timer in the slot.
const wheelSlots = 256

// timer is a session's entry in the wheel, or the head of a slot's ring. A slot's ring is a
// circular list of entries. An entry is in one ring at most.
type timer struct {
	prev, next *timer
	due        time.Duration
	session    *Session
}

// wheel fires timers at their time. To set, move or stop a timer takes constant time. Times are
// durations since a start that the wheel's owner chooses. The wheel has no clock and no lock of its
// own.
type wheel struct {
	tick  int64             // the last tick that step has visited
	slots [wheelSlots]timer // heads of rings
}

func newWheel() *wheel {
	w := new(wheel)
	for i := range w.slots {
		w.slots[i].prev, w.slots[i].next = &w.slots[i], &w.slots[i]
	}
	return w
}

// set makes t fire at the given time, with the precision of wheelTick. If step has already visited
// the tick of that time, t fires in the tick after the last visited one. If t was set already, the
// method moves t to the new time.
func (w *wheel) set(t *timer, due time.Duration) {
	w.stop(t)
	t.due = due
	tick := max(int64((due+wheelTick-1)/wheelTick), w.tick+1)
	head := &w.slots[tick%wheelSlots]
	t.prev, t.next = head.prev, head
	t.prev.next, t.next.prev = t, t
}

// stop makes sure that t does not fire. If t is not set, the method does nothing.
func (w *wheel) stop(t *timer) {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
}

// step visits the ticks after w.tick, up to the present tick. In the slots of these ticks it stops
// the timers that are due, and appends their sessions to the given slice.
func (w *wheel) step(now time.Duration, fired []*Session) []*Session {
	to := int64(now / wheelTick)
	from := max(w.tick+1, to-wheelSlots+1) // visits no slot twice
	w.tick = max(w.tick, to)
	for tick := from; tick <= to; tick++ {
		head := &w.slots[tick%wheelSlots]
		for t := head.next; t != head; {
			next := t.next
			if t.due <= now {
				w.stop(t)
				fired = append(fired, t.session)
			}
			t = next
		}
	}
	return fired
}
