package stack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// queues counts the queues opened so far. This count gives each queue its number.
var queues atomic.Uint32

// queueLength is the largest number of packets that the kernel holds back at once for one queue.
// The kernel drops further packets.
const queueLength = 16384

// These constants are from linux/netfilter/nfnetlink_queue.h. The first line has kinds of messages.
// The next lines have an attribute of a reported packet, an attribute of a verdict, attributes of a
// configuration, and a command and a mode of a configuration.
const (
	msgPacket, msgVerdict, msgConfig       = 0, 1, 2
	packetHeader                           = 1
	verdictHeader                          = 2
	configCommand, configParams, configMax = 1, 2, 3
	bind, copyMeta                         = 1, 1
)

// queue is the receiving end of iptables' target NFQUEUE in a container. The kernel reports packets
// that a rule sends to that target, and holds each until its verdict. The queue gives the verdicts
// in order, after a delay. It drops some packets at random, and accepts the others.
//
// Numbers in NFQUEUE's messages are big-endian. Numbers of netlink itself have the machine's byte
// order.
type queue struct {
	number       uint16
	socket       *os.File
	delay        time.Duration
	loss         int // probability of a drop, in percent
	running      sync.WaitGroup
	closing      sync.Once
	passed, lost int // packets so far; to be read after close
}

type held struct {
	packet uint32
	until  time.Time
}

// openQueue opens a queue in the network namespace of a process. The parameters say how long the
// queue delays each packet, and with which probability, in percent, it drops the packet.
func openQueue(pid int, delay time.Duration, loss int) (*queue, error) {
	fd, err := socketIn(pid)
	if err != nil {
		return nil, err
	}
	q := &queue{number: uint16(queues.Add(1)), socket: os.NewFile(uintptr(fd), "nfqueue"), delay: delay, loss: loss}
	for _, attribute := range [][]byte{
		attr(configCommand, []byte{bind, 0, 0, unix.AF_INET}),
		attr(configParams, []byte{0, 0, 0, 0, copyMeta}),
		attr(configMax, binary.BigEndian.AppendUint32(nil, queueLength)),
	} {
		if err := q.configure(attribute); err != nil {
			q.socket.Close()
			return nil, err
		}
	}
	order := make(chan held, queueLength)
	q.running.Go(func() {
		defer close(order)
		q.receive(order)
	})
	q.running.Go(func() { q.release(order) })
	return q, nil
}

// socketIn returns a netlink socket to the packet filter of a process's network namespace.
func socketIn(pid int) (fd int, err error) {
	runtime.LockOSThread()
	defer func() {
		if err == nil {
			// Without an error, the thread is back in its own namespace. After an error the thread
			// may still be in the namespace of the process pid. In that case the thread stays
			// locked to its goroutine, and ends when the goroutine ends.
			runtime.UnlockOSThread()
		}
	}()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return 0, err
	}
	defer home.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return 0, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, errors.Join(err, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
	}
	if err := errors.Join(unix.Setns(int(home.Fd()), unix.CLONE_NEWNET), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// The function attr encodes a netlink attribute.
func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// queue.send sends the kernel a message about the queue.
func (q *queue) send(kind, flags uint16, attributes []byte) error {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+4+len(attributes)))
	b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_QUEUE<<8|kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, make([]byte, 8)...) // zeros for the sequence number and the sender
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, q.number)
	_, err := q.socket.Write(append(b, attributes...))
	return err
}

// queue.configure sends a request and waits until the kernel acknowledges or refuses it.
func (q *queue) configure(attribute []byte) error {
	if err := q.send(msgConfig, unix.NLM_F_ACK, attribute); err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, err := q.socket.Read(b)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("unexpected answer % x", b[:n])
	}
	if code := int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// queue.receive reads the kernel's reports until reading fails, as it does after close. It sends
// the number of each reported packet to the channel, with the time at which the packet's verdict is
// due.
func (q *queue) receive(order chan<- held) {
	buf := make([]byte, 1<<16)
	for {
		n, err := q.socket.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			continue // the kernel had to drop some reports
		}
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				break
			}
			if binary.NativeEndian.Uint16(b[4:]) == unix.NFNL_SUBSYS_QUEUE<<8|msgPacket {
				if packet, ok := packetOf(b[unix.NLMSG_HDRLEN+4 : size]); ok {
					order <- held{packet, time.Now().Add(q.delay)}
				}
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// packetOf finds a packet's number among the attributes of a message.
func packetOf(b []byte) (packet uint32, ok bool) {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:]) == packetHeader && size >= 8 {
			return binary.BigEndian.Uint32(b[4:]), true
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return 0, false
}

// queue.release gives packets their verdicts when these are due, until the channel is closed. If a
// verdict cannot be sent, queue.release tries again. Otherwise the kernel would hold the packet for
// ever.
func (q *queue) release(order <-chan held) {
	const drop, accept = 0, 1
	for h := range order {
		<-time.After(time.Until(h.until))
		verdict := uint32(accept)
		if rand.IntN(100) < q.loss {
			verdict = drop
			q.lost++
		} else {
			q.passed++
		}
		value := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, verdict), h.packet)
		for {
			err := q.send(msgVerdict, 0, attr(verdictHeader, value))
			if err == nil {
				break
			}
			if errors.Is(err, os.ErrClosed) {
				for range order { // the kernel has dropped these packets
				}
				return
			}
			<-time.After(time.Millisecond)
		}
	}
}

// queue.close ends the queue. The packets that the queue still holds are dropped, as on a line that
// breaks.
func (q *queue) close() {
	q.closing.Do(func() {
		q.socket.Close()
		q.running.Wait()
	})
}
