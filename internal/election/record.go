package election

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
)

// recordAnnotation carries a [record] on a member's Lease.
const recordAnnotation = "kube-vip.io/member"

// recordFormat is the number of the format that this version writes, and the newest that it reads. It is raised when a reader of the
// one before would take a record for listing less than it does: to such a reader it must be unreadable, and is ([view.see]). What
// older readers may leave out is a new field, and no new format.
const recordFormat = 1

// record is what a member says of itself in its Lease.
type record struct {
	// Incarnation names the process that wrote it.
	Incarnation incarnation
	// Seq counts its writes, from 1.
	Seq uint64
	// Serves means that it stands for claims at all.
	Serves bool
	// Yields means that it hands over everything that somebody else can take.
	Yields bool
	// Starts means that Claims are what a predecessor listed: it does not know yet what of that it wants. Nobody takes them, but
	// nobody passes one to it either.
	Starts bool
	// Claims are all the claims that it may hold, now or as soon as nobody else lists them. Offered are those among them that
	// it hands over.
	Claims, Offered set
	// Leases are those that it would take over, as namespace/name, sorted.
	Leases []string
	// Weight is what its scores are multiplied by; see [load].
	Weight uint32
	// Stations are the hardware addresses that it announces from, sorted, so that others know it on the wire.
	Stations []string
	// Ended are writes of other members, as [record] write names them, whose rights are over for certain.
	Ended set
	// Untried are those among Claims of which an address may be a stranger's: no node held them for long enough to know, or it is one. Older
	// versions don't say it.
	Untried set
}

// write names the write that r is of, for the Ended of others: that of one process, and not what it writes later.
func (r record) write() uint64 { return hash(fmt.Sprintf("%s %d", r.Incarnation, r.Seq)) }

// mostParts is how many parts a member lists at most. The API server refuses an object whose annotations, keys and values, are more than
// 256 KiB together. A part takes ten and two thirds of a byte, twice when it is offered too, as all are when a node leaves: so many take
// 208 KiB, and leave 48 KiB to the rest of the record and to annotations of others.
const mostParts = 10_000

// set is a set of hashes of claims' parts.
type set map[uint64]struct{}

func (s set) has(id uint64) bool { _, ok := s[id]; return ok }

// hasAny reports whether any of ids is in s.
func (s set) hasAny(ids []uint64) bool { return slices.ContainsFunc(ids, s.has) }

func (s set) add(ids []uint64) {
	for _, id := range ids {
		s[id] = struct{}{}
	}
}

func (s set) remove(ids []uint64) {
	for _, id := range ids {
		delete(s, id)
	}
}

// recordJSON is a record as it is written. A claim is 8 bytes, so a thousand on one node take 10 KiB.
type recordJSON struct {
	Format      int      `json:"format,omitempty"` // absent is 1
	Incarnation string   `json:"incarnation"`
	Seq         uint64   `json:"seq"`
	Serves      bool     `json:"serves,omitempty"`
	Starts      bool     `json:"starts,omitempty"`
	Yields      bool     `json:"yields,omitempty"`
	Claims      string   `json:"claims,omitempty"`
	Offered     string   `json:"offered,omitempty"`
	Leases      []string `json:"leases,omitempty"`
	Weight      uint32   `json:"weight,omitempty"` // absent is evenWeight
	Stations    []string `json:"stations,omitempty"`
	Ended       string   `json:"ended,omitempty"`
	Untried     string   `json:"untried,omitempty"`
}

// String returns r as it is written; equal records give equal text.
func (r record) String() string {
	weight := r.Weight
	if weight == evenWeight {
		weight = 0
	}
	text, err := json.Marshal(recordJSON{
		0, string(r.Incarnation), r.Seq, r.Serves, r.Starts, r.Yields, r.Claims.encode(), r.Offered.encode(), r.Leases,
		weight, r.Stations, r.Ended.encode(), r.Untried.encode(),
	})
	if err != nil {
		panic(fmt.Sprintf("a member record is only strings and numbers: %v", err))
	}
	return string(text)
}

// stampOf returns who wrote lease, a member's, and its number among the writes of that process; zero where it says nothing.
// It is far cheaper than to read the whole record.
func stampOf(lease *coordinationv1.Lease) (s stamp) {
	if lease == nil || json.Unmarshal([]byte(lease.Annotations[recordAnnotation]), &s) != nil {
		return stamp{}
	}
	s.node = holder(lease)
	return s
}

// stamp says which process wrote a member's Lease.
type stamp struct {
	Incarnation incarnation `json:"incarnation"`
	Seq         uint64      `json:"seq"`
	node        string
}

// parseRecord reads what String wrote. Fields that it does not know are left out.
func parseRecord(text string) (record, error) {
	var j recordJSON
	err := json.Unmarshal([]byte(text), &j) // which reads what it can even if the kind of a field is another
	if j.Format > recordFormat {
		return record{}, fmt.Errorf("format %d of a member record: this version reads up to %d", j.Format, recordFormat)
	}
	if err != nil {
		return record{}, fmt.Errorf("parsing a member record: %w", err)
	}
	r := record{
		Incarnation: incarnation(j.Incarnation), Seq: j.Seq, Serves: j.Serves, Starts: j.Starts, Yields: j.Yields, Leases: j.Leases,
		Weight: min(cmp.Or(j.Weight, evenWeight), mostWeight), Stations: j.Stations,
	}
	var errs []error
	if r.Incarnation == "" {
		errs = append(errs, errors.New("incarnation of a member record: must not be empty"))
	}
	for _, f := range []struct {
		key, text string
		to        *set
	}{{"claims", j.Claims, &r.Claims}, {"offered", j.Offered, &r.Offered}, {"ended", j.Ended, &r.Ended}, {"untried", j.Untried, &r.Untried}} {
		s, err := decodeSet(f.text)
		if err != nil {
			errs = append(errs, fmt.Errorf("parsing %s of a member record: %w", f.key, err))
		}
		*f.to = s
	}
	if err := errors.Join(errs...); err != nil {
		return record{}, err
	}
	return r, nil
}

// encode returns the members of s in order, each as 8 bytes, in base64.
func (s set) encode() string {
	if len(s) == 0 {
		return ""
	}
	raw := make([]byte, 0, 8*len(s))
	for _, id := range slices.Sorted(maps.Keys(s)) {
		raw = binary.BigEndian.AppendUint64(raw, id)
	}
	return base64.RawStdEncoding.EncodeToString(raw)
}

func decodeSet(text string) (set, error) {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	if len(raw)%8 != 0 {
		return nil, fmt.Errorf("%d bytes, which is not a multiple of 8", len(raw))
	}
	s := make(set, len(raw)/8)
	for ; len(raw) > 0; raw = raw[8:] {
		s[binary.BigEndian.Uint64(raw)] = struct{}{}
	}
	return s, nil
}

// same reports whether r and o say the same of their member, whoever wrote them and when. What they say of others is no reason for
// a write, nor is that something was tried.
func (r record) same(o record) bool {
	return r.Serves == o.Serves && r.Starts == o.Starts && r.Yields == o.Yields && maps.Equal(r.Claims, o.Claims) &&
		maps.Equal(r.Offered, o.Offered) && slices.Equal(r.Leases, o.Leases) && r.Weight == o.Weight &&
		slices.Equal(r.Stations, o.Stations)
}
