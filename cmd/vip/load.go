package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Host is what [Load] asks of the machine; tests give their own.
type Host struct {
	// Name returns the host name.
	Name func() (string, error)
	// ReadFile reads a whole file.
	ReadFile func(path string) ([]byte, error)
	// LinkUp reports whether the network interface of that name is up (IFF_UP), or that there is none. When LinkUp is nil,
	// links are not checked.
	LinkUp func(name string) (bool, error)
}

// Sources is where settings come from, beside the file that one of them names.
type Sources struct {
	// Flags are the given ones: name without dashes, in any case, to text.
	Flags map[string]string
	// Environ is in os.Environ's form.
	Environ []string
	Host    Host
}

// origin is a source of a setting, weakest first.
type origin int

const (
	fromDefault origin = iota
	fromFile
	fromEnvironment
	fromFlag
)

// String returns the origin as messages call it.
func (o origin) String() string {
	return [...]string{"default", "file", "environment", "flag"}[o]
}

// given is one text that some source gave for a setting.
type given struct {
	from origin
	name string // as it was spelled there: vip_arp, --arp
	text string
	old  bool // by an old name
}

// where returns "environment vip_arp" or "flag --arp", for messages.
func (g given) where() string {
	if g.name == "" {
		return g.from.String()
	}
	return g.from.String() + " " + g.name
}

// Value is the effective text of one setting and where it came from.
type Value struct {
	Key    string // the name that messages use
	Text   string // canonical; of a secret "****" unless it is unset
	Source string // "default", "environment vip_arp", "flag --arp", "file vip_arp"

	setting  setting
	plain    string
	explicit bool
}

// Notice is something that the user should know and that is no error. It is logged as a warning at start.
type Notice struct {
	Fact string // constant, lower-case
	Key  string // the name in question, as the user wrote it
	Hint string // what to do, or the detail
}

// String returns the notice as one line.
func (n Notice) String() string { return n.Key + ": " + n.Fact + n.hint() }

func (n Notice) hint() string {
	if n.Hint == "" {
		return ""
	}
	return ": " + n.Hint
}

// Loaded is what [Load] found.
type Loaded struct {
	Config  Config
	Values  []Value  // every active setting, in the order of the documentation
	Notices []Notice // in the order of the sources
}

// Load reads every source, and returns the configuration or every error in it at once, joined. It changes nothing and
// reaches no network. Where the answer is an error, Values and Notices are filled in all the same as far as possible.
func Load(src Sources) (Loaded, error) {
	l := loader{src: src, settings: settings(), given: map[string][]given{}, bad: map[string]bool{}}
	l.readFlags()
	l.readEnvironment()
	l.readFile()
	l.followOldNames()
	l.choose()
	l.finish()
	l.validate()
	return l.out, errors.Join(l.errs...)
}

// loader is the state of one [Load].
type loader struct {
	src      Sources
	settings []setting
	given    map[string][]given // by setting.key
	bad      map[string]bool    // keys whose text couldn't be read
	out      Loaded
	errs     []error
}

