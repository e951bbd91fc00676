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

// Info holds counts that a redis-server reports.
type Info struct {
	Calls   map[string]int // by command; those in scripts included
	Clients int            // connections, without the asking one
}

// Info asks a redis-server for its Info.
func (s *Server) Info() (i Info, err error) {
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return i, fmt.Errorf("asking Redis: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprint(c, "INFO all\r\n"); err != nil {
		return i, fmt.Errorf("asking Redis: %w", err)
	}
	in := bufio.NewReader(c)
	size, err := in.ReadString('\n') // the line $size before a bulk string
	if err != nil {
		return i, fmt.Errorf("asking Redis: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(size, "$")))
	if err != nil {
		return i, fmt.Errorf("asking Redis: it answered %q", size)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return i, fmt.Errorf("asking Redis: %w", err)
	}
	return parseInfo(string(text)), nil
}

func parseInfo(text string) Info {
	i := Info{Calls: map[string]int{}}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key == "connected_clients" {
			n, _ := strconv.Atoi(value)
			i.Clients = n - 1
		}
		if command, ok := strings.CutPrefix(key, "cmdstat_"); ok {
			calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
			i.Calls[command], _ = strconv.Atoi(calls)
		}
	}
	return i
}

// Since returns how many commands were called between two Infos: the parameter before, which is the
// earlier one, and i. It counts the commands that begin with one of names. Without names it counts
// all commands but INFO.
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
