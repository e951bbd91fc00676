package seedpeer

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
)

// Server is a simple model of an original server. Its one endpoint is /chat/channel/{id}. The
// Server carries out the commands One, UserGroup and Group. It treats a command with any other
// Method as a broadcast. Messages of other servers reach the Server through Redis.
type Server struct {
	peer *Peer
	http *httptest.Server
	done context.Context
	end  context.CancelFunc

	mu      sync.Mutex
	clients map[string]bool
	serving sync.WaitGroup
}

// Serve starts a Server on a listener. The Server serves until the test's end, or until Close.
func (p *Peer) Serve(t testing.TB, l net.Listener) *Server {
	t.Helper()
	s := &Server{peer: p, clients: map[string]bool{}}
	s.done, s.end = context.WithCancel(context.Background())
	s.http = &httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	s.http.Start()
	t.Cleanup(s.Close)
	return s
}

// Close ends the server, and drops the connections of its clients without a close frame.
func (s *Server) Close() {
	s.end()
	s.http.Close()
	s.serving.Wait()
}

// Has reports whether a user is connected to this server. It may still return false for a moment
// after the user's connect was answered. The user must have one connection at most.
func (s *Server) Has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[id]
}

// ServeHTTP serves one client, from the request until the connection ends.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutPrefix(r.URL.Path, "/chat/channel/")
	if !ok {
		http.Error(w, "no such endpoint", http.StatusBadRequest)
		return
	}
	s.serving.Add(1)
	defer s.serving.Done()
	sub := s.peer.client.Subscribe(s.done, "user:"+id, "all")
	defer sub.Close()
	for range 2 { // Redis confirms the two subscriptions
		if _, err := sub.Receive(s.done); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	s.set(id, true)
	defer s.set(id, false)
	var telling sync.WaitGroup
	telling.Go(func() { s.tell(ws, sub, id) })
	for {
		_, b, err := ws.Read(s.done)
		if err != nil {
			break
		}
		s.obey(sub, id, b)
	}
	sub.Close() // this ends Server.tell
	telling.Wait()
}

func (s *Server) set(id string, here bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[id] = here
}

// Server.obey carries out the command in a frame of the user with the given id. It ignores a frame
// that it does not understand.
func (s *Server) obey(sub *redis.PubSub, id string, frame []byte) {
	var c struct {
		Method, Group string
		MsgBody       json.RawMessage
	}
	if json.Unmarshal(frame, &c) != nil {
		return
	}
	var text string
	switch c.Method {
	case "One":
		var to struct{ Id, Msg string }
		if json.Unmarshal(c.MsgBody, &to) == nil {
			s.publish("user:"+to.Id, Envelope{id, to.Id, to.Msg})
		}
	case "UserGroup":
		sub.Subscribe(s.done, "group:"+c.Group) // Server.tell announces the join
	case "Group":
		if json.Unmarshal(c.MsgBody, &text) == nil {
			s.publish("group:"+c.Group, Envelope{id, c.Group, text})
		}
	default:
		if json.Unmarshal(c.MsgBody, &text) == nil {
			s.publish("all", Envelope{id, "", text})
		}
	}
}

// Server.tell writes the messages of a client's channels to the client. It leaves out the user's
// own messages to a group or to all. It returns when the subscription is closed. When Redis has
// confirmed the subscription to a group, Server.tell announces the join to the client and to the
// group.
func (s *Server) tell(ws *websocket.Conn, sub *redis.PubSub, id string) {
	write := func(text string) { ws.Write(s.done, websocket.MessageText, []byte(text)) }
	for {
		m, err := sub.Receive(s.done)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *redis.Subscription:
			if group, ok := strings.CutPrefix(m.Channel, "group:"); ok && m.Kind == "subscribe" {
				// The original servers print two spaces between "add" and "to".
				text := "user 【" + id + "】 add  to group 【" + group + "】"
				write(text)
				s.publish(m.Channel, Envelope{id, group, text})
			}
		case *redis.Message:
			var e Envelope
			if json.Unmarshal([]byte(m.Payload), &e) != nil {
				continue
			}
			kind, name, _ := strings.Cut(m.Channel, ":")
			switch {
			case kind == "user":
				write("user " + e.FromId + " send:" + e.Msg)
			case e.FromId == id: // no user gets back what the same user sent to a group or to all
			case kind == "group":
				write("group 【" + name + "】 user 【" + e.FromId + "】 send:" + e.Msg)
			default:
				write("user 【" + e.FromId + "】 send all:" + e.Msg)
			}
		}
	}
}

// Server.publish publishes an envelope as Peer.Publish does. Any goroutine may call it. An envelope
// that Redis does not take is lost.
func (s *Server) publish(channel string, e Envelope) {
	if b, err := json.Marshal(e); err == nil {
		s.peer.client.Publish(s.done, channel, b)
	}
}
