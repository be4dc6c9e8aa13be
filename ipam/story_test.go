package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"daymark/internal/vip"
	"daymark/ipam"
)

// tell plays a story on one allocator, a step a line: "step arguments : outcome". The steps:
//
//	pools KEY=VALUE ...      the ConfigMap; outcome: problems, who is outside, who wakes
//	exclude PREFIX=WHAT ...  what the cluster excludes; outcome: who is on excluded addresses, who wakes
//	replay [WHO]             all there is already, one WHO a line before; outcome: conflicts
//	has WHO                  one Service for the next replay
//	sees WHO                 what the API server shows of one Service; outcome: who wakes, conflicts
//	ask SERVICE [WISH ...]   Ensure and Commit; outcome: addresses with their pools, what is dropped, missing, refused, who wakes
//	reserve SERVICE [WISH]   Ensure alone
//	commit, rollback, release SERVICE
//	stats POOL               outcome: used/size of each family
//	waiting                  outcome: who waits
//
// WHO is SERVICE=ADDR,ADDR [ports=PORT/PROTOCOL,...] [asked=ADDR] [shown=ADDR]; a WISH is single, prefer, require, v4, v6 (families in order),
// ports=..., want=ADDR,....
func tell(t *testing.T, story string) {
	t.Helper()
	s := teller{Allocator: ipam.New()}
	if !strings.Contains(story, "replay") {
		s.Replay(nil)
	}
	for n, line := range strings.Split(strings.TrimSpace(story), "\n") {
		step, want, _ := strings.Cut(strings.TrimSpace(line), " :")
		if step == "" {
			continue
		}
		if got, want := strings.Join(s.step(strings.Fields(step)), " "), strings.Join(strings.Fields(want), " "); got != want {
			t.Errorf("line %d: %s\n\t got: %s\n\twant: %s", n+1, strings.Join(strings.Fields(step), " "), got, want)
		}
	}
}

type teller struct {
	*ipam.Allocator
	had []ipam.Existing
}

func (s *teller) step(words []string) []string {
	step, args := words[0], words[1:]
	switch step {
	case "pools":
		data := map[string]string{}
		for _, arg := range args {
			key, value, _ := strings.Cut(arg, "=")
			data[key] = value
		}
		config, problems := ipam.Parse(data)
		var out []string
		for _, p := range problems {
			if !p.Warning {
				out = append(out, "wrong", p.Key)
			}
		}
		return append(out, changed(s.SetConfig(config))...)
	case "exclude":
		var list []ipam.Exclusion
		for _, arg := range args {
			prefix, what, _ := strings.Cut(arg, "=")
			list = append(list, ipam.Exclusion{Prefix: netip.MustParsePrefix(prefix), What: what})
		}
		return changed(s.SetExclusions(list))
	case "has":
		s.had = append(s.had, existing(args))
		return nil
	case "replay":
		return conflicts(s.Replay(s.had))
	case "sees":
		wake, found := s.Observe(existing(args))
		return append(conflicts(found), woken(wake)...)
	case "ask":
		out, ok := s.ensure(args)
		if !ok {
			return out
		}
		return append(out, woken(s.Commit(args[0]))...)
	case "reserve":
		out, _ := s.ensure(args)
		return out
	case "commit":
		return woken(s.Commit(args[0]))
	case "rollback":
		return woken(s.Rollback(args[0]))
	case "release":
		return woken(s.Release(args[0]))
	case "waiting":
		return s.Waiting()
	case "stats":
		var out []string
		for _, one := range s.Stats() {
			if one.Pool == args[0] {
				out = append(out, fmt.Sprintf("%s %s/%s", one.Family, one.Used, one.Size))
				if one.Shared > 0 {
					out = append(out, "shared", strconv.Itoa(one.Shared))
				}
			}
		}
		return out
	}
	panic("no step " + step)
}

func (s *teller) ensure(args []string) ([]string, bool) {
	grant, err := s.Ensure(request(args))
	var refusals ipam.Refusals
	if err != nil && !errors.As(err, &refusals) {
		return []string{err.Error()}, false
	}
	var out []string
	for _, r := range refusals {
		out = append(out, fmt.Sprintf("%s: %s", r.Reason, r.Error()))
	}
	for _, a := range grant.Addrs {
		text := a.Addr.String()
		if a.Pool != "" {
			text += "@" + a.Pool
		}
		if a.Shared {
			text += "+"
		}
		out = append(out, text)
	}
	for _, addr := range grant.Dropped {
		out = append(out, "-"+addr.String())
	}
	for _, r := range grant.Missing {
		out = append(out, "missing", string(r.Reason))
	}
	return out, err == nil
}

func changed(c ipam.Change) []string {
	var out []string
	for _, h := range c.Outside {
		out = append(out, "outside", h.Owner+"="+h.Addr.String())
	}
	for _, h := range c.Excluded {
		out = append(out, "excluded", h.Owner+"="+h.Addr.String(), "by", h.By)
	}
	return append(out, woken(c.Wake)...)
}

func woken(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return append([]string{"wakes"}, list...)
}

func conflicts(list []ipam.Conflict) []string {
	var out []string
	for _, c := range list {
		text := fmt.Sprintf("conflict %s: %s", c.Addr, strings.Join(c.Owners, ","))
		if c.By != "" {
			text += ", " + c.By
		}
		out = append(out, text)
	}
	return out
}

func request(args []string) ipam.Request {
	namespace, _, _ := strings.Cut(args[0], "/")
	r := ipam.Request{Owner: args[0], Namespace: namespace, Ports: ports("80/TCP")}
	for _, wish := range args[1:] {
		name, value, _ := strings.Cut(wish, "=")
		switch name {
		case "single":
			r.Policy = ipam.SingleStack
		case "prefer":
			r.Policy = ipam.PreferDualStack
		case "require":
			r.Policy = ipam.RequireDualStack
		case "v4":
			r.Families = append(r.Families, ipam.IPv4)
		case "v6":
			r.Families = append(r.Families, ipam.IPv6)
		case "ports":
			r.Ports = ports(value)
		case "want":
			r.Requested = addresses(value)
		default:
			panic("no wish " + wish)
		}
	}
	return r
}

func existing(args []string) ipam.Existing {
	owner, addrs, _ := strings.Cut(args[0], "=")
	namespace, _, _ := strings.Cut(owner, "/")
	e := ipam.Existing{Owner: owner, Namespace: namespace, Addrs: addresses(addrs), Ports: ports("80/TCP")}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "ports":
			e.Ports = ports(value)
		case "asked":
			e.Requested = addresses(value)
		case "shown":
			e.Shown = addresses(value)
		default:
			panic("what is " + arg)
		}
	}
	return e
}

func addresses(text string) []netip.Addr {
	var out []netip.Addr
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		out = append(out, netip.MustParseAddr(one))
	}
	return out
}

func ports(text string) []ipam.Port {
	var out []ipam.Port
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		number, protocol, _ := strings.Cut(one, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			panic(err)
		}
		out = append(out, ipam.Port{Protocol: vip.Protocol(protocol), Port: uint16(n)})
	}
	slices.SortFunc(out, func(a, b ipam.Port) int { return int(b.Port) - int(a.Port) })
	return out
}
