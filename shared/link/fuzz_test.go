package link

import (
	"bytes"
	"reflect"
	"runtime"
	"testing"
)

// FuzzNext takes any bytes as a batch. A parsed frame must encode to the same bytes again, unless
// it ends in bytes of a later version. Parsing and encoding may together allocate at most 1 MiB,
// and 64 bytes more for each byte of the batch.
func FuzzNext(f *testing.F) {
	var all []byte
	for _, encoded := range readGolden(f) {
		f.Add(encoded)
		all = append(all, encoded...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, batch []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for remainder := batch; len(remainder) > 0; {
			typ, body, next, err := Next(remainder)
			if err != nil {
				break
			}
			fr, err := parse(typ, body)
			if err == nil && !extensibleAndExtended(typ, fr, body) {
				if again := fr.Append(nil); !bytes.Equal(again, remainder[:len(remainder)-len(next)]) {
					t.Fatalf("%x parsed as %#v encodes to %x", remainder[:len(remainder)-len(next)], fr, again)
				}
			}
			remainder = next
		}
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(64*len(batch)+1<<20); got > most {
			t.Fatalf("%d bytes made it allocate %d", len(batch), got)
		}
	})
}

// extensibleAndExtended reports whether the body ends in bytes of a later version. Encoding drops
// these.
func extensibleAndExtended(typ Type, f frame, body []byte) bool {
	switch typ {
	case TypeHello, TypeWelcome, TypeStatus:
		_, own, _, _ := Next(f.Append(nil))
		return len(own) < len(body) && bytes.HasPrefix(body, own)
	}
	return false
}

// FuzzParse parses any type with any body. A parsed frame is encoded and parsed again, and must
// then be the same.
func FuzzParse(f *testing.F) {
	for _, encoded := range readGolden(f) {
		typ, body, _, err := Next(encoded)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(typ), body)
	}
	var names Names
	f.Fuzz(func(t *testing.T, typ uint8, body []byte) {
		fr, err := parse(Type(typ), body)
		if err != nil {
			return
		}
		_, again, remainder, err := Next(fr.Append(nil))
		if err != nil || len(remainder) > 0 {
			t.Fatalf("%#v: encoding does not split: %v", fr, err)
		}
		back, err := parse(Type(typ), again)
		if err != nil || !reflect.DeepEqual(back, fr) {
			t.Fatalf("%#v became %#v (%v)", fr, back, err)
		}
		if Type(typ) == TypeForms {
			if named, err := names.ParseForms(body); err != nil || !reflect.DeepEqual(named, fr) {
				t.Fatalf("%#v is with names %#v (%v)", fr, named, err)
			}
		}
	})
}

// FuzzHandshake parses any text as the header of an edge's request, and as the header of a relay's
// answer. A header that parses must be written as the same text again.
func FuzzHandshake(f *testing.F) {
	f.Add(vectorOffer.String())
	f.Add(vectorReply.String())
	f.Add("versions=1-2, key=k1, nonce=")
	f.Fuzz(func(t *testing.T, s string) {
		if o, err := parseOffer(s); err == nil && o.String() != s {
			t.Fatalf("offer %q is written %q", s, o.String())
		}
		if r, err := parseReply(s); err == nil && r.String() != s {
			t.Fatalf("reply %q is written %q", s, r.String())
		}
	})
}
