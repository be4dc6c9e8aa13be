package bgp

import (
	"encoding/binary"
	"errors"
	"time"
)

// bfdPacket is a BFD control packet (RFC 5880, 4.1) without authentication.
type bfdPacket struct {
	state       bfdState
	diag        uint8
	poll, final bool
	multiplier  uint8
	mine, yours uint32 // discriminators
	minTx       time.Duration
	minRx       time.Duration
}

const (
	bfdLength  = 24
	bfdVersion = 1

	flagPoll       = 1 << 5
	flagFinal      = 1 << 4
	flagAuth       = 1 << 2
	flagMultipoint = 1 << 0
)

var errBFDPacket = errors.New("not a BFD packet for us")

// parseBFD checks what RFC 5880, 6.8.6 wants checked before a session is looked for.
func parseBFD(b []byte) (bfdPacket, error) {
	if len(b) < bfdLength || int(b[3]) < bfdLength || int(b[3]) > len(b) || b[0]>>5 != bfdVersion || b[1]&(flagAuth|flagMultipoint) != 0 {
		return bfdPacket{}, errBFDPacket
	}
	p := bfdPacket{
		diag: b[0] & 31, state: bfdState(b[1] >> 6), poll: b[1]&flagPoll != 0, final: b[1]&flagFinal != 0, multiplier: b[2],
		mine: binary.BigEndian.Uint32(b[4:]), yours: binary.BigEndian.Uint32(b[8:]),
		minTx: time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Microsecond, minRx: time.Duration(binary.BigEndian.Uint32(b[16:])) * time.Microsecond,
	}
	if p.multiplier == 0 || p.mine == 0 || p.yours == 0 && p.state > bfdDown || p.poll && p.final {
		return bfdPacket{}, errBFDPacket
	}
	return p, nil
}

// marshal is the inverse of parseBFD; intervals are on the wire in microseconds.
func (p bfdPacket) marshal() []byte {
	b := make([]byte, bfdLength)
	b[0] = bfdVersion<<5 | p.diag
	b[1] = byte(p.state) << 6
	if p.poll {
		b[1] |= flagPoll
	}
	if p.final {
		b[1] |= flagFinal
	}
	b[2], b[3] = p.multiplier, bfdLength
	binary.BigEndian.PutUint32(b[4:], p.mine)
	binary.BigEndian.PutUint32(b[8:], p.yours)
	binary.BigEndian.PutUint32(b[12:], uint32(p.minTx/time.Microsecond))
	binary.BigEndian.PutUint32(b[16:], uint32(p.minRx/time.Microsecond))
	return b
}
