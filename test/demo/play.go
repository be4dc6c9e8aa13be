package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"daymark/test/controlplane"
	"daymark/test/netns"
	"daymark/test/programs"
)

// play is one run of the demo. It belongs to one goroutine.
type play struct {
	out     io.Writer
	started time.Time
	step    string      // the one that is being played
	rows    [][2]string // of the table at the end

	set     programs.Set
	product programs.Product
	lab     *netns.Lab
	lan     *netns.LAN
	client  *netns.Host
	cluster *controlplane.Cluster
	vip     netip.Addr
	vip6    netip.Addr                // the same in IPv6
	agents  map[string]*netns.Command // by node

	admin *rest.Config // through the VIP, from the client
	kube  *kubernetes.Clientset
}

// run plays every step; a step that fails ends the play.
func (p *play) run(ctx context.Context, hold bool) (err error) {
	p.started = time.Now()
	p.step = "preparing the bed"
	if err := p.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.lab.Close()) }()
	for _, s := range []struct {
		name string
		play func(context.Context) (string, error)
	}{
		{"first node: agent as a static pod, then etcd and the API server", p.firstNode},
		{"the control plane through the VIP", p.readThroughVIP},
		{"two more control-plane nodes join", p.otherNodes},
		{"the cloud-controller-manager and its pools", p.startCCM},
		{"Services get addresses and answer", p.services},
		{"the holder of the control plane's VIP stops (SIGTERM)", p.stopHolder},
		{"a Service's holder loses its cable", p.cutHolder},
		{"a Service is deleted", p.deleteService},
	} {
		if err := p.play(ctx, s.name, s.play); err != nil {
			return err
		}
	}
	p.table()
	if hold {
		p.step = "holding"
		return p.hold(ctx)
	}
	return nil
}

// play plays one step within a time in which it certainly ends, and prints its line.
func (p *play) play(ctx context.Context, name string, f func(context.Context) (string, error)) error {
	p.step = name
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	began := time.Now()
	result, err := f(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%6.1f s  %s\n", time.Since(began).Seconds(), name)
	for line := range strings.Lines(result) {
		fmt.Fprintf(p.out, "          %s\n", strings.TrimSuffix(line, "\n"))
	}
	return nil
}

// row adds a line to the table at the end.
func (p *play) row(what, figure string) { p.rows = append(p.rows, [2]string{what, figure}) }

func (p *play) table() {
	fmt.Fprintln(p.out)
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, r := range p.rows {
		fmt.Fprintf(w, "%s\t%s\n", r[0], r[1])
	}
	_ = w.Flush() // the terminal's loss
	fmt.Fprintf(p.out, "\nall steps done in %.1f s\n", time.Since(p.started).Seconds())
}

// prepare lays out the LAN: a router, a client, and the hosts of three nodes.
func (p *play) prepare() error {
	var err error
	if p.set, err = programs.Find(); err != nil {
		return err
	}
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	p.product = programs.Product{VIP: filepath.Join(dir, "bin", "vip"), CCM: filepath.Join(dir, "bin", "ccm")}
	scratch, err := os.MkdirTemp("", "demo") // in the bed's own memory
	if err != nil {
		return err
	}
	if p.lab, err = netns.New(scratch, discard); err != nil {
		return err
	}
	if p.lan, err = p.lab.AddLAN("lan"); err != nil {
		return err
	}
	router, err := p.lab.AddHost("router", p.lan)
	if err != nil {
		return err
	}
	if err := router.Forward(); err != nil {
		return err
	}
	if p.client, err = p.lab.AddHost("client", p.lan); err != nil {
		return err
	}
	p.vip, p.vip6 = p.lan.Addr(100), p.lan.Addr6(100)
	p.agents = map[string]*netns.Command{}
	p.cluster, err = controlplane.New(p.lab, controlplane.Config{
		Programs: p.set, Endpoint: p.vip, Names: []string{"127.0.0.1", p.vip6.String()},
	})
	return err
}
