package cluster

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

var adminClient = &http.Client{Timeout: 5 * time.Second}

// Metrics is the result of one scrape: values by series. A series is written as in Prometheus' text
// format, labels included.
type Metrics map[string]float64

// Sum adds up the series of the metric with the given name. A series counts only if it has all the
// given labels. A label is written `key="value"`.
func (m Metrics) Sum(name string, labels ...string) (sum float64) {
series:
	for series, value := range m {
		base, remainder, _ := strings.Cut(series, "{")
		if base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(remainder, l) {
				continue series
			}
		}
		sum += value
	}
	return sum
}

// Has reports whether the metric with the given name has a series.
func (m Metrics) Has(name string) bool {
	for series := range m {
		if base, _, _ := strings.Cut(series, "{"); base == name {
			return true
		}
	}
	return false
}

// Scrape reads the metrics of the admin port at host:port. It returns an error if nobody answers
// there, if the status is not 200, or if the answer breaks off.
func Scrape(admin string) (Metrics, error) {
	res, err := adminClient.Get("http://" + admin + "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of %s: %s", admin, res.Status)
	}
	m := Metrics{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		line := lines.Text()
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
				m[line[:i]] = v
			}
		}
	}
	return m, lines.Err()
}

func mustScrape(t testing.TB, admin string) Metrics {
	t.Helper()
	m, err := Scrape(admin)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The function fetch returns a page's status and body, or status 0 if the server does not answer.
func fetch(url string) (status int, body string) {
	res, err := adminClient.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}
