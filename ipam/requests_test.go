package ipam_test

import "testing"

func TestStoriesOfRequests(t *testing.T) {
	for name, story := range map[string]string{
		"a requested address of the pool": `
			pools cidr-global=10.0.0.0/24
			ask shop/a want=10.0.0.9 : 10.0.0.9@global
			ask shop/b want=10.0.0.1 : 10.0.0.1@global
			ask shop/c               : 10.0.0.2@global`,
		"a requested address is taken": `
			pools cidr-global=10.0.0.0/24
			ask shop/a               : 10.0.0.1@global
			ask blog/b want=10.0.0.1 : taken: 10.0.0.1 is taken by shop/a
			waiting                  : blog/b
			release shop/a           : wakes blog/b
			ask blog/b want=10.0.0.1 : 10.0.0.1@global
			waiting                  :`,
		"a requested address outside the pools": `
			pools cidr-global=10.0.0.0/24 cidr-shop=10.1.0.0/24
			ask shop/a want=10.0.0.1 : not-in-pool: 10.0.0.1 is not in pool shop
			ask shop/a want=192.0.2.1 : not-in-pool: 192.0.2.1 is not in pool shop
			pools cidr-global=10.0.0.0/24 cidr-shop=10.1.0.0/24 allow-outside-pools=true : wakes shop/a
			ask shop/a want=192.0.2.1 : 192.0.2.1
			ask shop/b want=192.0.2.1 : taken: 192.0.2.1 is taken by shop/a
			ask shop/a want=10.0.0.1  : 10.0.0.1 -192.0.2.1 wakes shop/b
			ask blog/a                : 10.0.0.2@global
			ask shop/b want=127.0.0.1 : excluded: 127.0.0.1 is excluded: loopback
			ask shop/b want=224.0.0.251,ff02::1,255.255.255.255 require : excluded: 224.0.0.251 is excluded: multicast excluded: ff02::1 is excluded: multicast excluded: 255.255.255.255 is excluded: broadcast`,
		"a requested address without any pool": `
			ask shop/a want=192.0.2.1 : not-in-pool: 192.0.2.1 is in no pool of the namespace`,
		"a requested address of the wrong family": `
			pools cidr-global=10.0.0.0/24,fd00::/64
			ask shop/a v4 want=fd00::1 : wrong-family: fd00::1: the Service does not take IPv6
			ask shop/b want=10.0.0.1,fd00::1 : wrong-family: fd00::1: the Service does not take IPv6
			ask shop/c want=fd00::1    : fd00::1@global`,
		"every wrong request is named": `
			pools cidr-global=10.0.0.0/24,fd00::/64
			ask shop/a want=10.0.0.1   : 10.0.0.1@global
			ask shop/b prefer want=10.0.0.1,10.9.0.1,fd00::1 : taken: 10.0.0.1 is taken by shop/a not-in-pool: 10.9.0.1 is not in pool global
			stats global               : IPv4 1/254 IPv6 0/18446744073709551616`,
		"requested addresses stand for their families": `
			pools cidr-global=10.0.0.0/24,fd00::/64
			ask shop/a require want=fd00::9    : fd00::9@global 10.0.0.1@global
			ask shop/b require v4 v6 want=fd00::8 : 10.0.0.2@global fd00::8@global
			ask shop/c prefer want=10.0.0.7,10.0.0.8 : 10.0.0.7@global 10.0.0.8@global fd00::@global
			ask shop/d want=10.0.0.11,10.0.0.10 : 10.0.0.11@global 10.0.0.10@global`,
		"a changed request is followed": `
			pools cidr-global=10.0.0.0/24
			ask shop/a                : 10.0.0.1@global
			ask shop/a want=10.0.0.50 : 10.0.0.50@global -10.0.0.1
			ask shop/a want=10.0.0.51 : 10.0.0.51@global -10.0.0.50
			ask shop/b                : 10.0.0.1@global`,
		"a refused change keeps what there is": `
			pools cidr-global=10.0.0.0/24
			ask shop/a                : 10.0.0.1@global
			ask shop/b                : 10.0.0.2@global
			ask shop/b want=10.0.0.1  : taken: 10.0.0.1 is taken by shop/a
			ask shop/c                : 10.0.0.3@global
			release shop/a            : wakes shop/b
			ask shop/b want=10.0.0.1  : 10.0.0.1@global -10.0.0.2`,
		"a removed request keeps an address of the pool": `
			pools cidr-global=10.0.0.0/24 allow-outside-pools=true
			ask shop/a want=10.0.0.50 : 10.0.0.50@global
			ask shop/a                : 10.0.0.50@global
			ask shop/b want=192.0.2.1 : 192.0.2.1
			ask shop/b                : 10.0.0.1@global -192.0.2.1
			ask shop/c want=10.0.0.7,10.0.0.8 : 10.0.0.7@global 10.0.0.8@global
			ask shop/c                : 10.0.0.7@global -10.0.0.8`,
		"excluded addresses": `
			pools cidr-global=10.0.0.0/29 exclude=10.0.0.1,10.0.0.3-10.0.0.4
			exclude 10.0.0.5/32=node-a
			stats global              : IPv4 0/3
			ask shop/a                : 10.0.0.2@global
			ask shop/b want=10.0.0.5  : excluded: 10.0.0.5 is excluded: node-a
			ask shop/c want=10.0.0.3  : excluded: 10.0.0.3 is excluded: key exclude
			exclude                   : wakes shop/b shop/c
			ask shop/b want=10.0.0.5  : 10.0.0.5@global
			stats global              : IPv4 2/4
			exclude 10.0.0.0/30=Service-CIDR 10.0.0.5/32=node-b : excluded shop/a=10.0.0.2 by Service-CIDR excluded shop/b=10.0.0.5 by node-b
			ask shop/a                : 10.0.0.2@global
			release shop/a            :
			stats global              : IPv4 1/3
			ask shop/d                : 10.0.0.6@global
			ask shop/e                : 10.0.0.7@global
			ask shop/f                : exhausted: no free IPv4 address in pool global (3 of 3 used)
			exclude                   : wakes shop/c shop/f
			ask shop/f                : 10.0.0.2@global`,
		"the longest prefix says what excludes": `
			pools cidr-global=10.0.0.0/24
			exclude 10.0.0.0/28=pods 10.0.0.5/32=node-a 10.0.0.4/30=nodes
			ask shop/a want=10.0.0.5  : excluded: 10.0.0.5 is excluded: node-a
			ask shop/a want=10.0.0.6  : excluded: 10.0.0.6 is excluded: nodes
			ask shop/a want=10.0.0.9  : excluded: 10.0.0.9 is excluded: pods
			ask shop/a                : 10.0.0.16@global`,
	} {
		t.Run(name, func(t *testing.T) { tell(t, story) })
	}
}
