package pools_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"daymark/ipam"
	"daymark/test/controlplane"
	"daymark/test/require"
)

// poolsCommand compares what `ccm pools` shows with what the Services say.
func poolsCommand(t *testing.T, b *bed) {
	run := func(args ...string) string {
		return string(require.Value(b.here.Run(t.Context(), append([]string{b.program, "pools"}, args...)...))(t))
	}
	var report struct {
		Pools []struct {
			Pool, Family             string
			Size, Used, Shared, Free int
		}
		Addresses []struct{ Address, Service, Pool string }
		Without   []string `json:"withoutAddress"`
		Conflicts []any
		Problems  []string
	}
	require.NoError(t, json.Unmarshal([]byte(run("--kubeconfig="+b.Kubeconfig, "-o", "json")), &report))
	var got, want []string
	for _, a := range report.Addresses {
		got = append(got, a.Service+" "+a.Address)
	}
	var without []string
	for _, svc := range b.list(t, "") {
		owner := svc.Namespace + "/" + svc.Name
		switch {
		case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		case svc.Spec.LoadBalancerIP == "":
			without = append(without, owner)
		default:
			for _, addr := range addresses(&svc) {
				want = append(want, owner+" "+addr.String())
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) < 20 {
		t.Errorf("holders %q, want %q", got, want)
	}
	if slices.Sort(without); !slices.Equal(report.Without, without) || len(without) == 0 {
		t.Errorf("without %q, want %q", report.Without, without)
	}
	if len(report.Conflicts) > 0 || len(report.Problems) > 0 {
		t.Errorf("conflicts %v, problems %v", report.Conflicts, report.Problems)
	}
	table := run("--kubeconfig=" + b.Kubeconfig)
	for _, row := range []string{
		"POOL FAMILY SIZE USED SHARED FREE", "quota IPv4 7 3 0 4", "dual IPv6 7 2 0 5", "share IPv4 7 3 1 4", "life IPv4 1 1 0 0",
		"ADDRESS POOL SERVICE", "198.18.6.1 life life/last", "192.0.2.1 - asks/outside", "- - " + without[0],
	} {
		if !regexp.MustCompile(`(?m)^` + strings.ReplaceAll(regexp.QuoteMeta(row), " ", " +") + `$`).MatchString(table) {
			t.Errorf("no row %q in\n%s", row, table)
		}
	}
	file := filepath.Join(t.TempDir(), "pools.yaml")
	require.NoError(t, os.WriteFile(file, []byte("kind: ConfigMap\ndata:\n  cidr-shop: 10.0.0.0/33\n"), 0o600))
	out, err := b.here.Run(t.Context(), b.program, "pools", "check", file)
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.HasPrefix(string(out), file+`:3:14: cidr-shop, element 1, "10.0.0.0/33"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// allowScraper applies the role of the documentation, and remembers the token of whom it lets read.
func (b *bed) allowScraper(t testing.TB) {
	t.Helper()
	require.NoError(t, controlplane.Apply(t.Context(), b.Config, require.Value(os.ReadFile("../../manifests/metrics-reader.yaml"))(t)))
	b.namespace(t, "monitoring")
	b.scraper = require.Value(controlplane.ServiceAccount(t.Context(), b.client, "monitoring", "prometheus"))(t).Token
}

// scrape asks the ccm for its metrics, with a token, and returns the values by name and labels as they are written.
func (b *bed) scrape(t testing.TB, token string) (map[string]string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := require.Value(http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:10258/metrics", nil))(t)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // it makes its own certificate
	defer client.CloseIdleConnections()
	response := require.Value(client.Do(r))(t)
	defer response.Body.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 && lines.Text()[0] != '#' {
			values[lines.Text()[:i]] = lines.Text()[i+1:]
		}
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return values, response.StatusCode
}

// awaitMetric waits until a figure of the ccm is as wanted.
func (b *bed) awaitMetric(t testing.TB, name, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		values, _ := b.scrape(t, b.scraper)
		if values[name] == want {
			return
		}
		again := time.NewTimer(50 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s is %q, want %q", name, values[name], want)
		}
	}
}

// metrics reads the figures over the secure port, as somebody who may and as some who may not.
func metrics(t *testing.T, b *bed) {
	stranger := require.Value(controlplane.ServiceAccount(t.Context(), b.client, "monitoring", "stranger"))(t).Token
	for name, token := range map[string]string{"nobody": "", "a stranger": stranger, "a liar": "no token"} {
		values, code := b.scrape(t, token)
		if _, told := values["ccm_services_waiting"]; told || code != http.StatusForbidden && code != http.StatusUnauthorized {
			t.Errorf("%s: code %d, %v", name, code, values)
		}
	}
	waiting := 0
	for _, svc := range b.list(t, "") {
		if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.LoadBalancerClass == nil && svc.Spec.LoadBalancerIP == "" {
			waiting++
		}
	}
	values, code := b.scrape(t, b.scraper)
	if code != http.StatusOK {
		t.Fatalf("code %d", code)
	}
	pool := func(figure, pool, family string) string {
		return fmt.Sprintf(`ccm_pool_%s{family=%q,pool=%q}`, figure, family, pool)
	}
	for name, want := range map[string]string{
		pool("addresses", "quota", "IPv4"): "7", pool("addresses_used", "quota", "IPv4"): "3", pool("addresses_free", "quota", "IPv4"): "4",
		pool("addresses_shared", "quota", "IPv4"): "0", pool("addresses_shared", "share", "IPv4"): "1", pool("addresses_used", "dual", "IPv6"): "2",
		"ccm_services_waiting": strconv.Itoa(waiting), "ccm_pool_config_broken_keys": "0", "ccm_address_conflicts_total": "0",
	} {
		if values[name] != want {
			t.Errorf("%s is %q, want %s", name, values[name], want)
		}
	}
	for _, reason := range []ipam.Reason{ // those that pools have
		ipam.Excluded, ipam.Exhausted, ipam.NoPool, ipam.NotInPool, ipam.OverQuota, ipam.Taken, ipam.WrongFamily, "unparsable",
	} {
		if n, _ := strconv.Atoi(values[fmt.Sprintf(`ccm_refusals_total{reason=%q}`, reason)]); n < 1 {
			t.Errorf("no refusal for reason %s", reason)
		}
	}
	if n, _ := strconv.Atoi(values["ccm_allocation_duration_seconds_count"]); n < 20 {
		t.Errorf("%d allocations were timed", n)
	}
	if t.Failed() {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if strings.HasPrefix(name, "ccm_") {
				t.Log(name, values[name])
			}
		}
	}
}
