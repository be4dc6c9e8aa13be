package main

// connected takes in whether a router listens. A node that no router listens to announces to nobody, so another one should hold what is
// elected; where no other can, it stays.
func (n *node) connected(up bool) {
	if up {
		n.log.Info("a router listens")
		n.fitness.yield(nil, "bgp", "")
		return
	}
	n.log.Warn("no router listens")
	n.fitness.yield(nil, "bgp", "no session with a router")
}

// restartGracefully switches graceful restart off where an election decides everything: a dead holder's paths would stay beside its
// successor's for as long as routers keep them.
func (n *node) restartGracefully() {
	c := &n.cfg.BGP.Speaker
	some := n.cfg.ControlPlane.Enabled && !n.electsControlPlane() || n.cfg.Services.Enabled && !n.electsServices()
	if c.GracefulRestart > 0 && !some {
		n.log.Warn("bgp_graceful_restart has no effect with an election")
		c.GracefulRestart = 0
	}
}
