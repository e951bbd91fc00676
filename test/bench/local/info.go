package local

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Info holds what a redis-server reports of itself.
type Info struct {
	Calls   map[string]int // calls of each command, also those in scripts
	Clients int            // connections, except the one that Info opened
	Memory  int            // used_memory, in bytes
}

// Info asks a redis-server for its Info.
func (s *Server) Info() (i Info, err error) {
	text, err := s.ask("INFO all")
	if err != nil {
		return i, fmt.Errorf("asking Redis: %w", err)
	}
	return parseInfo(text), nil
}

// Touch touches all keys of a redis-server, because Redis frees an expired key when it is touched.
func (s *Server) Touch() error {
	_, err := s.ask(`EVAL "for _,k in ipairs(redis.call('KEYS','*')) do redis.call('TYPE',k) end return ''" 0`)
	if err != nil {
		return fmt.Errorf("touching keys of Redis: %w", err)
	}
	return nil
}

// Server.ask sends one command, which Redis must answer with a bulk string.
func (s *Server) ask(command string) (text string, err error) {
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprint(c, command, "\r\n"); err != nil {
		return "", err
	}
	in := bufio.NewReader(c)
	size, err := in.ReadString('\n') // the line $size before a bulk string
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(size, "$")))
	if err != nil || n < 0 {
		return "", fmt.Errorf("it answered %q", size)
	}
	bulk := make([]byte, n)
	_, err = io.ReadFull(in, bulk)
	return string(bulk), err
}

func parseInfo(text string) Info {
	i := Info{Calls: map[string]int{}}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch key {
		case "connected_clients":
			n, _ := strconv.Atoi(value)
			i.Clients = n - 1
		case "used_memory":
			i.Memory, _ = strconv.Atoi(value)
		}
		if command, ok := strings.CutPrefix(key, "cmdstat_"); ok {
			calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
			i.Calls[command], _ = strconv.Atoi(calls)
		}
	}
	return i
}

// Since returns how many commands were called between an earlier Info and this one. It counts only
// commands whose name begins with one of the given names. Without names it counts all commands
// except INFO.
func (i Info) Since(before Info, names ...string) (n int) {
	for command, calls := range i.Calls {
		wanted := len(names) == 0 && command != "info"
		for _, name := range names {
			wanted = wanted || strings.HasPrefix(command, name)
		}
		if wanted {
			n += calls - before.Calls[command]
		}
	}
	return n
}
