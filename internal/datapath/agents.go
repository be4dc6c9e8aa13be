package datapath

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// seats is how many processes with one mark can be seen to live: as a rule one, and in an upgrade its successor beside it.
const seats = 8

// seat is an abstract socket, which the kernel frees when its process ends, however that comes, and which another mount or process namespace
// does not hide: while one is taken, what carries that mark on this network stack is a living agent's.
func seat(metric uint32, i int) string { return fmt.Sprintf("@daymark/addresses/%08x/%d", metric, i) }

// takeSeat says that an agent with this mark lives, until it is closed.
func takeSeat(metric uint32) (io.Closer, error) {
	var err error
	for i := range seats {
		var c net.PacketConn
		if c, err = net.ListenPacket("unixgram", seat(metric, i)); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("saying that this agent lives: %w", err)
}

// lives reports whether an agent with this mark lives. One that can't be asked does.
func lives(metric uint32) bool {
	if metric < leastMetric {
		return false // no agent's
	}
	for i := range seats {
		c, err := net.Dial("unixgram", seat(metric, i))
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) { // nobody's
			return true
		}
	}
	return false
}

// meet notes whose e is if that is another agent's that lives, and reports whether that is news.
func (s *state) meet(e entry) bool {
	if s.ours(e) || s.agents[e.metric] || !lives(e.metric) {
		return false
	}
	s.agents[e.metric] = true
	return true
}

// another reports whether e is another agent's that was seen to live. That one may come back.
func (s *state) another(e entry) bool { return !s.ours(e) && s.agents[e.metric] }
