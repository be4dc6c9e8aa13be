package bgp

import "fmt"

// notification says in words what a NOTIFICATION (RFC 4271, 4.5; RFC 4486 for Cease) means.
func notification(code, subcode int64) string {
	type pair struct{ code, subcode int64 }
	switch (pair{code, subcode}) {
	case pair{2, 2}:
		return "the AS number in OPEN is not the one that was configured"
	case pair{2, 3}:
		return "the router ID in OPEN is not acceptable, the other side's own perhaps"
	case pair{2, 6}:
		return "the hold time is not acceptable"
	case pair{2, 7}:
		return "no address family in common"
	case pair{4, 0}:
		return "hold timer expired"
	case pair{6, 1}:
		return "too many prefixes"
	case pair{6, 2}:
		return "shut down by an administrator"
	case pair{6, 3}:
		return "the peer is configured no more"
	case pair{6, 4}:
		return "reset by an administrator"
	case pair{6, 5}:
		return "connection rejected: the peer is not configured"
	case pair{6, 6}:
		return "the configuration changed"
	case pair{6, 7}:
		return "two connections at a time"
	case pair{6, 10}: // RFC 9384
		return "BFD is down"
	}
	return fmt.Sprintf("NOTIFICATION code %d, subcode %d", code, subcode)
}
