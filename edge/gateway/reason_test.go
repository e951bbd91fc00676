package gateway

import "testing"

func TestEveryReasonHasALabelAndItsCode(t *testing.T) {
	labels := map[string]bool{}
	for r := range reasons {
		label := r.String()
		if label == "" || labels[label] {
			t.Errorf("reason %d: label %q", r, label)
		}
		labels[label] = true
		if (r.Code() != 0) != (closeFrames[r] != nil) || len(closeFrames[r]) > 127 {
			t.Errorf("%s: code %d, frame %q", label, r.Code(), closeFrames[r])
		}
	}
}
