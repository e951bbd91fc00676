package gateway

// Reason is why a session ended. Each reason has a metric label. Most reasons also have a close
// frame, whose code and text depend on the client's protocol.
type Reason uint8

const (
	reasonNone Reason = iota // the session goes on
	// ReasonClient means that the client ended the session with a valid close frame. The gateway
	// answers with the client's code. If the client gave no code, the answer has none either.
	ReasonClient
	// ReasonGone means that the connection broke or was closed without a close frame.
	ReasonGone
	// ReasonRefused means that the upgrade failed after the session was opened. There never was a
	// WebSocket.
	ReasonRefused
	ReasonProtocol        // the client broke the WebSocket protocol
	ReasonUTF8            // a message, or the text of a close frame, was not valid UTF-8
	ReasonLimit           // too many frames did not complete a message
	ReasonUnfinished      // a message or a control frame was begun and not finished in time
	ReasonUnfinishedBytes // unfinished messages took too many bytes; this session gave way
	ReasonTooBig          // a message was longer than Config.MaxMessage
	ReasonDraining        // this node is going away; another one may take the client
	ReasonOverload        // not used yet: this node has too much to do
	ReasonSlow            // the client did not read; frames that the writer had not taken are lost
	ReasonReplaced        // not used yet: another connection took the session's place
	ReasonExpired         // the client's token expired
	ReasonKicked          // not used yet: the operator ended the session
	ReasonSilent          // no sign of life after a ping
	// ReasonRelay means that the relay closed the session. The relay gives the code and the text.
	ReasonRelay

	// Only sessions of SDKs have the following reasons.
	ReasonBadRequest  // an empty line, or a pong that no ping asked for
	ReasonStale       // a guest sent no line in time
	ReasonUnconfirmed // the relay did not confirm the connect in time
	ReasonGuests      // too many guests, and this one gave way
	ReasonGuestBytes  // guests have sent too much, and this one gave way
	ReasonNoRoom      // a line found no room upstream
	ReasonRate        // the user's allowance did not suffice for a line or for a connect's channels
	ReasonUserLimit   // the user has Config.PerUser sessions already
	ReasonBehind      // no link brings what the session, as a late member, lacks
	reasons
)

// closing has the code and the text of a close frame. The code 0 means that there is no close
// frame.
type closing struct {
	code int
	text string
}

// none is the closing of a reason for which the gateway has no close frame of its own.
var none closing

// reasonRow is a reason's label, and its close frames for the two protocols. A text for SDKs must
// not be empty: with an empty text, the SDK for JavaScript would come back whatever the code is. A
// text must not be JSON either, since that SDK would parse it. An SDK connects again after a code
// from 3000 to 3499, and stays away after a code from 3500 to 3999.
type reasonRow struct {
	label     string
	chat, sdk closing
}

var reasonTable = [reasons]reasonRow{
	reasonNone:            {"none", none, none},
	ReasonClient:          {"client_closed", none, none},
	ReasonGone:            {"client_gone", none, none},
	ReasonRefused:         {"refused", none, none},
	ReasonProtocol:        both("protocol_error", 1002, "protocol error"),
	ReasonUTF8:            both("not_utf8", 1007, "not UTF-8"),
	ReasonLimit:           both("limit", 1008, "limit exceeded"),
	ReasonUnfinished:      both("unfinished", 1008, "message not finished"),
	ReasonUnfinishedBytes: both("unfinished_bytes", 1008, "too many unfinished messages"),
	ReasonTooBig:          both("too_big", 1009, "message too big"),
	ReasonDraining:        {"draining", closing{1012, "draining"}, closing{3001, "shutdown"}},
	ReasonOverload:        {"overload", closing{1013, "overload"}, closing{3004, "overload"}},
	ReasonSlow:            {"slow_reader", closing{4000, "slow reader"}, closing{3008, "slow reader"}},
	ReasonReplaced:        {"replaced", closing{4001, "replaced"}, closing{3503, "replaced"}},
	ReasonExpired:         {"token_expired", closing{4002, "token expired"}, closing{3005, "connection expired"}},
	ReasonKicked:          {"kicked", closing{4003, "kicked"}, closing{3503, "kicked"}},
	ReasonSilent:          {"silent", closing{4004, "no sign of life"}, closing{3012, "no pong"}},
	ReasonRelay:           {"closed_by_relay", none, none},
	ReasonBadRequest:      {"bad_request", none, closing{3501, "bad request"}},
	ReasonStale:           {"stale", none, closing{3502, "stale"}},
	ReasonUnconfirmed:     {"unconfirmed", none, closing{3004, "not confirmed in time"}},
	ReasonGuests:          {"guests", none, closing{3004, "too many clients are connecting"}},
	ReasonGuestBytes:      {"guest_bytes", none, closing{3004, "clients that are connecting sent too much"}},
	ReasonNoRoom:          {"no_room", none, closing{3004, "no room"}},
	ReasonRate:            {"rate", none, closing{3004, "too many commands"}},
	// The code is not 3504, after which an SDK stays away. There is room again when another session
	// of the user ends, or is found dead.
	ReasonUserLimit: {"user_sessions", none, closing{3013, "too many connections of this user"}},
	// An SDK keeps the positions of its channels after this code, and names them when it is back.
	ReasonBehind: {"behind", none, closing{3010, "insufficient state"}},
}

// both returns the row of a reason that has one close frame for both protocols.
func both(label string, code int, text string) reasonRow {
	return reasonRow{label, closing{code, text}, closing{code, text}}
}

// closeFrames has the close frame of each reason for clients of the chat, and sdkCloseFrames for
// clients of SDKs. A reason without a code has nil.
var closeFrames, sdkCloseFrames = func() (chat, sdk [reasons][]byte) {
	for r, row := range reasonTable {
		if row.chat != none {
			chat[r] = closeFrame(row.chat.code, row.chat.text)
		}
		if row.sdk != none {
			sdk[r] = closeFrame(row.sdk.code, row.sdk.text)
		}
	}
	return chat, sdk
}()

// String returns the metric label.
func (r Reason) String() string { return reasonTable[r].label }

// Code returns the code of the reason's close frame for a client of the chat. 0 means that the
// reason has no close frame there. For ReasonClient the gateway answers with the client's own code,
// if there is one.
func (r Reason) Code() int { return reasonTable[r].chat.code }

// accepts reports whether the gateway accepts messages of a client whose session has this reason.
// After ReasonDraining the client may send until it answers the close frame.
func (r Reason) accepts() bool { return r == reasonNone || r == ReasonDraining }
