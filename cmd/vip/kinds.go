package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"daymark/annotations"
)

// kind is a type of value: how its text is read and written. format(parse(x)) is the one text that every spelling of the
// same value has.
type kind[T any] struct {
	name   string
	parse  func(text string) (T, error)
	format func(T) string
}

// binding joins a setting to its place in [Config], whatever the type.
type binding struct {
	kind   string
	parse  func(c *Config, text string) error
	format func(c *Config) string
}

// bind returns the binding of the value of kind k that at finds in a Config.
func bind[T any](k kind[T], at func(*Config) *T) binding {
	return binding{
		kind: k.name,
		parse: func(c *Config, text string) error {
			v, err := k.parse(text)
			if err == nil {
				*at(c) = v
			}
			return err
		},
		format: func(c *Config) string { return k.format(*at(c)) },
	}
}

func boolean() kind[bool] {
	return kind[bool]{"bool", func(s string) (bool, error) {
		v, err := strconv.ParseBool(s)
		if err != nil {
			return false, errors.New("neither true nor false")
		}
		return v, nil
	}, strconv.FormatBool}
}

func text() kind[string] {
	return kind[string]{"text", func(s string) (string, error) { return s, nil }, func(s string) string { return s }}
}

// checked is text of which only some is valid.
func checked(name string, check func(string) error) kind[string] {
	k := text()
	k.name = name
	k.parse = func(s string) (string, error) { return s, check(s) }
	return k
}

func choice(values ...string) kind[string] {
	return checked(strings.Join(values, "|"), func(s string) error {
		if !slices.Contains(values, s) {
			return fmt.Errorf("not one of %s", strings.Join(values, ", "))
		}
		return nil
	})
}

// number is an unsigned whole number from low to high.
func number[T uint8 | uint16 | uint32 | int](low, high uint64) kind[T] {
	return kind[T]{"number", func(s string) (T, error) {
		n, err := whole(s, low, high)
		return T(n), err
	}, func(v T) string { return strconv.FormatUint(uint64(v), 10) }}
}

func whole(s string, low, high uint64) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && (n < low || n > high):
		return 0, fmt.Errorf("not between %d and %d", low, high)
	case err != nil:
		return 0, errors.New("not a whole number")
	}
	return n, nil
}

// metric is a number that may be absent; absent is the empty text.
func metric() kind[*uint32] {
	return kind[*uint32]{"number", annotations.ParseMetric, func(v *uint32) string {
		if v == nil {
			return ""
		}
		return strconv.FormatUint(uint64(*v), 10)
	}}
}

// text of a type of its own, such as a secret.
func textOf[T ~string]() kind[T] {
	return kind[T]{"text", func(s string) (T, error) { return T(s), nil }, func(v T) string { return string(v) }}
}

// span is a whole number of units, from low to high of them.
func span(name string, unit time.Duration, low, high uint64) kind[time.Duration] {
	return kind[time.Duration]{name, func(s string) (time.Duration, error) {
		n, err := whole(s, low, high)
		if err != nil {
			return 0, fmt.Errorf("%w (of %s)", err, name)
		}
		return time.Duration(n) * unit, nil
	}, func(d time.Duration) string { return strconv.FormatInt(int64(d/unit), 10) }}
}

func seconds(low, high uint64) kind[time.Duration] { return span("seconds", time.Second, low, high) }

func milliseconds(low, high uint64) kind[time.Duration] {
	return span("milliseconds", time.Millisecond, low, high)
}

// level is slog's number, or the name of a level.
func level() kind[slog.Level] {
	return kind[slog.Level]{"level", func(s string) (slog.Level, error) {
		if n, err := strconv.ParseInt(s, 10, 8); err == nil {
			return slog.Level(n), nil
		}
		var l slog.Level
		if err := l.UnmarshalText([]byte(s)); err != nil {
			return 0, errors.New("neither a number, such as -4, 0, 4, 8, nor debug, info, warn, error")
		}
		return l, nil
	}, func(l slog.Level) string { return strconv.Itoa(int(l)) }}
}

