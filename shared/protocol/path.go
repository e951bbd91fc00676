package protocol

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// SDKPath is the path at which the SDKs of Centrifugo connect. Their protocol names the user later.
const SDKPath = "/connection/websocket"

// ErrNoEndpoint is returned by ParsePath for a path that has the shape of no endpoint.
var ErrNoEndpoint = errors.New("want /chat/channel/{id}, /chat/user/{id}, /chat/group/{group}/{id} or /chat/all/{id}")

// ParsePath reads the path of a chat client's upgrade, as it was on the wire (url.URL.EscapedPath).
// Each id in it is percent-decoded once, by itself, so that %2F is a slash inside an id. A plus
// stays a plus. The result group is "" unless the endpoint is EndpointGroup.
//
// The error is ErrNoEndpoint, or it names the segment that is no id. Its text may be shown to the
// client.
func ParsePath(escapedPath string) (e Endpoint, group, user string, err error) {
	rest, ok := strings.CutPrefix(escapedPath, "/chat/")
	if !ok {
		return 0, "", "", ErrNoEndpoint
	}
	word, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, "", "", ErrNoEndpoint
	}
	switch word {
	case "channel":
		e = EndpointChannel
	case "user":
		e = EndpointUser
	case "group":
		e = EndpointGroup
		segment, after, ok := strings.Cut(rest, "/")
		if !ok {
			return 0, "", "", ErrNoEndpoint
		}
		if group, err = parseSegment("group", segment); err != nil {
			return 0, "", "", err
		}
		rest = after
	case "all":
		e = EndpointAll
	default:
		return 0, "", "", ErrNoEndpoint
	}
	if strings.Contains(rest, "/") {
		return 0, "", "", ErrNoEndpoint
	}
	if user, err = parseSegment("id", rest); err != nil {
		return 0, "", "", err
	}
	return e, group, user, nil
}

// parseSegment decodes one segment of a path and checks that it is an id.
func parseSegment(name, segment string) (string, error) {
	id, err := url.PathUnescape(segment)
	if err != nil {
		return "", fmt.Errorf("%s: a percent sign must be followed by two hexadecimal digits", name)
	}
	if err := CheckID(id); err != nil {
		return "", fmt.Errorf("%s %w", name, err)
	}
	return id, nil
}
