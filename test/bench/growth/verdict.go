package growth

// A cost may rise for three reasons: noise, caches that hold a shrinking share of the data, and
// work that should not be done. These bounds tell the three apart. For example, a scan of all data
// is work that should not be done, and has an exponent of 1.
const (
	noise = 1.5           // the largest ratio of two costs that noise explains
	slope = noise * noise // the largest ratio of two slopes that noise explains
	level = 0.15          // largest exponent of a flat cost: at 10 times x, 1.4 times y
)

// Verdict describes a growth in words. It distinguishes a cost that rises only at first from a cost
// that still rises at the upper end.
func (g Growth) Verdict() string {
	switch {
	case g.Faster():
		return "**faster than its work**"
	case g.Ratio <= 1/noise:
		return "less than its work"
	case g.Ratio > g.most:
		return "more at first, then as its work"
	}
	return "as its work"
}

// Faster reports whether the cost grows faster than its work.
func (g Growth) Faster() bool {
	return g.Ratio > g.most && (g.most == slope || g.Exponent > level)
}