func address(valid func(netip.Addr) bool, must string) kind[netip.Addr] {
	return kind[netip.Addr]{"address", func(s string) (netip.Addr, error) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Addr{}, errors.New("not an IP address")
		}
		if a = a.Unmap(); !valid(a) {
			return netip.Addr{}, errors.New(must)
		}
		return a, nil
	}, func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}}
}

func anyAddress() kind[netip.Addr] {
	return address(func(a netip.Addr) bool { return !a.IsUnspecified() && !a.IsMulticast() }, "not a unicast address")
}

func ipv4() kind[netip.Addr] { return address(netip.Addr.Is4, "not an IPv4 address") }
func ipv6() kind[netip.Addr] { return address(netip.Addr.Is6, "not an IPv6 address") }

// list is a comma list; spaces around elements are dropped. Every wrong element is reported.
func list[T any](k kind[T], tidy func([]T) []T) kind[[]T] {
	return kind[[]T]{"list of " + k.name, func(s string) ([]T, error) {
		var out []T
		var errs []error
		for element := range strings.SplitSeq(s, ",") {
			element = strings.TrimSpace(element)
			v, err := k.parse(element)
			if err != nil {
				errs = append(errs, fmt.Errorf("%q: %w", element, err))
				continue
			}
			out = append(out, v)
		}
		if len(errs) > 0 {
			return nil, errors.Join(errs...)
		}
		return tidy(out), nil
	}, func(v []T) string {
		texts := make([]string, len(v))
		for i := range v {
			texts[i] = k.format(v[i])
		}
		return strings.Join(texts, ",")
	}}
}

func prefix() kind[netip.Prefix] {
	return kind[netip.Prefix]{"prefix", func(s string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, errors.New("not a prefix such as 192.0.2.0/24")
		}
		if p != p.Masked() {
			return netip.Prefix{}, fmt.Errorf("has host bits set; did you mean %s", p.Masked())
		}
		return p, nil
	}, netip.Prefix.String}
}

// link follows the kernel's dev_valid_name.
func link() kind[string] {
	return checked("link", func(s string) error {
		if len(s) == 0 || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\v\f\r") {
			return errors.New("not a name of a network interface")
		}
		return nil
	})
}

func listen() kind[string] {
	return checked("host:port", func(s string) error {
		if s == "" {
			return nil
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return errors.New("not host:port or :port")
		}
		if _, err := whole(port, 1, 65535); err != nil {
			return fmt.Errorf("port %q: %w", port, err)
		}
		if host != "" && host != "localhost" {
			if _, err := netip.ParseAddr(host); err != nil {
				return fmt.Errorf("host %q: not an IP address", host)
			}
		}
		return nil
	})
}

func webURL() kind[string] {
	return checked("URL", func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return errors.New("not a URL with http or https and a host")
		}
		return nil
	})
}

// server is how client-go takes the address of an API server: a URL or host:port.
func server() kind[string] {
	return checked("URL", func(s string) error {
		if u, err := url.Parse(s); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
			return nil
		}
		if _, port, err := net.SplitHostPort(s); err == nil {
			if _, err := whole(port, 1, 65535); err == nil {
				return nil
			}
		}
		return errors.New("neither a URL nor host:port")
	})
}

// stringMap is a JSON object of strings.
func stringMap() kind[map[string]string] {
	return kind[map[string]string]{"JSON object", func(s string) (map[string]string, error) {
		var m map[string]string
		if err := json.Unmarshal([]byte(s), &m); err != nil || m == nil {
			return nil, errors.New(`not a JSON object of strings, such as {"key":"value"}`)
		}
		return m, nil
	}, func(m map[string]string) string {
		if len(m) == 0 {
			return ""
		}
		b, _ := json.Marshal(m) // a map of strings always marshals, with its keys in order
		return string(b)
	}}
}
