package protocol

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	long := strings.Repeat("x", 128)
	for _, tt := range []struct {
		path        string
		e           Endpoint
		group, user string
	}{
		{"/chat/channel/1", EndpointChannel, "", "1"},
		{"/chat/user/1", EndpointUser, "", "1"},
		{"/chat/group/g1/1", EndpointGroup, "g1", "1"},
		{"/chat/all/1", EndpointAll, "", "1"},
		{"/chat/channel/a%2Fb", EndpointChannel, "", "a/b"},
		{"/chat/group/a%2fb/c%2Fd", EndpointGroup, "a/b", "c/d"},
		{"/chat/channel/a+b", EndpointChannel, "", "a+b"},
		{"/chat/channel/a%2Bb%20c", EndpointChannel, "", "a+b c"},
		{"/chat/channel/%2541", EndpointChannel, "", "%41"}, // the path is decoded once
		{"/chat/channel/%E7%94%A8", EndpointChannel, "", "用"},
		{"/chat/channel/用", EndpointChannel, "", "用"},
		{"/chat/channel/..", EndpointChannel, "", ".."},
		{"/chat/channel/" + long, EndpointChannel, "", long},
		{"/chat/channel/%41" + long[1:], EndpointChannel, "", "A" + long[1:]},
	} {
		e, group, user, err := ParsePath(tt.path)
		if err != nil || e != tt.e || group != tt.group || user != tt.user {
			t.Errorf("ParsePath(%q) = %v, %q, %q, %v; want %v, %q, %q", tt.path, e, group, user, err, tt.e, tt.group, tt.user)
		}
	}
}

func TestParsePathErrors(t *testing.T) {
	for _, tt := range []struct {
		path string
		want string // "": the error is ErrNoEndpoint
	}{
		{"", ""},
		{"/", ""},
		{"/chat", ""},
		{"/chat/", ""},
		{"/chat/channel", ""},
		{"/chat/group/g1", ""},
		{"/chat/channel/1/", ""},
		{"/chat/channel/1/2", ""},
		{"/chat/group/g1/1/", ""},
		{"/chat/group/g1/1/2", ""},
		{"//chat/channel/1", ""},
		{"/chat//channel/1", ""},
		{"/x/chat/channel/1", ""},
		{"chat/channel/1", ""},
		{"/Chat/channel/1", ""},
		{"/chat/Channel/1", ""},
		{"/chat/chann%65l/1", ""},
		{"/chat/other/1", ""},
		{"/chat/channel/", "id must be 1 to 128 bytes"},
		{"/chat/group/g1/", "id must be 1 to 128 bytes"},
		{"/chat/group//1", "group must be 1 to 128 bytes"},
		{"/chat/channel/" + strings.Repeat("x", 129), "id must be 1 to 128 bytes"},
		{"/chat/group/" + strings.Repeat("x", 129) + "/1", "group must be 1 to 128 bytes"},
		{"/chat/channel/a%00", "id must have no control characters"},
		{"/chat/channel/a%0A", "id must have no control characters"},
		{"/chat/group/%C2%85/1", "group must have no control characters"},
		{"/chat/channel/%ff", "id must be valid UTF-8"},
		{"/chat/channel/\xff", "id must be valid UTF-8"},
		{"/chat/channel/%4", "id: a percent sign must be followed by two hexadecimal digits"},
		{"/chat/group/%zz/1", "group: a percent sign must be followed by two hexadecimal digits"},
	} {
		e, group, user, err := ParsePath(tt.path)
		if err == nil {
			t.Errorf("ParsePath(%q) = %v, %q, %q; want an error", tt.path, e, group, user)
			continue
		}
		if e != 0 || group != "" || user != "" {
			t.Errorf("ParsePath(%q) = %v, %q, %q beside its error", tt.path, e, group, user)
		}
		if tt.want == "" {
			if !errors.Is(err, ErrNoEndpoint) {
				t.Errorf("ParsePath(%q): %v; want ErrNoEndpoint", tt.path, err)
			}
		} else if err.Error() != tt.want {
			t.Errorf("ParsePath(%q): %q; want %q", tt.path, err, tt.want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/chat/channel/1", "/chat/user/a%2Fb", "/chat/group/g1/1", "/chat/all/a+b", "/chat/group//", "/chat/all/%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		e, group, user, err := ParsePath(path)
		if err != nil {
			return
		}
		if CheckID(user) != nil || (e == EndpointGroup) != (group != "") || group != "" && CheckID(group) != nil {
			t.Fatalf("ParsePath(%q) = %v, %q, %q", path, e, group, user)
		}
		// A path that url.PathEscape makes from the result must give the same result.
		word := map[Endpoint]string{EndpointChannel: "channel", EndpointUser: "user", EndpointGroup: "group", EndpointAll: "all"}[e]
		again := "/chat/" + word + "/"
		if e == EndpointGroup {
			again += url.PathEscape(group) + "/"
		}
		again += url.PathEscape(user)
		if e2, g2, u2, err := ParsePath(again); err != nil || e2 != e || g2 != group || u2 != user {
			t.Fatalf("ParsePath(%q) = %v, %q, %q, %v; want as for %q", again, e2, g2, u2, err, path)
		}
	})
}
