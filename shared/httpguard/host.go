package httpguard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// onLoopback lets a request through to h only if it comes from this machine and names a loopback
// host. A proxy on this machine may pass on requests from other machines. So requests with a header
// that a proxy adds are refused.
func onLoopback(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !localRequest(r) {
			text := "only for callers on this machine, by its loopback address"
			http.Error(w, text, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func localRequest(r *http.Request) bool {
	caller, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !loopbackName(caller) || !loopbackName(hostname(r.Host)) {
		return false
	}
	marks := []string{
		"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via", "Fly-Client-Ip", "Cf-Connecting-Ip",
	}
	for _, mark := range marks {
		if r.Header.Get(mark) != "" {
			return false
		}
	}
	return true
}

// guardHost guards a server that listens on loopback and has Config.OtherHosts. It answers 403 to a
// request whose host is neither a loopback name of this machine nor permitted by Config.OtherHosts.
//
// Without the guard, a foreign web page could read the answers. The page's owner points the page's
// host name to 127.0.0.1, and a browser then takes this server for that host. Only the host name in
// the request shows that the page is foreign. Browsers always send the host name, so a request
// without it comes from no page.
func (s *Server) guardHost(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.loopback.Load() && r.Host != "" && !loopbackName(hostname(r.Host)) && !s.otherHosts(r.Host) {
			s.waiting.refused[refusedHost].Inc()
			text := "this port listens on loopback: ask for it as 127.0.0.1, [::1] or localhost"
			if s.otherHostsBy != "" {
				text += "; " + s.otherHostsBy + " on the server names other hosts"
			} else {
				text += "; a proxy in front sets Host to one of them"
			}
			http.Error(w, text, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// hostname returns host[:port] without the port, and without the brackets of an IPv6 address.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// loopbackName reports whether a browser always finds its own machine under this host name.
func loopbackName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// onlyLoopback reports whether l can be reached from this machine alone.
func onlyLoopback(l net.Listener) bool {
	tcp, ok := l.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
