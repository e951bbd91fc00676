package redistest

import (
	"crypto/tls"
	"testing"
)

// TLS says which certificates TLS-only servers have, and which clients they accept.
type TLS struct {
	Authority *Authority
	Host      string // host in each server's certificate; "": its address
	AskClient bool   // clients need a certificate of the authority
}

// StartTLS is Start for a server that speaks nothing but TLS.
func StartTLS(t testing.TB, how TLS, options ...string) *Server {
	t.Helper()
	return start(t, &how, nil, plain(options))
}

// RestartTLS is Restart with another TLS configuration. It closes the old client of the server.
// After that, the method Client returns a new client.
func (s *Server) RestartTLS(how TLS) {
	s.t.Helper()
	if s.cmd != nil {
		s.t.Fatal("redistest: restarted without Kill")
	}
	s.client.Close()
	s.identify(&how)
	s.start()
}

// TLS.arguments returns the arguments of redis-server for the port and for TLS. If the receiver is
// nil, the server speaks no TLS.
func (how *TLS) arguments(host, port string) []string {
	if how == nil {
		return []string{"--port", port}
	}
	if how.Host != "" {
		host = how.Host
	}
	cert, key := how.Authority.Certify(host)
	ask := "no"
	if how.AskClient {
		ask = "yes"
	}
	return []string{
		"--port", "0", "--tls-port", port, "--tls-ca-cert-file", how.Authority.File,
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", ask,
		"--tls-replication", "yes",
	}
}

// TLS.client returns a TLS configuration for clients of servers with this TLS. The configuration
// has a certificate that the servers accept. If the receiver is nil, TLS.client returns nil.
func (how *TLS) client(t testing.TB) *tls.Config {
	t.Helper()
	if how == nil {
		return nil
	}
	own := how.Authority.Pair("test")
	return &tls.Config{
		RootCAs: how.Authority.Pool(), Certificates: []tls.Certificate{*own}, ServerName: how.Host,
	}
}

// TLS.scheme returns the scheme of URLs of servers with this TLS: rediss, or redis if the receiver
// is nil.
func (how *TLS) scheme() string {
	if how == nil {
		return "redis"
	}
	return "rediss"
}
