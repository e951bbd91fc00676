package protocol

import (
	"strings"
	"testing"
)

// TestA7_StrictIDsCannotPretend checks which ids the strict rules refuse. They accept the first
// list. They refuse the second list, which CheckID accepts. They refuse the third list with the
// errors of CheckID.
func TestA7_StrictIDsCannotPretend(t *testing.T) {
	for _, id := range []string{
		"1", "Anna Maria", "anna@example.com", "a/b", "é", "Ω", "日本語", "한국어", "हिन्दी", "עברית", "العربية", "😀",
		"[x]", "「x」", "send:", "a send", "x&amp;y", "\uFFFD", strings.Repeat("x", MaxID),
	} {
		if err := CheckStrictID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for id, says := range map[string]string{
		"a\u202Eb": "seen", "a\u2066b": "seen", "\u200Fa": "seen", "\u061Ca": "seen", // bidi
		// Of the next four lines, the first has other format characters. The second has separators,
		// variation selectors and fillers. The third has ids that could pass for another part of a
		// message. The fourth has ids in other normalization forms.
		"a\u200Bb": "seen", "a\u200Db": "seen", "a\uFEFF": "seen", "a\u00ADb": "seen", "a\U000E0041": "seen",
		"a\u2028b": "seen", "a\u2029b": "seen", "a\uFE0F": "seen", "a\U000E0100": "seen", "a\u034Fb": "seen", "\u3164": "seen",
		"1】 user 【2": "【", "a】": "【", "【a": "【", "2 send:pay me": "send:",
		"e\u0301": "NFC", "\u2126": "NFC", "\u212B": "NFC", "\u1112\u1161\u11ab": "NFC",
	} {
		if err := CheckStrictID(id); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", id, err, says)
		}
		if err := CheckID(id); err != nil {
			t.Errorf("%q is refused where ids are not strict: %v", id, err)
		}
	}
	for _, id := range []string{"", strings.Repeat("x", MaxID+1), "\xff", "a\x1bb", "a\nb", "a\u0085b"} {
		if err := CheckStrictID(id); err == nil || err != CheckID(id) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestA7_CommandsAreJudgedByTheirNamesAlone checks that the strict rules apply to names only. A
// message is the user's own text. A leave is permitted for any valid name of a group.
func TestA7_CommandsAreJudgedByTheirNamesAlone(t *testing.T) {
	for _, test := range []struct{ frame, says string }{
		{`{"Method":"One","MsgBody":{"Id":"2","Msg":"【\u202e】 send:"}}`, ""},
		{`{"Method":"One","MsgBody":{"Id":"2】","Msg":"x"}}`, "error: Id must"},
		{`{"Method":"UserGroup","Group":"g"}`, ""},
		{`{"Method":"UserGroup","Group":"g\u202e"}`, "error: Group must"},
		{`{"Method":"UserGroup","Group":"g】 user 【2】 send:x"}`, "error: Group must"},
		{`{"Method":"Group","Group":"e\u0301","MsgBody":"x"}`, "error: Group must"},
		{`{"Method":"Group","Group":"g","MsgBody":"e\u0301"}`, ""},
		{`{"Method":"LeaveGroup","Group":"g】"}`, ""},
		{`{"Method":"All","Group":"g】","MsgBody":"【x】"}`, ""},
	} {
		c, err := ParseCommand(EndpointChannel, "", []byte(test.frame))
		if err != nil {
			t.Fatal(err)
		}
		err = c.CheckStrict()
		if _, is := err.(*CommandError); (test.says == "") != (err == nil) || err != nil && (!is || !strings.HasPrefix(err.Error(), test.says)) {
			t.Errorf("%s: %v, want %q", test.frame, err, test.says)
		}
	}
}
