package gateway

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// checkUpgrade reports why r is not a WebSocket upgrade. What passes it is upgraded: a session is opened only for such requests.
func checkUpgrade(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet, !r.ProtoAtLeast(1, 1), r.ProtoMajor != 1,
		!hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		return errors.New("want a WebSocket upgrade")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return errors.New("want Sec-WebSocket-Version: 13")
	case r.ContentLength != 0: // what follows the request would be taken for frames
		return errors.New("want a request without a body")
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 {
		return errors.New("want one Sec-WebSocket-Key")
	}
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(key) != 16 {
		return errors.New("want a Sec-WebSocket-Key of 16 bytes in base64")
	}
	return nil
}

// listHeader returns the elements of a comma-separated header.
func listHeader(h http.Header, name string) (list []string) {
	for _, line := range h.Values(name) {
		for element := range strings.SplitSeq(line, ",") {
			list = append(list, strings.TrimSpace(element))
		}
	}
	return list
}

func hasToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(listHeader(h, name), func(s string) bool { return strings.EqualFold(s, token) })
}
