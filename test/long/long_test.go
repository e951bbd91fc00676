package long

import "testing"

func TestG5_OnlyTheLongRunHasLongTests(t *testing.T) {
	for _, c := range []struct {
		value string
		runs  bool
	}{{"", false}, {"long", true}} {
		t.Setenv(variable, c.value)
		ran := false
		t.Run(c.value, func(t *testing.T) {
			Only(t, "it takes an hour")
			ran = true
		})
		if ran != c.runs {
			t.Errorf("%s=%q: the test ran: %v, want %v", variable, c.value, ran, c.runs)
		}
	}
	t.Setenv(variable, "logn")
	defer func() {
		if recover() == nil {
			t.Error("a value that means nothing is taken")
		}
	}()
	Wanted()
}
