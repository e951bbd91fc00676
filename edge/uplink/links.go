package uplink

import (
	"cmp"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// LinksConfig configures Links.
type LinksConfig struct {
	LogSize int // as in Config

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: discarded
}

const defaultLogSize = 4 << 20

// Links is the logic of an Uplink: the log of what clients sent, and what each Link is told, sent, and does. It has no goroutine and does no I/O, and it knows no
// time: Uplink's goroutines step it, and so can one caller that has a network of its own. All methods may be called at any time, by anyone; none blocks
// but WaitRoom and Flush.
type Links struct {
	handler Handler
	logger  *slog.Logger
	metrics *metrics

	// turn is held while the link in use changes the Handler's tables or the log by a frame from the relay, and while the tables are read for a new link: what a new
	// relay is told, and what is replayed to it, are of one moment. It is taken before mu and never held across I/O.
	turn sync.Mutex

	// mu makes one order of what sessions do: a Session frame goes before the messages of its session, and those before its end. It is never
	// held across I/O nor while the Handler is called.
	mu        sync.Mutex // guards the following
	log       *Log
	admission *admission
	newest    *Link // that is being told or up; nil: there is none
	up        *Link // the same, once it was told
	ever      bool
	degraded  []string      // as the relay said
	changed   chan struct{} // closed when the log has shrunk or the link is gone; nil: nobody waits
}

// NewLinks returns Links with an empty log and no link, that feed handler.
func NewLinks(config LinksConfig, handler Handler) *Links {
	s := &Links{handler: handler, logger: config.Log, log: NewLog(cmp.Or(config.LogSize, defaultLogSize))}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.admission = newAdmission(s.log)
	s.metrics = newMetrics(config.Metrics, s)
	return s
}