func (l *loader) fail(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

func (l *loader) notice(key, fact, hint string) {
	l.out.Notices = append(l.out.Notices, Notice{Fact: fact, Key: key, Hint: hint})
}

// add notes that a source gave text for s. The empty text means "not set", except where it is a value.
func (l *loader) add(s setting, g given) {
	if g.text != "" || s.blank {
		l.given[s.key()] = append(l.given[s.key()], g)
	}
}

func (l *loader) readFlags() {
	byFlag := map[string]setting{}
	for _, s := range l.settings {
		if s.flag != "" {
			byFlag[strings.ToLower(s.flag)] = s
		}
	}
	for _, name := range sortedKeys(l.src.Flags) {
		s, ok := byFlag[strings.ToLower(name)]
		if !ok {
			l.fail("flag --%s: unknown", name)
			continue
		}
		l.add(s, given{from: fromFlag, name: "--" + s.flag, text: l.src.Flags[name]})
	}
}

func (l *loader) readEnvironment() {
	values := map[string]string{}
	for _, pair := range l.src.Environ {
		if name, text, ok := strings.Cut(pair, "="); ok {
			values[name] = text
		}
	}
	known := map[string]bool{}
	for _, s := range l.settings {
		found := false
		for _, name := range s.env {
			known[name] = true
			text, ok := values[name]
			if ok && !found && (text != "" || s.blank) {
				l.add(s, given{from: fromEnvironment, name: name, text: text})
				found = true
			}
		}
	}
	for _, name := range sortedKeys(values) {
		if !known[name] && isOurs(name) {
			l.notice(name, "unknown environment variable", l.nearest(name))
		}
	}
}

// isOurs reports whether an unknown environment variable looks as if it was meant for us.
func isOurs(name string) bool {
	for _, prefix := range []string{"vip_", "cp_", "svc_", "lb_", "bgp_", "dns_", "dhcp_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// followOldNames hands what an old name was given to its successor, and warns of names that do nothing.
func (l *loader) followOldNames() {
	for _, s := range l.settings {
		for _, g := range l.given[s.key()] {
			switch {
			case s.state == stateActive || g.text == s.def:
			case s.state == stateLater:
				l.notice(g.name, "has no effect in this version", "")
			case s.use == "":
				l.notice(g.name, "has no effect", cmp.Or(s.help, "remove it"))
			default:
				l.notice(g.name, "is old", "use "+s.use)
				g.old = true
				l.given[s.use] = append(l.given[s.use], g)
			}
		}
	}
}

// choose reads every given text, reports what can't be read, and applies the strongest to the Config.
func (l *loader) choose() {
	for _, s := range l.settings {
		if s.state != stateActive {
			continue
		}
		all := append([]given{{from: fromDefault, text: l.fallback(s)}}, l.given[s.key()]...)
		// Strongest last; within one source the present name beats the old one.
		slices.SortStableFunc(all, func(a, b given) int {
			if a.from != b.from {
				return int(a.from) - int(b.from)
			}
			return oldFirst(a.old) - oldFirst(b.old)
		})
		canonical := make([]string, len(all))
		for i, g := range all {
			canonical[i] = l.read(s, g)
		}
		l.compare(s, all, canonical)
		best := all[len(all)-1]
		plain := canonical[len(all)-1]
		value := Value{Key: s.key(), Text: mask(s, plain), Source: best.where(), setting: s, plain: plain,
			explicit: best.from != fromDefault}
		if s.show != nil {
			value.Text = s.show(&l.out.Config)
		}
		if s.key() == configFileKey {
			value.Text, value.plain = best.text, best.text
		}
		l.out.Values = append(l.out.Values, value)
	}
}

func oldFirst(old bool) int {
	if old {
		return 0
	}
	return 1
}

// read parses g into the Config and returns the canonical text.
func (l *loader) read(s setting, g given) string {
	if g.text == "" && g.from == fromDefault {
		return ""
	}
	if err := s.parse(&l.out.Config, g.text); err != nil {
		l.bad[s.key()] = true
		shown := fmt.Sprintf("%q", g.text)
		if s.secret {
			shown = mask(s, g.text) // the error of a secret's kind doesn't show it either
		}
		where := g.where()
		if g.from == fromDefault { // what this machine is called
			where = s.key() + " is not set, and " + where
		}
		l.fail("%s=%s: %w", where, shown, err)
		return ""
	}
	return s.format(&l.out.Config)
}

// compare notes where flag and environment disagree, and where one source gives both an old and a present name.
func (l *loader) compare(s setting, all []given, canonical []string) {
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if a.from == fromDefault || a.from == fromFile && b.from != fromFile || canonical[i-1] == canonical[i] {
			continue
		}
		detail := fmt.Sprintf("%s=%s, %s=%s", b.where(), mask(s, canonical[i]), a.where(), mask(s, canonical[i-1]))
		if a.from == b.from {
			l.notice(a.name, "disagrees with "+b.name+", which is used", detail)
		} else {
			l.notice(s.key(), "flag and environment disagree; the flag is used", detail)
		}
	}
}

// mask hides a secret.
func mask(s setting, text string) string {
	if s.secret && text != "" {
		return "****"
	}
	return text
}
