package relay

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/edgerelay/edgerelay/shared/config"
)

// checkRedisTLS returns the problems of RELAY_REDIS_CA, RELAY_REDIS_CERT and RELAY_REDIS_KEY. If
// the variables have no problem, it reads the files and returns the problems of the files.
func (c *Config) checkRedisTLS() (problems []config.Problem) {
	named := []struct{ variable, file string }{
		{"RELAY_REDIS_CA", c.RedisCA}, {"RELAY_REDIS_CERT", c.RedisCert}, {"RELAY_REDIS_KEY", c.RedisKey},
	}
	for _, n := range named {
		if n.file != "" && !strings.HasPrefix(c.RedisURL, "rediss") {
			problems = append(problems, config.Problemf(n.variable,
				"has no effect unless RELAY_REDIS_URL begins with rediss, for TLS"))
		}
	}
	switch {
	case c.RedisCert != "" && c.RedisKey == "":
		problems = append(problems,
			config.Problemf("RELAY_REDIS_KEY", "is needed beside RELAY_REDIS_CERT"))
	case c.RedisKey != "" && c.RedisCert == "":
		problems = append(problems,
			config.Problemf("RELAY_REDIS_CERT", "is needed beside RELAY_REDIS_KEY"))
	}
	if len(problems) > 0 {
		return problems
	}
	if _, problem := c.readRedisCA(); problem != nil {
		problems = append(problems, *problem)
	}
	if _, problem := c.readRedisPair(); problem != nil {
		problems = append(problems, *problem)
	}
	return problems
}

// readRedisCA reads the file of the authorities. If RELAY_REDIS_CA names no file, it returns nil,
// and the relay trusts the system's authorities.
func (c *Config) readRedisCA() (*x509.CertPool, *config.Problem) {
	if c.RedisCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.RedisCA)
	if err != nil {
		return nil, new(config.Problemf("RELAY_REDIS_CA", "%v", err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, new(config.Problemf("RELAY_REDIS_CA",
			"%s has no certificate in PEM's form, which begins with -----BEGIN CERTIFICATE-----", c.RedisCA))
	}
	return pool, nil
}

// readRedisPair reads the files of the certificate and its key. If RELAY_REDIS_CERT names no file,
// it returns nil, and the relay shows Redis no certificate.
func (c *Config) readRedisPair() (*tls.Certificate, *config.Problem) {
	if c.RedisCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.RedisCert, c.RedisKey)
	if err != nil {
		return nil, new(config.Problemf("RELAY_REDIS_CERT", "with RELAY_REDIS_KEY: %v", err))
	}
	return &pair, nil
}

// reread holds the content of files that may be replaced while the relay runs. If the files are
// wrong when they are read, it keeps the content that it had.
type reread[T any] struct {
	read reader[T]
	log  *slog.Logger

	mu   sync.Mutex // guards the following; not held while files are read
	last *T
	told string // the last problem logged; "" if a later read found none
}

// reader reads files. Both results are nil when the configuration names no files.
type reader[T any] func() (*T, *config.Problem)

// newReread reads the files for the first time. It returns a Problem if they are wrong.
func newReread[T any](read reader[T], log *slog.Logger) (*reread[T], *config.Problem) {
	first, problem := read()
	return &reread[T]{read: read, log: log, last: first}, problem
}

// The method named now reads the files again and returns their content. If the files are wrong, it
// returns the last right content. It logs the problem when the problem begins or changes. Any
// goroutine may call this method.
func (r *reread[T]) now() *T {
	next, problem := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	if problem == nil {
		r.last, r.told = next, ""
		return next
	}
	if text := problem.Error(); text != r.told {
		r.told = text
		r.log.Warn("a file for TLS to Redis is wrong: what it said before is used", "err", text)
	}
	return r.last
}
