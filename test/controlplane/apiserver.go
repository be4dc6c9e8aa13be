package controlplane

import (
	"fmt"
	"net/netip"
	"slices"

	"daymark/test/programs"
)

// apiFlags are what differs between API servers.
type apiFlags struct {
	etcd      string
	bind      netip.Addr
	port      uint16
	advertise netip.Addr
	pki       string // folder with ca.crt, apiserver.crt, apiserver.key and sa.key
}

// apiServer is the command line of an API server.
func apiServer(set programs.Set, f apiFlags) []string {
	return append(slices.Clone(set.APIServer),
		"--etcd-servers="+f.etcd,
		"--bind-address="+f.bind.String(), fmt.Sprintf("--secure-port=%d", f.port), "--advertise-address="+f.advertise.String(),
		"--client-ca-file="+f.pki+"/ca.crt", "--tls-cert-file="+f.pki+"/apiserver.crt", "--tls-private-key-file="+f.pki+"/apiserver.key",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+f.pki+"/sa.key", "--service-account-signing-key-file="+f.pki+"/sa.key",
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range="+join(ServiceCIDRs),
		// Without a controller manager no namespace has its default ServiceAccount.
		"--disable-admission-plugins=ServiceAccount",
		"--allow-privileged", "--profiling=false", "--v=1",
	)
}
