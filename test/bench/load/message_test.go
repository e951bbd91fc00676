package load

import "testing"

func TestMessage(t *testing.T) {
	b := appendMessage(nil, 42, 64)
	if len(b) != 64 || b[63] != end {
		t.Fatalf("%q has %d bytes; want 64 with an end", b, len(b))
	}
	setDigits(b[numberAt:numberAt+numberDigits], 1234567)
	if got := string(b[:MinSize]); got != "@@0000420001234567x" {
		t.Errorf("got %q", got)
	}
	if got := digits(b[numberAt : numberAt+numberDigits]); got != 1234567 {
		t.Errorf("read back as %d", got)
	}
	if got := len(appendMessage(nil, 1, MinSize)); got != MinSize {
		t.Errorf("the least has %d bytes; want %d", got, MinSize)
	}
}
