package main

import (
	"fmt"
	"strings"
)

const referenceIntro = `# Configuration of the agent

<!-- Written from the table in cmd/vip by "go test ./cmd/vip -update"; don't edit it by hand. -->

Every setting is a flag, an environment variable, or a line of a YAML or JSON file. The strongest source wins:

1. a flag that was given; upper and lower case don't matter (` + "`--controlPlane` is `--controlplane`" + `),
2. the environment; an empty variable is not set, except where the table says that empty is a value,
3. the file that ` + "`--config-file`" + ` names; its lines may use either name of a setting, or kube-vip's own file's,
4. the default.

Where a flag and the environment disagree, the agent says so when it starts. An unknown ` +
	"`vip_*`, `cp_*`, `svc_*`, `lb_*`, `bgp_*`, `dns_*` or `dhcp_*`" + ` variable, and an
unknown name in the file, is a warning with the nearest known name. Wrong values are reported all at once, each with its source and name, before
anything is touched; the agent then ends with exit code 1.

` + "`vip config print`" + ` shows every effective value and where it came from, with secrets masked; ` + "`vip config validate`" + ` only checks.
` + "`vip manifest pod|daemonset|rbac`" + ` writes Kubernetes objects with the same settings.

**Old** names warn. They work where the table names a successor, and have no effect where it doesn't. Names marked **later** are known, warn, and have no effect yet.
`

// Reference returns the documentation of every setting, as Markdown.
func Reference() string {
	var out strings.Builder
	out.WriteString(referenceIntro)
	group := ""
	for _, s := range settings() {
		if s.group != group {
			group = s.group
			fmt.Fprintf(&out, "\n## %s\n\n| environment | flag | default | meaning |\n|---|---|---|---|\n", group)
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", code(s.env...), code(flagNames(s)...), referenceDefault(s), s.meaning())
	}
	out.WriteString(missingReference())
	return out.String()
}

func flagNames(s setting) []string {
	var out []string
	if s.flag != "" {
		out = append(out, "--"+s.flag)
	}
	if s.short != "" {
		out = append(out, "-"+s.short)
	}
	return out
}

func code(names ...string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = "`" + name + "`"
	}
	return strings.Join(quoted, ", ")
}

func referenceDefault(s setting) string {
	if s.auto != "" {
		return s.auto
	}
	if s.def == "" || s.state != stateActive {
		return ""
	}
	return code(s.def)
}

// meaning is the help with what the state of the setting adds.
func (s setting) meaning() string {
	switch {
	case s.state == stateLater:
		return "**later**"
	case s.state == stateOld && s.use != "":
		return "**old**: " + code(s.use)
	case s.state == stateOld:
		return strings.TrimSuffix("**old**: no effect; "+s.help, "; ")
	}
	text := s.help
	if strings.Contains(s.kind, "|") {
		text += ": " + strings.ReplaceAll(s.kind, "|", ", ")
	}
	if s.secret {
		text += "; secret"
	}
	return text + missingNote(s.key())
}

func missingReference() string {
	var out strings.Builder
	out.WriteString("\n## Not in this version\n\nThese are refused with an error, so that nobody relies on what isn't there:\n\n")
	for _, m := range missing(Config{}) {
		fmt.Fprintf(&out, "- %s: %s\n", code(m.key), m.remedy)
	}
	return out.String()
}
