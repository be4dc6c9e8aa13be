package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func configCommand(sources func() Sources) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show or check the configuration"}
	var format string
	show := &cobra.Command{
		Use:         "print",
		Short:       "Print every effective value and where it came from; secrets are masked",
		Args:        cobra.NoArgs,
		Annotations: takesSettings(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := Load(sources())
			if err := printValues(cmd.OutOrStdout(), loaded.Values, format); err != nil {
				return err
			}
			return verdict(cmd.ErrOrStderr(), loaded, err)
		},
	}
	show.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	validate := &cobra.Command{
		Use:         "validate",
		Short:       "Check the configuration on this node, and change nothing",
		Args:        cobra.NoArgs,
		Annotations: takesSettings(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := Load(checkingLinks(sources()))
			return verdict(cmd.ErrOrStderr(), loaded, err)
		},
	}
	cmd.AddCommand(show, validate)
	return cmd
}

// verdict prints the notices and returns what is wrong.
func verdict(w io.Writer, loaded Loaded, err error) error {
	for _, n := range loaded.Notices {
		fmt.Fprintln(w, "warning:", n)
	}
	if err != nil {
		return fmt.Errorf("wrong configuration:\n%w", err)
	}
	return nil
}

func printValues(w io.Writer, values []Value, format string) error {
	switch format {
	case "json":
		type row struct{ Key, Value, Source string }
		rows := make([]row, len(values))
		for i, v := range values {
			rows[i] = row{v.Key, v.Text, v.Source}
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	case "table":
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "SETTING\tVALUE\tSOURCE")
		for _, v := range values {
			shown := v.Text
			if shown == "" && !v.explicit && v.setting.auto != "" {
				shown = "(" + v.setting.auto + ")"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", v.Key, shown, v.Source)
		}
		return t.Flush()
	}
	return fmt.Errorf("output %q: neither table nor json", format)
}
