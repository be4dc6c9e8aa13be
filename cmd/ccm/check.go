package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"daymark/ipam"
)

// newCheckCommand returns `ccm pools check FILE`.
func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a file with the pools' ConfigMap, and name the line of everything wrong",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("reading the file: %w", err)
			}
			found, err := check(text)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			wrong := 0
			for _, f := range found {
				fmt.Fprintf(c.OutOrStdout(), "%s:%s\n", args[0], f)
				if !f.warning {
					wrong++
				}
			}
			if wrong > 0 {
				return fmt.Errorf("%s: %d wrong", args[0], wrong)
			}
			return nil
		},
		SilenceUsage: true,
	}
}

// finding is something wrong at a place of the file; line and column count from 1.
type finding struct {
	line, column int
	text         string
	warning      bool
}

// String returns the form that editors jump to.
func (f finding) String() string {
	kind := ""
	if f.warning {
		kind = "warning: "
	}
	return fmt.Sprintf("%d:%d: %s%s", f.line, f.column, kind, f.text)
}

// check reads a YAML file with one ConfigMap, among whatever else, or with nothing but the ConfigMap's data.
func check(text []byte) ([]finding, error) {
	var data *yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading YAML: %w", err)
		}
		if found := poolsIn(&document); found != nil {
			if data != nil {
				return nil, fmt.Errorf("line %d: a second ConfigMap", found.Line)
			}
			data = found
		}
	}
	if data == nil {
		return nil, errors.New("no ConfigMap with data")
	}
	return checkData(data), nil
}

// poolsIn returns the mapping of keys to pools in a document, or nil.
func poolsIn(document *yaml.Node) *yaml.Node {
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	root := document.Content[0]
	kind, data := field(root, "kind"), field(root, "data")
	switch {
	case kind == nil && data == nil:
		return root
	case kind != nil && kind.Value == "ConfigMap" && data != nil && data.Kind == yaml.MappingNode:
		return data
	}
	return nil
}

func field(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func checkData(mapping *yaml.Node) []finding {
	data := map[string]string{}
	keys, values := map[string]*yaml.Node{}, map[string]*yaml.Node{}
	var out []finding
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		switch {
		case value.Kind != yaml.ScalarNode || value.Tag != "!!str":
			out = append(out, finding{line: value.Line, column: value.Column, text: key.Value + ": not a text: put it in quotes"})
		case keys[key.Value] != nil:
			out = append(out, finding{line: key.Line, column: key.Column, text: key.Value + ": the key is there twice"})
		}
		if value.Kind == yaml.ScalarNode {
			data[key.Value], keys[key.Value], values[key.Value] = value.Value, key, value
		}
	}
	_, problems := ipam.Parse(data)
	for _, p := range problems {
		f := finding{text: p.Error(), warning: p.Warning, line: mapping.Line, column: mapping.Column}
		if key := keys[p.Key]; key != nil {
			f.line, f.column = key.Line, key.Column
			if p.Element > 0 {
				f.line, f.column = place(values[p.Key], p.Offset)
			}
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b finding) int { return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column)) })
	return out
}

// place returns where the byte at offset of a scalar's value stands in the file. In a literal block every line of the value is one of the file, indented by
// an unknown width; in quotes a value begins behind the quote. In a folded one the line of its beginning is the best to be had.
func place(value *yaml.Node, offset int) (line, column int) {
	before := value.Value[:min(offset, len(value.Value))]
	switch {
	case value.Style&yaml.LiteralStyle != 0:
		return value.Line + 1 + strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n')
	case value.Style&yaml.FoldedStyle != 0:
		return value.Line + 1, 1
	case value.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		offset++
	}
	return value.Line, value.Column + offset
}
