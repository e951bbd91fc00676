package gateway

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
)

// BenchmarkBegin is how long frames that change memberships wait when a link begins.
func BenchmarkBegin(b *testing.B) {
	h := newMirror(HubConfig{})
	users := make([]string, 50_000)
	for i := range users {
		users[i] = fmt.Sprint("user-", i)
	}
	openAll(h, &fakeUpstream{}, users...)
	var bytes []byte
	for b.Loop() {
		bytes = bytes[:0]
		h.Begin(func(s link.Session) { bytes = s.Append(bytes) }, func(f link.Held) { bytes = f.Append(bytes) })
	}
	b.ReportMetric(float64(len(bytes))/50_000, "bytes/session")
}
