package gateway

// Reason is why a session ended. It is a metric label. A reason may also give the code and the text
// of a close frame.
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
	ReasonLimit           // too many frames that brought no message
	ReasonUnfinished      // a message or a control frame was begun and not finished in time
	ReasonUnfinishedBytes // unfinished messages took too many bytes, and this one gave way
	ReasonTooBig          // a message was longer than Config.MaxMessage
	ReasonDraining        // this node is going away; another one may take the client
	ReasonOverload        // not used yet: this node has too much to do
	ReasonSlow            // the client did not read; what the writer had not taken is lost
	ReasonReplaced        // not used yet: another connection took this one's place
	ReasonExpired         // the client's token expired
	ReasonKicked          // not used yet: the operator ended the session
	ReasonSilent          // no sign of life after a ping
	reasons
)

var reasonTable = [reasons]struct {
	label string
	code  int // 0: the gateway has no close frame of its own for this reason
	text  string
}{
	reasonNone:            {"none", 0, ""},
	ReasonClient:          {"client_closed", 0, ""},
	ReasonGone:            {"client_gone", 0, ""},
	ReasonRefused:         {"refused", 0, ""},
	ReasonProtocol:        {"protocol_error", 1002, "protocol error"},
	ReasonUTF8:            {"not_utf8", 1007, "not UTF-8"},
	ReasonLimit:           {"limit", 1008, "limit exceeded"},
	ReasonUnfinished:      {"unfinished", 1008, "message not finished"},
	ReasonUnfinishedBytes: {"unfinished_bytes", 1008, "too many unfinished messages"},
	ReasonTooBig:          {"too_big", 1009, "message too big"},
	ReasonDraining:        {"draining", 1012, "draining"},
	ReasonOverload:        {"overload", 1013, "overload"},
	ReasonSlow:            {"slow_reader", 4000, "slow reader"},
	ReasonReplaced:        {"replaced", 4001, "replaced"},
	ReasonExpired:         {"token_expired", 4002, "token expired"},
	ReasonKicked:          {"kicked", 4003, "kicked"},
	ReasonSilent:          {"silent", 4004, "no sign of life"},
}

// closeFrames has the close frame of each reason, or nil for a reason without a code.
var closeFrames = func() (frames [reasons][]byte) {
	for r, row := range reasonTable {
		if row.code != 0 {
			frames[r] = closeFrame(row.code, row.text)
		}
	}
	return frames
}()

// String returns the metric label.
func (r Reason) String() string { return reasonTable[r].label }

// Code returns the code of the reason's close frame. 0 means that the reason has no close frame.
// For ReasonClient the gateway answers with the client's own code, if there is one.
func (r Reason) Code() int { return reasonTable[r].code }

// accepts reports whether the gateway accepts what the client sends while its session has this
// reason. After ReasonDraining the client may send until it answers the close frame.
func (r Reason) accepts() bool { return r == reasonNone || r == ReasonDraining }
