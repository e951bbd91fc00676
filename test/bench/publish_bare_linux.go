package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// The type bare is a publisher that sends PUBLISH commands on one connection and subscribes on
// another one. Its messages have the envelope that original servers write.
type bare struct {
	to       net.Conn
	out      *bufio.Writer
	from     net.Conn
	topics   int
	came     chan arrival
	done     chan struct{} // closed by bare.close
	running  sync.WaitGroup
	envelope []byte
}

// newBare returns a publisher that is subscribed to all topics. The caller must close it.
func newBare(addr string, topics int) (b *bare, err error) {
	b = &bare{topics: topics, came: make(chan arrival, 4*inFlight), done: make(chan struct{})}
	if b.to, err = net.Dial("tcp", addr); err != nil {
		return nil, err
	}
	if b.from, err = net.Dial("tcp", addr); err != nil {
		b.to.Close()
		return nil, err
	}
	b.out = bufio.NewWriterSize(b.to, 256<<10)
	from := bufio.NewReaderSize(b.from, 256<<10)
	if err := b.subscribe(from); err != nil {
		b.close()
		return nil, fmt.Errorf("subscribing: %w", err)
	}
	b.running.Go(func() { b.read(bufio.NewReader(b.to), answer) })
	b.running.Go(func() { b.read(from, message) })
	return b, nil
}

func (b *bare) channel(topic int) string { return fmt.Sprintf("user:bare-%d", topic) }

func (b *bare) subscribe(from *bufio.Reader) error {
	words := []string{"SUBSCRIBE"}
	for i := range b.topics {
		words = append(words, b.channel(i))
	}
	if _, err := b.from.Write(appendCommand(nil, words...)); err != nil {
		return err
	}
	for range b.topics {
		if _, err := push(from); err != nil {
			return err
		}
	}
	return nil
}

// appendCommand appends a command as Redis reads it.
func appendCommand(b []byte, words ...string) []byte {
	b = fmt.Appendf(b, "*%d\r\n", len(words))
	for _, word := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b
}

// bare.publish queues message n. The message has the number n in place of its sender's name.
func (b *bare) publish(n uint64) {
	topic := int(n % uint64(b.topics))
	b.envelope = protocol.Envelope{Content: protocol.Content{From: strconv.FormatUint(n, 10), Msg: publishText}, To: fmt.Sprint("bare-", topic)}.Append(b.envelope[:0])
	b.out.Write(appendCommand(b.out.AvailableBuffer(), "PUBLISH", b.channel(topic), string(b.envelope)))
}

func (b *bare) flush() error {
	if err := b.out.Flush(); err != nil {
		return fmt.Errorf("bare PUBLISH: %w", err)
	}
	return nil
}

func (b *bare) arrivals() <-chan arrival { return b.came }

func (b *bare) close() {
	close(b.done)
	b.to.Close()
	b.from.Close()
	b.running.Wait()
}

// bare.read calls the given function again and again, and sends each result to the channel b.came.
// It ends when a call has failed, or when bare.close was called.
func (b *bare) read(in *bufio.Reader, next func(*bufio.Reader) (arrival, error)) {
	for {
		a, err := next(in)
		if err != nil {
			a = arrival{err: fmt.Errorf("bare PUBLISH: %w", err)}
		}
		select {
		case b.came <- a:
		case <-b.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// The function answer reads the answer to a PUBLISH: the number of subscribers that got the
// message. The number must be 1.
func answer(in *bufio.Reader) (arrival, error) {
	line, err := in.ReadString('\n')
	if err == nil && line != ":1\r\n" {
		err = fmt.Errorf("it was answered %q", line)
	}
	return arrival{}, err
}

// The function message reads a message of a subscription.
func message(in *bufio.Reader) (a arrival, err error) {
	text, err := push(in)
	if err != nil {
		return a, err
	}
	_, rest, _ := strings.Cut(text, `"FromId":"`)
	number, _, _ := strings.Cut(rest, `"`)
	if a.received, err = strconv.ParseUint(number, 10, 64); err != nil {
		return a, fmt.Errorf("the subscriber got %q", text)
	}
	return a, nil
}

// The function push reads what Redis sends to a subscriber at one time: a list of three elements.
// It returns the last element.
func push(in *bufio.Reader) (last string, err error) {
	head, err := in.ReadString('\n')
	if err == nil && head != "*3\r\n" {
		err = fmt.Errorf("the server sent %q", head)
	}
	for i := 0; i < 3 && err == nil; i++ {
		last, err = element(in)
	}
	return last, err
}

// The function element reads a bulk string or a number.
func element(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "$") {
		return strings.TrimSuffix(line, "\r\n"), err
	}
	size, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil {
		return "", fmt.Errorf("the server sent %q", line)
	}
	text := make([]byte, size+len("\r\n"))
	_, err = io.ReadFull(in, text)
	return string(text[:max(0, size)]), err
}
