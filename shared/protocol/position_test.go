package protocol

import "testing"

func TestPositionOrder(t *testing.T) {
	ordered := []Position{{}, {0, 1}, {1, 0}, {1, 1}, {1, 9}, {2, 1}, {1<<64 - 1, 0}}
	for i, p := range ordered {
		for j, q := range ordered {
			if p.Before(q) != (i < j) {
				t.Errorf("%v before %v: %v", p, q, p.Before(q))
			}
		}
		if p.IsZero() != (i == 0) {
			t.Errorf("%v is zero: %v", p, p.IsZero())
		}
		if got, err := ParsePosition(p.String()); got != p || err != nil {
			t.Errorf("ParsePosition(%q) = %v, %v", p.String(), got, err)
		}
	}
}

func TestParsePositionErrors(t *testing.T) {
	for _, s := range []string{"", "1", "-", "1-", "-1", "1-2-3", "a-1", "1-a", "1 -2", "18446744073709551616-0"} {
		if p, err := ParsePosition(s); err == nil {
			t.Errorf("ParsePosition(%q) = %v", s, p)
		}
	}
}

func TestInstance(t *testing.T) {
	i := NewInstance()
	if i == NewInstance() || i == (Instance{}) {
		t.Fatalf("%v is not unique", i)
	}
	if got, err := ParseInstance(i.String()); got != i || err != nil {
		t.Errorf("ParseInstance(%q) = %v, %v", i.String(), got, err)
	}
	for _, s := range []string{"", "00", i.String()[1:], i.String() + "00", "x" + i.String()[1:]} {
		if got, err := ParseInstance(s); err == nil {
			t.Errorf("ParseInstance(%q) = %v", s, got)
		}
	}
}
