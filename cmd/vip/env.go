package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// textFlag is a flag of any setting: it keeps the text, which [Load] reads like every other source's.
type textFlag struct {
	setting setting
	given   map[string]string
}

// String returns the default, for pflag.
func (f *textFlag) String() string { return f.setting.def }

// Type names the kind of value, for pflag.
func (f *textFlag) Type() string { return f.setting.kind }

// Set keeps the text. A list may be given in several flags.
func (f *textFlag) Set(text string) error {
	before, again := f.given[f.setting.flag]
	if again && strings.HasPrefix(f.setting.kind, "list") {
		text = before + "," + text
	}
	f.given[f.setting.flag] = text
	return nil
}

// AddFlags defines a flag for every setting that has one, matched without regard to case. The map that it returns is
// filled while the flags are parsed; it is Sources.Flags.
func AddFlags(flags *pflag.FlagSet) map[string]string {
	flags.SetNormalizeFunc(IgnoreCase)
	given := map[string]string{}
	for _, s := range settings() {
		if s.flag == "" {
			continue
		}
		f := flags.VarPF(&textFlag{s, given}, s.flag, s.short, s.help)
		if s.kind == "bool" || s.def == "true" || s.def == "false" {
			f.NoOptDefVal = "true"
		}
	}
	return given
}

// IgnoreCase makes --controlPlane the same flag as --controlplane.
func IgnoreCase(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ToLower(name))
}

// EnvVar is one variable of an environment.
type EnvVar struct{ Name, Value string }

// Environment returns what was set, from whatever source, as environment variables under their present names, in the order
// of the documentation: the way from flags to an environment. Loading them gives the same Config, except for settings
// that have a flag only and for the file, whose content is in the variables.
func (l Loaded) Environment() []EnvVar {
	var out []EnvVar
	for _, v := range l.Values {
		if v.explicit && len(v.setting.env) > 0 && v.Key != configFileKey {
			out = append(out, EnvVar{v.setting.env[0], v.plain})
		}
	}
	return out
}

// FlagFor returns the flag of an environment variable, as "--interface", or why there is none.
func FlagFor(variable string) (string, error) {
	for _, s := range settings() {
		for _, name := range s.env {
			if name == variable && s.flag != "" {
				return "--" + s.flag, nil
			}
		}
	}
	return "", fmt.Errorf("environment variable %s has no flag", variable)
}

// FlagsWithoutEffect returns the flags, without dashes, of names that are only still, or already, known.
func FlagsWithoutEffect() []string {
	var out []string
	for _, s := range settings() {
		if s.state != stateActive && s.flag != "" {
			out = append(out, s.flag)
		}
	}
	return out
}
