package l2

import "syscall"

// What the tests of this package look at from outside.
var (
	Announcements = announcements
	ProbeFrame    = probe
	Checksum      = checksum
)

// Remembered returns how much a keeps of what it heard and asked.
func (a *Announcer) Remembered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.told) + len(a.doubts) + len(a.slow)
}

// NewSocket returns a socket that only receives.
func NewSocket(raw syscall.RawConn) Port { return &socket{raw: raw} }

// Parse returns what a frame says of an address, as [Heard] without link and time.
func Parse(frame []byte) (Heard, bool) {
	c, ok := parse(frame)
	h := Heard{Kind: c.kind, MAC: c.mac}
	h.Addr = c.addr
	return h, ok
}
