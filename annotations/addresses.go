package annotations

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// maxAddresses bounds the list that a tenant can write; a Service has two families, and a user's own list a few more.
const maxAddresses = 32

// Request is one element of [LoadBalancerIPs]: an address or a host name.
type Request struct {
	Addr netip.Addr // valid when Host is empty; unmapped, without a zone
	Host string
}

// DHCP reports whether the request is for an address by DHCP: 0.0.0.0 or ::.
func (r Request) DHCP() bool { return r.Host == "" && r.Addr.IsUnspecified() }

// String returns the text that parses to r.
func (r Request) String() string {
	if r.Host != "" {
		return r.Host
	}
	return r.Addr.String()
}

// ParseRequests reads the value of [LoadBalancerIPs] or [RequestedIP]. Spaces around elements are allowed, an empty value is no request; every
// wrong element is reported, named, in one error.
func ParseRequests(value string) ([]Request, error) {
	if strings.TrimSpace(value) == "" {
		return nil, nil
	}
	if strings.Count(value, ",") >= maxAddresses {
		return nil, fmt.Errorf("more than %d addresses", maxAddresses)
	}
	var out []Request
	var errs []error
	for text := range strings.SplitSeq(value, ",") {
		r, err := parseRequest(strings.TrimSpace(text))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, r)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

func parseRequest(text string) (Request, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err == nil && addr.Zone() != "":
		return Request{}, fmt.Errorf("address %q: a zone is not allowed", text)
	case err == nil:
		return Request{Addr: addr.Unmap()}, nil
	case isHostName(text):
		return Request{Host: strings.ToLower(text)}, nil
	}
	return Request{}, fmt.Errorf("%q is neither an IP address nor a host name", text)
}

// FormatRequests returns the value that [ParseRequests] reads back.
func FormatRequests(requests []Request) string {
	texts := make([]string, len(requests))
	for i, r := range requests {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}

// FormatAddresses returns the value of [LoadBalancerIPs] for addresses.
func FormatAddresses(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

// isHostName follows RFC 1123, 2.1, and requires a letter in the last label, so that a mistyped address is no host name.
func isHostName(text string) bool {
	if len(text) == 0 || len(text) > 253 {
		return false
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	for _, label := range labels {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isAlphanumeric(c) && c != '-' {
				return false
			}
		}
	}
	return strings.ContainsFunc(labels[len(labels)-1], func(r rune) bool { return r > '9' })
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
