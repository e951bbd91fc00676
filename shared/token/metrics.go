package token

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Register adds metrics of the JWK Set to a registry. Their names begin with the prefix. Without a
// set there are none.
func (p *PublicKeys) Register(to prometheus.Registerer, prefix string) {
	if p == nil || p.sources.Set == "" {
		return
	}
	with := promauto.With(to)
	gauge := func(name, help string, value func(s SetState) float64) {
		with.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + name, Help: help}, func() float64 { return value(p.State()) })
	}
	gauge("jwks_keys", "Keys of JWT_JWKS_URL that are in use.", func(s SetState) float64 { return float64(s.Keys) })
	gauge("jwks_age_seconds", "Time since the keys of JWT_JWKS_URL were last fetched. -1 means never.", func(s SetState) float64 {
		if s.Fetched.IsZero() {
			return -1
		}
		return time.Since(s.Fetched).Seconds()
	})
	for result, value := range map[string]func(s SetState) uint64{
		"ok": func(s SetState) uint64 { return s.Done }, "failed": func(s SetState) uint64 { return s.Failed },
	} {
		with.NewCounterFunc(prometheus.CounterOpts{
			Name: prefix + "jwks_fetches_total", Help: "Fetches of JWT_JWKS_URL, by result.", ConstLabels: prometheus.Labels{"result": result},
		}, func() float64 { return float64(value(p.State())) })
	}
}
