package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	ccm "daymark/cmd/ccm"
)

// execute runs the program with an empty environment.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command, err := ccm.NewCommand(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	command.SetOut(&out)
	command.SetErr(&out)
	command.SetArgs(args)
	command.SilenceErrors = true
	err = command.Execute()
	return out.String(), err
}

func TestPoolsCheck(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string // what is printed, without the file's name
		err  string   // "" means exit code 0
	}{
		"all is right": {text: "kind: ConfigMap\ndata:\n  cidr-shop: 10.0.0.0/24, fd00::/64\n  range-global: 10.1.0.1-10.1.0.9\n"},
		"among other objects": {text: `apiVersion: v1
kind: Service
metadata: {name: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kubevip, namespace: kube-system}
data:
  cidr-shop: 10.0.0.0/24, 10.0.1.0/33
  quota-shop: "-1"
`, want: []string{
			`9:27: cidr-shop, element 2, "10.0.1.0/33": prefix length out of range`,
			`10:3: quota-shop: "-1": not a number of addresses`,
		}, err: "2 wrong"},
		"the bare data": {text: "cidr-shop: 'x'\n", want: []string{`1:13: cidr-shop, element 1, "x": unable to parse IP`}, err: "1 wrong"},
		"lines of a literal block": {text: `kind: ConfigMap
data:
  cidr-shop: |
    10.0.0.0/24,
    10.0.0.9-10.0.0.1
`, want: []string{`5:1: cidr-shop, element 2, "10.0.0.9-10.0.0.1": the range ends before it begins`}, err: "1 wrong"},
		"what only warns": {text: `kind: ConfigMap
data:
  cidr-global: 10.0.0.0/16
  cidr-shop: 10.0.5.0/24
  cdir-blog: 10.9.0.0/24
`, want: []string{
			`4:14: warning: cidr-shop, element 1, "10.0.5.0/24": overlaps 10.0.0.0/16 of cidr-global; each address goes to whoever asks first`,
			`5:3: warning: cdir-blog: "10.9.0.0/24": unknown key, did you mean "cidr-blog"?`,
		}},
		"what YAML takes for something else": {text: "kind: ConfigMap\ndata:\n  allow-share-shop: true\n  quota-shop: 3\n", want: []string{
			"3:21: allow-share-shop: not a text: put it in quotes", "4:15: quota-shop: not a text: put it in quotes",
		}, err: "2 wrong"},
		"a key twice":    {text: "kind: ConfigMap\ndata:\n  cidr-a: 10.0.0.0/24\n  cidr-a: 10.0.1.0/24\n", want: []string{"4:3: cidr-a: the key is there twice"}, err: "1 wrong"},
		"no ConfigMap":   {text: "kind: Service\n", err: "no ConfigMap with data"},
		"two ConfigMaps": {text: "kind: ConfigMap\ndata: {cidr-a: 10.0.0.0/24}\n---\nkind: ConfigMap\ndata: {cidr-a: 10.0.0.0/24}\n", err: "line 5: a second ConfigMap"},
		"no YAML":        {text: "a: [", err: "reading YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pools.yaml")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := execute(t, "pools", "check", file)
			var got []string
			for line := range strings.Lines(out) {
				got = append(got, strings.TrimSpace(strings.TrimPrefix(line, file+":")))
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
	if _, err := execute(t, "pools", "check", filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a missing file is right")
	}
}
