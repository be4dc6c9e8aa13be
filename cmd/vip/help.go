package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// takesSettings marks a command whose help lists the settings.
func takesSettings() map[string]string { return map[string]string{"settings": "true"} }

// usage prints how a command is used: its own flags, and the settings by subject with their environment variables.
func usage(cmd *cobra.Command) error {
	w := cmd.OutOrStderr()
	fmt.Fprintf(w, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasExample() {
		fmt.Fprintf(w, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprint(w, "\nCommands:\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-12s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	if own := cmd.NonInheritedFlags(); own.HasAvailableFlags() && cmd.HasParent() {
		fmt.Fprintf(w, "\nFlags of this command:\n%s", own.FlagUsages())
	}
	if cmd.Annotations["settings"] == "" {
		fmt.Fprintf(w, "\nSettings are listed by %q.\n", cmd.Root().Name()+" manager --help")
		return nil
	}
	fmt.Fprint(w, "\nSettings: --flag or environment variable (or line of a --config-file), strongest first.\n")
	printSettings(w)
	return nil
}

// printSettings prints the settings that do something, by subject.
func printSettings(w io.Writer) {
	group := ""
	for _, s := range settings() {
		if s.state != stateActive {
			continue
		}
		if s.group != group {
			group = s.group
			fmt.Fprintf(w, "\n%s:\n", group)
		}
		fmt.Fprintf(w, "  %s\n        %s%s\n", names(s, "%s"), s.help+missingNote(s.key()), defaultText(s, " (default %s)"))
	}
}

// names returns the flag and the variables of s, each in format.
func names(s setting, format string) string {
	var all []string
	if s.short != "" {
		all = append(all, fmt.Sprintf(format, "-"+s.short))
	}
	if s.flag != "" {
		all = append(all, fmt.Sprintf(format, "--"+s.flag))
	}
	for _, name := range s.env {
		all = append(all, fmt.Sprintf(format, name))
	}
	return strings.Join(all, ", ")
}

// defaultText returns the default of s in format, or nothing.
func defaultText(s setting, format string) string {
	switch {
	case s.auto != "":
		return fmt.Sprintf(format, s.auto)
	case s.def == "" || s.def == "false" && s.kind == "bool":
		return ""
	}
	return fmt.Sprintf(format, s.def)
}
