package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	etcdClients = "http://127.0.0.1:2379" // each API server uses the etcd beside it
	etcdPort    = 2380
)

// StartEtcd starts the node's etcd: the first node's as a cluster of one, later ones
// as members that join, and any again with its data. It returns when it serves.
//
// A member joins as a learner and is promoted once it has caught up, as kubeadm does
// it: until a voting second member runs, a cluster of one would have no quorum.
func (n *Node) StartEtcd(ctx context.Context) error {
	var members []string
	for _, other := range n.cluster.Nodes() {
		if other == n || other.Etcd != nil {
			members = append(members, other.Name()+"="+other.peerURL())
		}
	}
	if n.Etcd != nil || len(members) == 1 {
		if err := n.runEtcd("new", members); err != nil { // ignored where there is data
			return err
		}
	} else {
		id, err := n.addLearner(ctx)
		if err != nil {
			return err
		}
		if err := n.runEtcd("existing", members); err != nil {
			return err
		}
		if err := n.promote(ctx, id); err != nil {
			return err
		}
	}
	return awaitHTTP(ctx, n.Etcd, httpClient(n.Host), etcdClients+"/health")
}

// startEtcds starts the nodes' etcds as one new cluster.
func (c *Cluster) startEtcds(ctx context.Context) error {
	nodes := c.Nodes()
	members := make([]string, len(nodes))
	for i, n := range nodes {
		members[i] = n.Name() + "=" + n.peerURL()
	}
	for _, n := range nodes {
		if err := n.runEtcd("new", members); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := awaitHTTP(ctx, n.Etcd, httpClient(n.Host), etcdClients+"/health"); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) runEtcd(state string, members []string) error {
	data, err := n.file("etcd")
	if err != nil {
		return err
	}
	n.Etcd = n.Command(append(slices.Clone(n.cluster.cfg.Programs.Etcd),
		"--name="+n.Name(), "--data-dir="+data, "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcdClients, "--advertise-client-urls="+etcdClients,
		"--listen-peer-urls="+n.peerURL(), "--initial-advertise-peer-urls="+n.peerURL(),
		// Joiners are awaited here; etcd itself would refuse the next one until all have
		// known each other for 5 seconds.
		"--strict-reconfig-check=false",
		"--initial-cluster="+strings.Join(members, ","), "--initial-cluster-state="+state)...)
	n.Etcd.Label = "etcd"
	return n.Etcd.Start()
}

func (n *Node) peerURL() string {
	return "http://" + netip.AddrPortFrom(n.Addr(), etcdPort).String()
}

// addLearner has a member that runs add this node's, and returns the new one's ID.
func (n *Node) addLearner(ctx context.Context) (id string, err error) {
	err = retry(ctx, "adding "+n.Name()+" to etcd", func() error {
		answer, err := n.askMembers(ctx, "add", map[string]any{"peerURLs": []string{n.peerURL()}, "isLearner": true})
		id = answer.Member.ID
		return err
	})
	return id, err
}

// promote gives the learner its vote. Members refuse while it is catching up.
func (n *Node) promote(ctx context.Context, id string) error {
	return retry(ctx, "promoting etcd of "+n.Name(), func() error {
		if !running(n.Etcd) {
			return fmt.Errorf("etcd ended: %w", n.Etcd.Err())
		}
		_, err := n.askMembers(ctx, "promote", map[string]any{"ID": id})
		return err
	})
}

// memberAnswer is the part that matters of what etcd's gateway says; an ID is a
// decimal text there.
type memberAnswer struct {
	Member struct{ ID string }
}

// askMembers asks the other nodes' members, one after the other, until one agrees.
func (n *Node) askMembers(ctx context.Context, verb string, question map[string]any) (answer memberAnswer, err error) {
	body, err := json.Marshal(question)
	if err != nil {
		return answer, err
	}
	err = errors.New("no member runs")
	for _, other := range n.cluster.Nodes() {
		if other == n || other.Etcd == nil || !running(other.Etcd) {
			continue
		}
		var text []byte
		if text, err = post(ctx, httpClient(other.Host), etcdClients+"/v3/cluster/member/"+verb, body); err == nil {
			return answer, json.Unmarshal(text, &answer)
		}
	}
	return answer, err
}
