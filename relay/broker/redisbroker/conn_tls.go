package redisbroker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/edgerelay/edgerelay/shared/resolve"
	"github.com/redis/go-redis/v9"
)

// dialer returns the function that makes opt's connections. If opt asks for TLS, that function does
// the handshake itself: go-redis' own dialler does not stop a handshake when the context is done,
// and the errors of that dialler give no advice. The function secure completes the TLS
// configuration of each connection.
func dialer(
	opt *redis.Options, names *resolve.Names, secure func(*tls.Config),
) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, opt.DialTimeout)
		defer cancel()
		raw, err := names.DialContext(ctx, network, addr)
		if err != nil || opt.TLSConfig == nil {
			return raw, err
		}
		config := opt.TLSConfig.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(addr)
		}
		secure(config)
		conn := tls.Client(raw, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, advised(err)
		}
		return checkable(conn), nil
	}
}

// rawConn gives syscall.Conn another name, so that it can be embedded beside net.Conn.
type rawConn = syscall.Conn

// checkable lets go-redis check before each use whether a TLS connection is still open. The check
// takes unread bytes for a fault. A TLS server sends some bytes unasked. Most of them come before
// the server's first reply, and are read together with that reply. So the check rarely refuses an
// open connection.
func checkable(conn *tls.Conn) net.Conn {
	raw, ok := conn.NetConn().(syscall.Conn)
	if !ok {
		return conn
	}
	return struct {
		net.Conn
		rawConn
	}{conn, raw}
}

// These texts tell an operator what to do about a handshake that failed.
const (
	adviceName = "name the server in RELAY_REDIS_URL as its certificate does; " +
		"servers behind Sentinels or in a Redis Cluster go by the address that is announced for them"
	adviceCA    = "name the file with its authority's certificate in RELAY_REDIS_CA"
	advicePlain = "if this port does not speak TLS, RELAY_REDIS_URL is to begin with redis, not rediss"
)

// advised adds advice to the error of a handshake, if there is advice for that error.
func advised(err error) error {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("%w; %s", err, adviceName)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w; %s", err, adviceCA)
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	// A Redis without TLS takes the handshake for a command, and waits for the end of the command's
	// line. So the handshake ends at its deadline.
	if ok || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w; %s", err, advicePlain)
	}
	return err
}
