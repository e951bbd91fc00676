package growth

// What is told apart: noise, caches that hold less and less of what there is, and work that should not be there. A scan of all there is comes to an exponent of 1.
const (
	noise = 1.5           // ratios of costs up to here
	slope = noise * noise // ratios of differences of costs up to here; a square comes to 2.6 and more
	level = 0.15          // exponents up to here: 1.4 times for ten times as much
)

// Verdict says it in words. What rises by more than noise, but hardly where there is most, is named apart from what goes on rising.
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

// Faster reports whether it grows faster than its work.
func (g Growth) Faster() bool {
	return g.Ratio > g.most && (g.most == slope || g.Exponent > level)
}
