package gateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/token"
)

// Auth checks whether a client may connect as the user that the request's path names. The zero Auth
// admits nobody.
type Auth struct {
	// Open admits every client, and asks for no token. A client of the chat is then the user that
	// the path of its request names.
	Open bool
	// Tokens judges the tokens of requests.
	Tokens token.Judge
	// TokenQuery also accepts a token in the URL (?token=). Proxies and browser histories may store
	// such a token.
	TokenQuery bool
}

// maxTokens bounds how many tokens of a request are tried. Further tokens of the request are
// ignored.
const maxTokens = 8

// bearer is the scheme of an Authorization header. It is also the subprotocol that a browser names
// before its token, since a browser cannot set that header on a WebSocket request.
const bearer = "bearer"

var (
	errNoToken   = errors.New("a token is required: as Authorization: Bearer, or as the subprotocols bearer, <token>")
	errOtherUser = errors.New("sub is not the id in the path")
)

// undecidedError is the error for a request without a right token, if one of its tokens could not
// be judged: a key is missing here. The same request may be right later, or at another edge.
type undecidedError struct{ error }

// check returns the time until which the client may stay connected as the given user. The zero time
// means for ever. If a request has several tokens, one valid token of that user is enough. The
// error's text may be shown to the client.
func (a Auth) check(r *http.Request, user string) (until time.Time, err error) {
	if a.Open {
		return time.Time{}, nil
	}
	var faults []string
	undecided := false
	for _, o := range a.offered(r) {
		claims, err := a.Tokens.Judge(o.text, time.Now())
		if err == nil && claims.Subject == user {
			return claims.Until, nil
		}
		if err == nil {
			err = errOtherUser
		} else if _, refused := errors.AsType[token.Fault](err); !refused {
			undecided = true
		}
		if text := "token in " + o.source + ": " + err.Error(); !slices.Contains(faults, text) {
			faults = append(faults, text)
		}
	}
	if len(faults) == 0 {
		return time.Time{}, errNoToken
	}
	err = errors.New(strings.Join(faults, "; "))
	if undecided {
		err = undecidedError{err}
	}
	return time.Time{}, err
}

// offer is one token that a request has. The field source names the part of the request that has
// the token.
type offer struct{ source, text string }

// offered returns the request's tokens in the order in which they are tried. The subprotocol comes
// first, since proxies may add Authorization headers of their own.
func (a Auth) offered(r *http.Request) (offers []offer) {
	add := func(source, text string) {
		if text = strings.TrimSpace(text); text != "" && len(offers) < maxTokens {
			offers = append(offers, offer{source, text})
		}
	}
	protocols := listHeader(r.Header, "Sec-WebSocket-Protocol")
	for i, p := range protocols {
		if isBearer(p) && i+1 < len(protocols) {
			add("the subprotocol", protocols[i+1])
		}
	}
	for _, line := range r.Header.Values("Authorization") {
		if scheme, text, ok := strings.Cut(line, " "); ok && isBearer(scheme) {
			add("Authorization", text)
		}
	}
	if a.TokenQuery {
		for _, text := range r.URL.Query()["token"] {
			add("the query", text)
		}
	}
	return offers
}

func isBearer(s string) bool { return strings.EqualFold(s, bearer) }
