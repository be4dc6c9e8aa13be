package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// configFileKey is the setting that names the file.
const configFileKey = "config_file"

// hasFile reports whether a file was named, whatever is in it.
func (l Loaded) hasFile() bool {
	return slices.ContainsFunc(l.Values, func(v Value) bool { return v.Key == configFileKey && v.explicit })
}

// readFile reads the file that a flag or the environment names.
func (l *loader) readFile() {
	named := l.given[configFileKey]
	if len(named) == 0 {
		return
	}
	chosen := slices.MaxFunc(named, func(a, b given) int { return int(a.from) - int(b.from) })
	path := chosen.text
	data, err := l.src.Host.ReadFile(path)
	if err != nil {
		l.fail("%s=%q: reading the file: %w", chosen.where(), path, err)
		return
	}
	entries, err := parseFile(data)
	if err != nil {
		l.fail("file %q: %w", path, err)
		return
	}
	byName := l.byAnyName()
	seen := map[string]string{}
	for _, e := range entries {
		s, ok := byName[strings.ToLower(e.name)]
		switch {
		case !ok:
			l.notice(e.name, "unknown name in "+path, l.nearest(e.name))
		case s.key() == configFileKey:
			l.notice(e.name, "has no effect in "+path, "a file can't name a file")
		case e.err != nil:
			l.fail("file %q: %s: %w", path, e.name, e.err)
		case seen[s.key()] != "":
			l.fail("file %q: %s and %s are the same setting", path, seen[s.key()], e.name)
		default:
			seen[s.key()] = e.name
			if !e.unset {
				l.add(s, given{from: fromFile, name: e.name, text: e.text})
			}
		}
	}
}

// byAnyName returns the settings by their names for the environment, for flags and in kube-vip's file, in lower case.
func (l *loader) byAnyName() map[string]setting {
	out := map[string]setting{}
	for _, s := range l.settings {
		for _, name := range slices.Concat(s.env, s.file, []string{s.flag}) {
			out[strings.ToLower(name)] = s
		}
	}
	delete(out, "")
	return out
}

// entry is one line of a file: a name, with dots between levels, and the text that the environment would have, or why
// there is none.
type entry struct {
	name, text string
	unset      bool // null, also where the empty text is a value
	err        error
}

// parseFile reads YAML or JSON: one object of names and values. Lists become comma lists, null means not set. It accepts
// the two levels of kube-vip's own file (bgpConfig, bgpPeerConfig, etcd).
func parseFile(data []byte) ([]entry, error) {
	raw, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("neither YAML nor JSON: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // as it was written, not as a float
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, errors.New("not an object of names and values")
	}
	return flatten("", object), nil
}

func flatten(prefix string, object map[string]any) []entry {
	var out []entry
	for _, name := range sortedKeys(object) {
		full := prefix + name
		if section, ok := object[name].(map[string]any); ok && isSection(full) {
			out = append(out, flatten(full+".", section)...)
			continue
		}
		text, err := valueText(object[name])
		out = append(out, entry{name: full, text: text, unset: object[name] == nil, err: err})
	}
	return out
}

func isSection(name string) bool {
	return slices.Contains([]string{"bgpconfig", "bgppeerconfig", "bgpconfig.zebra", "etcd"}, strings.ToLower(name))
}

func valueText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	case json.Number:
		return v.String(), nil
	case map[string]any:
		b, err := json.Marshal(v)
		return string(b), err
	case []any:
		var texts []string
		var errs []error
		for _, element := range v {
			text, err := elementText(element)
			texts, errs = append(texts, text), append(errs, err)
		}
		return strings.Join(texts, ","), errors.Join(errs...)
	}
	return "", fmt.Errorf("unexpected %T", v)
}

// elementText is valueText for an element of a list; an object there is a BGP peer of kube-vip's file.
func elementText(v any) (string, error) {
	switch v := v.(type) {
	case map[string]any:
		return peerText(v)
	case []any:
		return "", errors.New("a list in a list")
	}
	return valueText(v)
}

// peerText returns the peer string address:AS:password:multihop:port of a peer written as an object.
func peerText(peer map[string]any) (string, error) {
	fields := map[string]string{"port": "179", "multihop": "false"}
	var errs []error
	for _, name := range sortedKeys(peer) {
		text, err := valueText(peer[name])
		errs = append(errs, err)
		switch lower := strings.ToLower(name); lower {
		case "address", "as", "password", "multihop", "port":
			fields[lower] = text
		default:
			errs = append(errs, fmt.Errorf("unknown %q of a peer; write it as address:AS:password:multihop:port:mpbgp:bfd", name))
		}
	}
	address := fields["address"]
	if strings.Contains(address, ":") && !strings.HasPrefix(address, "[") {
		address = "[" + address + "]"
	}
	text := strings.Join([]string{address, fields["as"], fields["password"], fields["multihop"], fields["port"]}, ":")
	return text, errors.Join(errs...)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
