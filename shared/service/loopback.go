package service

import (
	"net"
	"net/http"
)

// onLoopback lets only callers on this machine through to h. A proxy on this machine would make everyone such a caller, so requests that
// carry a proxy's mark are refused; so are those for another host name, which a web page could have a browser send here.
func onLoopback(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !localRequest(r) {
			http.Error(w, "only for callers on this machine, by its loopback address", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func localRequest(r *http.Request) bool {
	caller, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !loopbackHost(caller) {
		return false
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if !loopbackHost(host) {
		return false
	}
	for _, mark := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via", "Fly-Client-Ip", "Cf-Connecting-Ip"} {
		if r.Header.Get(mark) != "" {
			return false
		}
	}
	return true
}
