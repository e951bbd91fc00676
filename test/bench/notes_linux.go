package main

import (
	"fmt"

	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// bench.explain adds the notes that explain the table.
func (b *bench) explain() {
	b.note("Cluster: two edges, one relay, one redis-server, a process each. One process: edge and relay in one, messages in memory. Both with EDGE_AUTH=open and EDGE_RATE=0, all else by default.")
	b.note("CPU and memory are those of all server processes of the product together, Redis apart; the clients are not in them. Rows with Redis have its CPU in the sum; they are empty for servers without Redis, and for a target. CPU is user and system time. On loopback a sender also pays for what the kernel does to receive, up to waking the reader.")
	b.note("Session i is on server i modulo their number. Memory is what processes have resident, less what they had before the sessions, per session; that of the kernel is of the whole machine, and of both ends of each socket.")
	b.note("Messages have %d bytes where nothing else is said. One in flight: the next is sent when all receivers have the last; latency is until the last of them has it. A member that sends does not receive.", messageSize)
	b.note("Pace: messages are sent by the clock, whether or not those before have arrived, and latency counts from when each was due. CPU has what servers spend at rest in it. A server that has a second's messages to deliver, the oldest for a second, does not keep the pace.")
	b.note("Publish: the relay's broker, and a plain client that says PUBLISH, in turns on one redis-server; each also receives its messages, by one subscriber for each topic. So many are in flight: neither answered nor received.")
	b.note("Cluster, SDKs: the same cluster, and clients that speak the protocol of Centrifugo's SDKs. Where nothing else is said, a session there and one of the chat have the same topics: that of its user, and everybody's. A session's connect is its upgrade and its command to connect, which also names everybody's topic. Centrifugo's is its upgrade, and one text of two commands: to connect, and to subscribe. Where a session joins a group, that is a command of the chat, and a subscribe in the text of the connect, which then does not name everybody's topic. A message is a publish, which is answered; the chat's are not.")
	b.note("Resume: sessions leave, messages are sent that they miss, and all come back at once. Their sockets are opened and their connects are answered first; the time runs from the first command that asks for what was missed. All servers keep %d messages of a topic for a minute, and every answer says that nothing is lost.", keptMessages)
	b.note("Goals: a server's figure divided by that of a peer in this run, or less that figure.")
	b.note("Floor: a program that writes what one WebSocket sends to all others, and does nothing else.")
	if b.scale != whole {
		b.note("Sessions were divided by %d and times by %d: no figures to go by, so they are beside no budgets.", b.scale.sessions, b.scale.time)
	}
}

// bench.others adds a note on the share of the machine's CPU time that other processes took. Other
// processes distort latencies and rates more than CPU times.
func (b *bench) others(u usage.Share) {
	b.note("Meanwhile %s of the machine's CPU time was used: %s by the clients, and %s by others than the bench and what it started, or withheld.", percent(u.Used), percent(u.Self), percent(u.Others))
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", share*100) }
