package edge

import (
	"net/http"
	"testing"
)

// TestA8_ServedHosts checks which hosts match a pattern of EDGE_ORIGINS. Upper and lower case must
// not matter. A pattern with a port must match only a host with that port. A host that only begins
// with a pattern must not match.
func TestA8_ServedHosts(t *testing.T) {
	c := Config{Origins: []string{"chat.example.com", "https://*.example.org", "http://a.example:8080"}}
	for host, want := range map[string]bool{
		"chat.example.com": true, "CHAT.example.com": true, "x.example.org": true, "a.example:8080": true,
		"example.org": false, "chat.example.com.evil.example": false, "a.example": false, "": false,
	} {
		if got := c.servesHost(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// TestA8_AnOpenEdgeOnLoopbackIsNoStrangePagesHost sends a request that names a foreign host to an
// edge on loopback. An open edge must answer 403. An edge that asks for tokens must answer the
// request.
func TestA8_AnOpenEdgeOnLoopbackIsNoStrangePagesHost(t *testing.T) {
	for auth, want := range map[string]int{"open": http.StatusForbidden, "jwt": http.StatusOK} {
		e := newEdge(t, "EDGE_AUTH="+auth, "JWT_KEYS=k:hidden-hidden-hidden")
		stop := run(t, e)
		r, err := http.NewRequest(http.MethodGet, "http://"+e.Addr().String()+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example:8080"
		r.Close = true
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", auth, res.StatusCode, want)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
