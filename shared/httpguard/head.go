package httpguard

import "bytes"

const (
	// maxHeadBytes bounds the head of a request, which is its first line and its header lines.
	// There is room for two tokens of 4 KB, several cookies, and what proxies add.
	maxHeadBytes = 16 << 10
	// maxHeadLines bounds the header lines. Each line becomes an entry of a table, and the entry
	// may take fifty times the bytes of a short line. Browsers send some 20 lines, and proxies add
	// some 15.
	maxHeadLines = 64
)

// head measures the head of one request while it comes in. The zero value has seen nothing.
type head struct {
	bytes, lines int
	open         int  // bytes of the line that has not ended
	cr           bool // the last byte of the unfinished line is a carriage return
}

// scan measures b, the bytes that follow those of the previous scan. If the head ends in b, scan
// returns the index after the empty line that ends the head. Otherwise it returns 0. net/http finds
// the end at the same place. Once the head is too long, scan may leave bytes of b unmeasured.
func (h *head) scan(b []byte) (end int) {
	for at := 0; at < len(b); {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			h.add(b[at:])
			return 0
		}
		h.add(b[at : at+n])
		at += n + 1
		h.bytes++
		h.lines++
		empty := h.open == 0 || h.open == 1 && h.cr
		h.open, h.cr = 0, false
		if empty {
			return at
		}
		if h.tooLong() {
			return 0
		}
	}
	return 0
}

// add counts bytes of a line. The line feed that ends the line is not among them.
func (h *head) add(b []byte) {
	if len(b) > 0 {
		h.bytes += len(b)
		h.open += len(b)
		h.cr = b[len(b)-1] == '\r'
	}
}

// tooLong reports whether the head exceeds maxHeadBytes or maxHeadLines.
func (h *head) tooLong() bool {
	// h.lines counts the first line of the request too, which is no header line.
	return h.bytes > maxHeadBytes || h.lines > maxHeadLines+1
}
