package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// RFC 5881, 4 and 5; RFC 5883, 5.
const (
	bfdPort       = 3784
	bfdMultihop   = 4784
	bfdSourcePort = 49152 // the lowest
	bfdTTL        = 255
)

// bfdSpeaker runs a BFD session for each BGP session that has BFD on. It listens only while there is one.
type bfdSpeaker struct {
	log  *slog.Logger
	down func(name, why string) // a session that was up went down

	tasks sync.WaitGroup

	mu        sync.Mutex // guards the rest; never held while down is called
	running   context.Context
	peers     map[string]*bfdPeer
	listeners []net.PacketConn
}

// bfdPeer is one BFD session and its socket.
type bfdPeer struct {
	session session
	cancel  context.CancelFunc
	packets chan bfdPacket
	left    chan struct{} // closed once the end was said

	mu    sync.Mutex
	state bfdState
	local uint32
}

func newBFDSpeaker(log *slog.Logger, down func(name, why string)) *bfdSpeaker {
	return &bfdSpeaker{log: log, down: down, peers: map[string]*bfdPeer{}}
}

// run waits for ctx to end, and then for all that set started.
func (b *bfdSpeaker) run(ctx context.Context) {
	b.mu.Lock()
	b.running = ctx
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	b.closeLocked()
	b.mu.Unlock()
	b.tasks.Wait()
}

// set makes the BFD sessions those of the given BGP sessions. One whose settings and addresses stay is not touched. It waits for nothing.
func (b *bfdSpeaker) set(sessions map[string]session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		return
	}
	for name, p := range b.peers {
		if s, ok := sessions[name]; !ok || !sameBFD(s, p.session) {
			p.cancel()
			delete(b.peers, name)
		}
	}
	for name, s := range sessions {
		if !s.bfd.Enabled || b.peers[name] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(b.running)
		p := &bfdPeer{session: s, cancel: cancel, packets: make(chan bfdPacket, 16), left: make(chan struct{}), state: bfdDown}
		b.peers[name] = p
		b.tasks.Go(func() { b.speak(ctx, p) })
	}
	switch {
	case len(b.peers) == 0:
		b.closeLocked()
	case b.listeners == nil:
		b.listenLocked()
	}
}

func sameBFD(a, b session) bool {
	return a.bfd == b.bfd && a.neighbor == b.neighbor && a.local == b.local && a.device == b.device && bfdPortOf(a) == bfdPortOf(b)
}

func bfdPortOf(s session) uint16 {
	if s.ttl > 0 {
		return bfdMultihop
	}
	return bfdPort
}

// leave says on every session that it ends on purpose, and waits until that is sent.
func (b *bfdSpeaker) leave() {
	b.mu.Lock()
	peers := b.peers
	b.peers = map[string]*bfdPeer{}
	b.mu.Unlock()
	for _, p := range peers {
		p.cancel()
	}
	for _, p := range peers {
		<-p.left
	}
}

// state is the state of a session's BFD, or nothing if it has none.
func (b *bfdSpeaker) state(name string) string {
	b.mu.Lock()
	p := b.peers[name]
	b.mu.Unlock()
	if p == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.String()
}

// speak runs one session until ctx ends.
func (b *bfdSpeaker) speak(ctx context.Context, p *bfdPeer) {
	defer close(p.left)
	session := newBFDSession(p.session.bfd)
	p.mu.Lock()
	p.local = session.local
	p.mu.Unlock()
	var conn net.Conn
	defer func() {
		session.leave()
		b.send(conn, session.packet(false))
		if conn != nil {
			conn.Close()
		}
	}()
	rate := session.rate()
	next, expiry := time.NewTimer(0), time.NewTimer(time.Hour)
	defer next.Stop()
	defer expiry.Stop()
	for {
		var answer bfdAnswer
		select {
		case <-ctx.Done():
			return
		case packet := <-p.packets:
			answer = session.receive(packet, time.Now())
		case now := <-expiry.C:
			answer = session.expire(now)
		case <-next.C:
			answer.send = true
		}
		if conn == nil {
			conn = b.dial(ctx, p.session)
		}
		if answer.send {
			b.send(conn, session.packet(answer.final))
		}
		if now := session.rate(); now > 0 && (answer.send || now != rate) { // a new rate counts at once
			rate = now
			next.Reset(session.interval())
		}
		if !session.deadline.IsZero() {
			expiry.Reset(time.Until(session.deadline))
		}
		b.note(p, session, answer)
	}
}

func (b *bfdSpeaker) note(p *bfdPeer, session *bfdSession, answer bfdAnswer) {
	p.mu.Lock()
	was := p.state
	p.state = session.state
	p.mu.Unlock()
	if was != session.state {
		b.log.Info("BFD "+session.state.String(), "peer", p.session.name)
	}
	if answer.down != "" {
		b.down(p.session.name, answer.down)
	}
}

