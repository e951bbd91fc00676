package gateway

import (
	"bytes"
	"encoding/json"
	"testing"
)

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

// TestEveryReasonHasACodeForSDKs checks the codes and the texts of the close frames for SDKs. A
// reason that has a code for the chat must have one for SDKs. No text may be empty or JSON: see
// reasonRow. If the client is to come back, the code must be below 3500.
func TestEveryReasonHasACodeForSDKs(t *testing.T) {
	for r := reasonNone + 1; r < reasons; r++ {
		row := reasonTable[r]
		code, text := row.sdk.code, row.sdk.text
		if (code == 0) && (row.chat.code != 0) || (code != 0) != (sdkCloseFrames[r] != nil) {
			t.Errorf("%s has the code %d", r, code)
		}
		if code == 0 {
			continue
		}
		if text == "" || len(text) > 123 || json.Valid([]byte(text)) {
			t.Errorf("%s has the text %q", r, text)
		}
		if !bytes.Equal(sdkCloseFrames[r], closeFrame(code, text)) {
			t.Errorf("%s has the frame %q", r, sdkCloseFrames[r])
		}
	}
	for _, r := range []Reason{ReasonDraining, ReasonOverload, ReasonSlow, ReasonExpired, ReasonSilent, ReasonUnconfirmed, ReasonNoRoom, ReasonBehind} {
		if code := reasonTable[r].sdk.code; code < 3000 || code >= 3500 {
			t.Errorf("after %s an SDK stays away: %d", r, code)
		}
	}
}
