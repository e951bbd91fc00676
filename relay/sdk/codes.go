package sdk

// ErrorCode says why a command failed. SDKs act by the code, and show its message to the
// application. No code is below 100. On a code below 100, the SDK for Go would give up, and the SDK
// for JavaScript would try again.
type ErrorCode uint16

const (
	ErrorInternal              ErrorCode = 100
	ErrorUnauthorized          ErrorCode = 101
	ErrorUnknownChannel        ErrorCode = 102
	ErrorPermissionDenied      ErrorCode = 103
	ErrorMethodNotFound        ErrorCode = 104 // the procedure of an RPC is not known
	ErrorAlreadySubscribed     ErrorCode = 105
	ErrorLimitExceeded         ErrorCode = 106
	ErrorBadRequest            ErrorCode = 107
	ErrorNotAvailable          ErrorCode = 108 // the feature is off
	ErrorTokenExpired          ErrorCode = 109
	ErrorExpired               ErrorCode = 110
	ErrorTooManyRequests       ErrorCode = 111
	ErrorUnrecoverablePosition ErrorCode = 112
	ErrorConcurrentPagination  ErrorCode = 113
)

// errorTexts has the message of each ErrorCode, and whether the error is temporary. After a
// temporary error SDKs try a connect or a subscribe again by themselves. After most of the other
// errors they give up for good.
var errorTexts = map[ErrorCode]struct {
	message   string
	temporary bool
}{
	ErrorInternal:              {"internal server error", true},
	ErrorUnauthorized:          {"unauthorized", false},
	ErrorUnknownChannel:        {"unknown channel", false},
	ErrorPermissionDenied:      {"permission denied", false},
	ErrorMethodNotFound:        {"method not found", false},
	ErrorAlreadySubscribed:     {"already subscribed", false},
	ErrorLimitExceeded:         {"limit exceeded", false},
	ErrorBadRequest:            {"bad request", false},
	ErrorNotAvailable:          {"not available", false},
	ErrorTokenExpired:          {"token expired", false},
	ErrorExpired:               {"expired", false},
	ErrorTooManyRequests:       {"too many requests", true},
	ErrorUnrecoverablePosition: {"unrecoverable position", false},
	ErrorConcurrentPagination:  {"concurrent pagination", true},
}

// Message returns the text of the code.
func (c ErrorCode) Message() string { return errorTexts[c].message }

// IsTemporary reports whether the same command may succeed later.
func (c ErrorCode) IsTemporary() bool { return errorTexts[c].temporary }

// UnsubscribeCode says why the server ends a client's subscription. If the code is below 2500, the
// SDK does nothing more. If the code is 2500 or higher, the SDK subscribes again at once, without
// any delay. If the server itself made the subscription, the SDK ends it whatever the code is.
type UnsubscribeCode uint16

const (
	UnsubscribeServer            UnsubscribeCode = 2000 // asked for by the server API
	UnsubscribeInsufficientState UnsubscribeCode = 2500 // publications are lost; the SDK recovers
	UnsubscribeExpired           UnsubscribeCode = 2501 // the SDK first tries its old token again
	UnsubscribeStateInvalidated  UnsubscribeCode = 2502 // the SDK forgets token and position
)

var unsubscribeReasons = map[UnsubscribeCode]string{
	UnsubscribeServer:            "server unsubscribe",
	UnsubscribeInsufficientState: "insufficient state",
	UnsubscribeExpired:           "subscription expired",
	UnsubscribeStateInvalidated:  "state invalidated",
}

// Reason returns the text of the code.
func (c UnsubscribeCode) Reason() string { return unsubscribeReasons[c] }

// CloseCode says why a connection is closed, in the close frame of the WebSocket. If the code is
// from 3000 to 3499, an SDK comes back by itself. If the code is from 3500 to 3999, no SDK comes
// back by itself.
type CloseCode uint16

const (
	CloseShutdown            CloseCode = 3001
	CloseInternal            CloseCode = 3004
	CloseExpired             CloseCode = 3005
	CloseSubscriptionExpired CloseCode = 3006 // of a subscription that the server made
	CloseSlow                CloseCode = 3008
	CloseWriteError          CloseCode = 3009
	CloseInsufficientState   CloseCode = 3010 // publications are lost; the SDK recovers
	CloseForceReconnect      CloseCode = 3011
	CloseNoPong              CloseCode = 3012
	CloseTooManyRequests     CloseCode = 3013
	CloseStateInvalidated    CloseCode = 3014 // the SDK forgets token and positions

	CloseInvalidToken          CloseCode = 3500
	CloseBadRequest            CloseCode = 3501
	CloseStale                 CloseCode = 3502 // no connect came in time
	CloseForceDisconnect       CloseCode = 3503
	CloseConnectionLimit       CloseCode = 3504
	CloseChannelLimit          CloseCode = 3505
	CloseInappropriateProtocol CloseCode = 3506
	ClosePermissionDenied      CloseCode = 3507
	CloseNotAvailable          CloseCode = 3508
	CloseTooManyErrors         CloseCode = 3509
)

// closeReasons has the reason of each CloseCode. No reason may be empty: after an empty one, the
// SDK for JavaScript would come back whatever the code is. No reason may be valid JSON, since that
// SDK would read it as JSON. A close frame has room for 123 bytes of reason.
var closeReasons = map[CloseCode]string{
	CloseShutdown:              "shutdown",
	CloseInternal:              "internal server error",
	CloseExpired:               "connection expired",
	CloseSubscriptionExpired:   "subscription expired",
	CloseSlow:                  "slow",
	CloseWriteError:            "write error",
	CloseInsufficientState:     "insufficient state",
	CloseForceReconnect:        "force reconnect",
	CloseNoPong:                "no pong",
	CloseTooManyRequests:       "too many requests",
	CloseStateInvalidated:      "state invalidated",
	CloseInvalidToken:          "invalid token",
	CloseBadRequest:            "bad request",
	CloseStale:                 "stale",
	CloseForceDisconnect:       "force disconnect",
	CloseConnectionLimit:       "connection limit",
	CloseChannelLimit:          "channel limit",
	CloseInappropriateProtocol: "inappropriate protocol",
	ClosePermissionDenied:      "permission denied",
	CloseNotAvailable:          "not available",
	CloseTooManyErrors:         "too many errors",
}

// Reason returns the text of the code.
func (c CloseCode) Reason() string { return closeReasons[c] }
