package local

import "testing"

func TestInfo(t *testing.T) {
	before := parseInfo("# Clients\r\nconnected_clients:5\r\ncmdstat_evalsha:calls=10,usec=1,usec_per_call=0.10\r\ncmdstat_info:calls=1,usec=1\r\n")
	after := parseInfo("connected_clients:5\r\nused_memory:1234\r\nused_memory_peak:9999\r\ncmdstat_evalsha:calls=30,usec=1\r\ncmdstat_publish:calls=20,usec=9\r\ncmdstat_info:calls=3,usec=1\r\n")
	if after.Clients != 4 {
		t.Errorf("%d other clients; want 4", after.Clients)
	}
	if after.Memory != 1234 {
		t.Errorf("%d bytes; want 1234", after.Memory)
	}
	if all, scripts := after.Since(before), after.Since(before, "eval"); all != 40 || scripts != 20 {
		t.Errorf("%d commands, %d scripts; want 40 and 20", all, scripts)
	}
}
