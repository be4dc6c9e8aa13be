package ipam_test

import "testing"

func TestStoriesOfSharing(t *testing.T) {
	for name, story := range map[string]string{
		"sharers prefer an address in use": `
			pools cidr-global=10.0.0.0/24 allow-share-global=true
			ask shop/a ports=80/TCP          : 10.0.0.1@global
			ask shop/b ports=443/TCP         : 10.0.0.1@global+
			ask shop/c ports=80/TCP          : 10.0.0.2@global
			ask shop/d ports=443/TCP,53/UDP  : 10.0.0.2@global+
			ask shop/e ports=53/UDP          : 10.0.0.1@global+
			stats global                     : IPv4 2/254 shared 2
			release shop/a                   :
			release shop/b                   :
			stats global                     : IPv4 2/254 shared 1
			release shop/e                   :
			ask shop/f ports=1/TCP           : 10.0.0.2@global+
			ask shop/g ports=80/TCP          : 10.0.0.1@global`,
		"the protocol tells ports apart": `
			pools cidr-global=10.0.0.0/24 allow-share-global=true
			ask shop/a ports=53/TCP          : 10.0.0.1@global
			ask shop/b ports=53/UDP          : 10.0.0.1@global+
			ask shop/c ports=53/SCTP         : 10.0.0.1@global+
			ask shop/d ports=53/UDP          : 10.0.0.2@global`,
		"a Service without ports is alone": `
			pools cidr-global=10.0.0.0/24 allow-share-global=true
			ask shop/a ports=80/TCP          : 10.0.0.1@global
			ask shop/b ports=                : 10.0.0.2@global
			ask shop/c ports=443/TCP         : 10.0.0.1@global+
			ask shop/d ports=80/TCP          : 10.0.0.3@global`,
		"sharing stays in the pool": `
			pools cidr-shop=10.1.0.0/24 cidr-global=10.0.0.0/24 allow-share-global=true
			ask blog/a ports=80/TCP          : 10.0.0.1@global
			ask shop/a ports=443/TCP         : 10.1.0.1@shop
			ask other/a ports=444/TCP        : 10.0.0.1@global+`,
		"the namespace's own word on sharing": `
			pools cidr-global=10.0.0.0/24 allow-share-global=true allow-share-shop=false
			ask blog/a ports=80/TCP          : 10.0.0.1@global
			ask shop/a ports=443/TCP         : 10.0.0.2@global
			ask blog/b ports=444/TCP         : 10.0.0.1@global+
			ask blog/c ports=80/TCP          : 10.0.0.3@global`,
		"from the top": `
			pools cidr-global=10.0.0.0/29 allow-share-global=true search-order=desc
			ask shop/a ports=80/TCP          : 10.0.0.7@global
			ask shop/b ports=80/TCP          : 10.0.0.6@global
			ask shop/c ports=80/TCP          : 10.0.0.5@global
			release shop/b                   :
			ask shop/d ports=443/TCP         : 10.0.0.7@global+
			ask shop/e ports=443/TCP         : 10.0.0.5@global+
			ask shop/f ports=443/TCP         : 10.0.0.6@global`,
		"a requested address is shared": `
			pools cidr-global=10.0.0.0/24 allow-share-global=true allow-share-alone=false
			ask shop/a ports=80/TCP              : 10.0.0.1@global
			sees blog/b=10.0.0.1 ports=443/TCP   :
			ask blog/b want=10.0.0.1 ports=443/TCP : 10.0.0.1@global+
			ask blog/c want=10.0.0.1 ports=80/TCP,81/TCP : taken: 10.0.0.1 is taken by shop/a (both use 80/TCP)
			ask alone/d want=10.0.0.1 ports=90/TCP : taken: 10.0.0.1 is taken by blog/b
			ask shop/a ports=8080/TCP            : 10.0.0.1@global+ wakes blog/c alone/d
			ask blog/c want=10.0.0.1 ports=80/TCP,81/TCP : 10.0.0.1@global+`,
		"changed ports move a sharer": `
			pools cidr-global=10.0.0.0/30 allow-share-global=true
			ask shop/a ports=80/TCP           : 10.0.0.1@global
			ask shop/b ports=443/TCP          : 10.0.0.1@global+
			ask shop/b ports=444/TCP          : 10.0.0.1@global+
			ask shop/b ports=80/TCP           : 10.0.0.2@global -10.0.0.1
			ask shop/a ports=80/TCP           : 10.0.0.1@global
			ask shop/c ports=80/TCP           : 10.0.0.3@global
			ask shop/d ports=443/TCP          : 10.0.0.1@global+
			ask shop/d ports=80/TCP           : exhausted: no free IPv4 address in pool global (3 of 3 used)
			ask shop/a ports=80/TCP           : 10.0.0.1@global+
			ask shop/e ports=555/TCP          : 10.0.0.2@global+
			ask shop/d ports=443/TCP          : 10.0.0.1@global+`,
		"a moved sharer doesn't stay when it can't move": `
			pools cidr-global=10.0.0.0/31 allow-share-global=true
			ask shop/a ports=80/TCP           : 10.0.0.1@global
			ask shop/b ports=443/TCP          : 10.0.0.1@global+
			ask shop/b ports=80/TCP           : exhausted: no free IPv4 address in pool global (1 of 1 used)
			ask shop/b ports=80/TCP           : exhausted: no free IPv4 address in pool global (1 of 1 used)
			ask shop/c ports=1/TCP            : exhausted: no free IPv4 address in pool global (1 of 1 used)
			pools cidr-global=10.0.0.0/30 allow-share-global=true : wakes shop/b shop/c
			ask shop/b ports=80/TCP           : 10.0.0.2@global -10.0.0.1 wakes shop/c
			ask shop/c ports=1/TCP            : 10.0.0.1@global+`,
		"nobody joins while a sharer leaves": `
			pools cidr-global=10.0.0.0/30 allow-share-global=true
			ask shop/a ports=80/TCP           : 10.0.0.1@global
			reserve shop/a want=10.0.0.3 ports=80/TCP : 10.0.0.3@global -10.0.0.1
			ask shop/b ports=443/TCP          : 10.0.0.3@global+
			ask shop/c ports=80/TCP           : 10.0.0.2@global
			ask shop/d ports=80/TCP           : exhausted: no free IPv4 address in pool global (3 of 3 used)
			commit shop/a                     : wakes shop/d
			ask shop/d ports=80/TCP           : 10.0.0.1@global`,
		"sharing is switched on and off": `
			pools cidr-global=10.0.0.0/30
			ask shop/a ports=80/TCP           : 10.0.0.1@global
			ask shop/b ports=81/TCP           : 10.0.0.2@global
			pools cidr-global=10.0.0.0/30 allow-share-global=true
			ask shop/c ports=82/TCP           : 10.0.0.1@global+
			pools cidr-global=10.0.0.0/30
			ask shop/c ports=82/TCP           : 10.0.0.1@global+
			ask shop/d ports=83/TCP           : 10.0.0.3@global
			ask shop/e ports=84/TCP           : exhausted: no free IPv4 address in pool global (3 of 3 used)`,
		"both families are shared": `
			pools cidr-global=10.0.0.0/30,fd00::/64 allow-share-global=true
			ask shop/a require ports=80/TCP   : 10.0.0.1@global fd00::@global
			ask shop/b v6 ports=81/TCP        : fd00::@global+
			ask shop/c require ports=81/TCP   : 10.0.0.1@global+ fd00::1@global`,
		"a shared address across block ends": `
			pools range-global=10.0.0.254-10.0.1.1 allow-share-global=true
			ask shop/a ports=80/TCP           : 10.0.0.254@global
			ask shop/b ports=80/TCP           : 10.0.1.1@global
			ask shop/c ports=80/TCP           : exhausted: no free IPv4 address in pool global (2 of 2 used)
			ask shop/c ports=81/TCP           : 10.0.0.254@global+
			ask shop/d ports=81/TCP           : 10.0.1.1@global+`,
	} {
		t.Run(name, func(t *testing.T) { tell(t, story) })
	}
}
