package router

import (
	"testing"
	"unsafe"
)

// TestP8_WhatThereAreManyOfStaysSmall checks the sizes of types. A relay has a value of such a type
// for each session, membership, topic or unfinished message. No type may outgrow its size class of
// the allocator.
func TestP8_WhatThereAreManyOfStaysSmall(t *testing.T) {
	for _, c := range []struct {
		name       string
		size, most uintptr
	}{
		{"frame", unsafe.Sizeof(frame{}), 144},
		{"session", unsafe.Sizeof(session{}), 64},
		{"extra", unsafe.Sizeof(extra{}), 128},
		{"client", unsafe.Sizeof(client{}), 112},
		{"topic", unsafe.Sizeof(topic{}), 144},
		{"follower", unsafe.Sizeof(follower{}), 64},
		{"rare", unsafe.Sizeof(rare{}), 64},
	} {
		if c.size > c.most {
			t.Errorf("a %s has %d bytes, at most %d", c.name, c.size, c.most)
		}
	}
}