// dial opens the socket to send from; its port is not the one to receive on (RFC 5881, 4).
func (b *bfdSpeaker) dial(ctx context.Context, s session) net.Conn {
	local := &net.UDPAddr{Port: bfdSourcePort + rand.IntN(65536-bfdSourcePort)}
	if s.local.IsValid() {
		local.IP = s.local.AsSlice()
	}
	dialer := net.Dialer{LocalAddr: local, Control: func(_, _ string, c syscall.RawConn) error { return b.prepare(c, s) }}
	conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(s.neighbor, bfdPortOf(s)).String())
	if err != nil {
		b.log.Debug("no socket for BFD", "peer", s.name, "err", err)
		return nil
	}
	return conn
}

func (b *bfdSpeaker) prepare(c syscall.RawConn, s session) error {
	var err error
	control := c.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_TTL
		if s.neighbor.Is6() {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
		}
		err = unix.SetsockoptInt(int(fd), level, option, bfdTTL)
		if err == nil && s.device != "" {
			err = unix.BindToDevice(int(fd), s.device)
		}
	})
	if control != nil {
		return control
	}
	return err
}

func (b *bfdSpeaker) send(conn net.Conn, p bfdPacket) {
	if conn == nil {
		return
	}
	if _, err := conn.Write(p.marshal()); err != nil {
		b.log.Debug("BFD packet not sent", "err", err) // an ICMP error, too, shows here
	}
}

func (b *bfdSpeaker) closeLocked() {
	for _, l := range b.listeners {
		l.Close()
	}
	b.listeners = nil
}

// listenLocked opens the ports to receive on. One that is taken, by another BFD daemon say, leaves its family without BFD: BGP goes on.
func (b *bfdSpeaker) listenLocked() {
	b.listeners = []net.PacketConn{}
	for _, port := range []uint16{bfdPort, bfdMultihop} {
		for _, network := range []string{"udp4", "udp6"} {
			l, err := net.ListenPacket(network, ":"+strconv.Itoa(int(port)))
			if err != nil {
				b.log.Warn("no BFD", "family", network, "err", fmt.Errorf("opening the port for BFD: %w", err))
				continue
			}
			b.listeners = append(b.listeners, l)
			b.tasks.Go(func() { b.receive(l, network == "udp4", port) })
		}
	}
}

// receive reads until l is closed.
func (b *bfdSpeaker) receive(l net.PacketConn, isIPv4 bool, port uint16) {
	read := readerWithTTL(l, isIPv4)
	buffer := make([]byte, 1500)
	for {
		n, ttl, from, err := read(buffer)
		if err != nil {
			return
		}
		source, ok := from.(*net.UDPAddr)
		if !ok || port == bfdPort && ttl != bfdTTL { // from further away than a hop (RFC 5881, 5)
			continue
		}
		packet, err := parseBFD(buffer[:n])
		if err != nil {
			continue
		}
		if p := b.find(source.AddrPort().Addr().Unmap(), packet.yours); p != nil && bfdPortOf(p.session) == port {
			select {
			case p.packets <- packet:
			default: // more than can be taken: as good as lost
			}
		}
	}
}

// readerWithTTL returns a function that reads a packet and the TTL or hop limit that it came with, 0 if the kernel doesn't say.
func readerWithTTL(l net.PacketConn, isIPv4 bool) func([]byte) (int, int, net.Addr, error) {
	if isIPv4 {
		c := ipv4.NewPacketConn(l)
		_ = c.SetControlMessage(ipv4.FlagTTL, true) // without it nothing is taken
		return func(b []byte) (int, int, net.Addr, error) {
			n, cm, from, err := c.ReadFrom(b)
			if cm == nil {
				return n, 0, from, err
			}
			return n, cm.TTL, from, err
		}
	}
	c := ipv6.NewPacketConn(l)
	_ = c.SetControlMessage(ipv6.FlagHopLimit, true)
	return func(b []byte) (int, int, net.Addr, error) {
		n, cm, from, err := c.ReadFrom(b)
		if cm == nil {
			return n, 0, from, err
		}
		return n, cm.HopLimit, from, err
	}
}

// find returns the session that a packet is for: by its discriminator, or by its source while the other side doesn't know that (RFC 5880, 6.8.6).
// Either way the source must be the session's.
func (b *bfdSpeaker) find(source netip.Addr, discriminator uint32) *bfdPeer {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.peers {
		p.mu.Lock()
		local := p.local
		p.mu.Unlock()
		if p.session.neighbor == source && (discriminator == 0 || discriminator == local) {
			return p
		}
	}
	return nil
}
