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

func TestStoriesOfLife(t *testing.T) {
	for name, story := range map[string]string{
		"nothing is given before replay": `
			pools cidr-global=10.0.0.0/24
			has shop/a=10.0.0.1
			ask shop/b         : addresses in use are not yet known
			replay             :
			ask shop/b         : 10.0.0.2@global`,
		"replay keeps what there is": `
			has shop/a=10.0.0.2 asked=10.0.0.2
			has shop/b=192.0.2.1,fd00::1
			has shop/c=10.0.0.4 shown=10.0.0.3
			pools cidr-global=10.0.0.0/24
			replay             :
			stats global       : IPv4 3/254
			ask shop/a         : 10.0.0.2@global
			ask shop/b require : 192.0.2.1 fd00::1
			ask shop/c         : 10.0.0.4@global
			ask shop/d         : 10.0.0.1@global
			ask shop/e         : 10.0.0.5@global`,
		"replay reports conflicts and keeps both": `
			pools cidr-global=10.0.0.0/30 exclude=10.0.0.3 allow-share-global=true
			has shop/a=10.0.0.1
			has blog/a=10.0.0.1
			has shop/b=10.0.0.2 ports=80/TCP
			has blog/b=10.0.0.2 ports=443/TCP
			has shop/c=10.0.0.3
			replay             : conflict 10.0.0.1: blog/a,shop/a conflict 10.0.0.3: shop/c, key exclude
			ask shop/a         : 10.0.0.1@global+
			ask blog/a         : 10.0.0.1@global+
			ask blog/c ports=81/TCP : 10.0.0.2@global+
			ask blog/d want=10.0.0.1 ports=81/TCP : taken: 10.0.0.1 is taken by blog/a
			ask shop/c         : 10.0.0.3@global
			stats global       : IPv4 3/3 shared 2
			ask shop/d         : exhausted: no free IPv4 address in pool global (3 of 3 used)
			release blog/a     : wakes blog/d shop/d
			ask blog/d want=10.0.0.1 ports=81/TCP : 10.0.0.1@global+
			release shop/c     :
			ask shop/d         : exhausted: no free IPv4 address in pool global (2 of 2 used)`,
		"an address in the status alone is kept": `
			has shop/a= shown=10.0.0.7
			pools cidr-global=10.0.0.0/24
			replay             :
			ask shop/a         : 10.0.0.7@global`,
		"a status that is outside the pools isn't kept": `
			has shop/a= shown=192.0.2.7
			pools cidr-global=10.0.0.0/24 allow-outside-pools=true
			replay             :
			ask shop/a         : 10.0.0.1@global
			ask shop/b want=192.0.2.7 : taken: 192.0.2.7 is taken by shop/a
			sees shop/a=10.0.0.1 : wakes shop/b
			ask shop/b want=192.0.2.7 : 192.0.2.7`,
		"addresses of others are in use": `
			pools cidr-global=10.0.0.0/24
			sees shop/other=10.0.0.1 shown=10.0.0.2 :
			ask shop/a         : 10.0.0.3@global
			ask shop/b want=10.0.0.1 : taken: 10.0.0.1 is taken by shop/other
			sees shop/other= shown=10.0.0.2 : wakes shop/b
			ask shop/c         : 10.0.0.1@global
			sees shop/d=10.0.0.1 : conflict 10.0.0.1: shop/c,shop/d
			ask shop/d want=10.0.0.1 : taken: 10.0.0.1 is taken by shop/c
			release shop/c     : wakes shop/b shop/d
			ask shop/d want=10.0.0.1 : 10.0.0.1@global
			release shop/other :
			ask shop/e         : 10.0.0.2@global`,
		"what the API server still shows is not given": `
			pools cidr-global=10.0.0.0/24
			ask shop/a         : 10.0.0.1@global
			sees shop/a=10.0.0.1 shown=10.0.0.1 :
			ask shop/a want=10.0.0.9 : 10.0.0.9@global -10.0.0.1
			ask shop/b         : 10.0.0.2@global
			sees shop/a=10.0.0.9 shown=10.0.0.9 :
			ask shop/c         : 10.0.0.1@global`,
		"a write that fails": `
			pools cidr-global=10.0.0.0/30
			reserve shop/a     : 10.0.0.1@global
			reserve shop/b     : 10.0.0.2@global
			rollback shop/a    :
			ask shop/c         : 10.0.0.1@global
			commit shop/b      :
			reserve shop/b want=10.0.0.3 : 10.0.0.3@global -10.0.0.2
			ask shop/d         : exhausted: no free IPv4 address in pool global (3 of 3 used)
			rollback shop/b    : wakes shop/d
			ask shop/d         : 10.0.0.3@global
			ask shop/b         : 10.0.0.2@global`,
		"a write of which nothing is known": `
			pools cidr-global=10.0.0.0/29
			ask shop/a         : 10.0.0.1@global
			reserve shop/a want=10.0.0.3 : 10.0.0.3@global -10.0.0.1
			reserve shop/a want=10.0.0.3 : 10.0.0.3@global -10.0.0.1
			reserve shop/a want=10.0.0.4 : 10.0.0.4@global -10.0.0.1 -10.0.0.3
			ask shop/b         : 10.0.0.2@global
			ask shop/c         : 10.0.0.5@global
			commit shop/a      :
			ask shop/d         : 10.0.0.1@global
			ask shop/e         : 10.0.0.3@global
			rollback shop/a    :
			ask shop/a want=10.0.0.4 : 10.0.0.4@global`,
		"a change of mind before the write": `
			pools cidr-global=10.0.0.0/29
			ask shop/a         : 10.0.0.1@global
			reserve shop/a want=10.0.0.3 : 10.0.0.3@global -10.0.0.1
			reserve shop/a     : 10.0.0.3@global -10.0.0.1
			reserve shop/a want=10.0.0.1 : 10.0.0.1@global -10.0.0.3
			rollback shop/a    :
			ask shop/b         : 10.0.0.2@global
			ask shop/c         : 10.0.0.3@global`,
		"a pool that shrinks leaves its Services alone": `
			pools cidr-global=10.0.0.0/24
			ask shop/a         : 10.0.0.1@global
			ask shop/b         : 10.0.0.2@global
			pools cidr-global=10.0.0.2/31 : outside shop/a=10.0.0.1
			ask shop/a         : 10.0.0.1
			stats global       : IPv4 1/2
			ask shop/c         : 10.0.0.3@global
			pools cidr-global=10.0.0.2/31 :
			release shop/a     :
			ask shop/d         : exhausted: no free IPv4 address in pool global (2 of 2 used)
			pools cidr-global=10.0.0.0/24 : wakes shop/d
			ask shop/d         : 10.0.0.1@global`,
		"a namespace gets a pool of its own": `
			pools cidr-global=10.0.0.0/24
			ask shop/a         : 10.0.0.1@global
			pools cidr-global=10.0.0.0/24 cidr-shop=10.1.0.0/24 : outside shop/a=10.0.0.1
			ask shop/a         : 10.0.0.1
			ask shop/b         : 10.1.0.1@shop
			ask blog/a         : 10.0.0.2@global
			release shop/a     :
			ask blog/b         : 10.0.0.1@global`,
		"overlapping pools": `
			pools cidr-global=10.0.0.0/24 range-shop=10.0.0.2-10.0.0.3 range-blog=10.0.0.3-10.0.0.4
			ask other/a        : 10.0.0.1@global
			ask shop/a         : 10.0.0.2@shop
			ask other/b        : 10.0.0.3@global
			ask shop/b         : exhausted: no free IPv4 address in pool shop (2 of 2 used)
			ask blog/a         : 10.0.0.4@blog
			ask blog/b         : exhausted: no free IPv4 address in pool blog (2 of 2 used)
			stats global       : IPv4 4/254
			release other/a    :
			release other/b    : wakes shop/b blog/b
			ask shop/b         : 10.0.0.3@shop
			ask other/c        : 10.0.0.1@global
			ask other/d        : 10.0.0.5@global`,
		"a wrong line keeps the last good version of its pool": `
			pools cidr-global=10.0.0.0/30 cidr-shop=10.1.0.0/30 exclude=10.0.0.1
			pools cidr-global=10.2.0.0/30 cidr-shop=10.1.9.0/30,10.1.0.0/99 exclude=10.2.0.1,x : wrong cidr-shop wrong exclude
			ask shop/a         : 10.1.0.1@shop
			ask blog/a         : 10.2.0.2@global
			pools cidr-global=10.0.0.0/30 cidr-shop=10.1.0.0/99 exclude=x : wrong cidr-shop wrong exclude outside blog/a=10.2.0.2
			ask blog/b         : 10.0.0.2@global
			ask shop/b         : 10.1.0.2@shop
			pools cidr-global=10.0.0.0/30 cidr-shop=10.1.9.0/30 : outside shop/a=10.1.0.1 outside shop/b=10.1.0.2
			ask shop/c         : 10.1.9.1@shop`,
		"a wrong line without a good version": `
			pools cidr-global=10.0.0.0/30 cidr-shop=10.1.0.0/99,10.1.0.0/30 cidr-blog=10.1.0.0.0 : wrong cidr-blog wrong cidr-shop
			ask shop/a         : 10.1.0.1@shop
			ask blog/a         : exhausted: no free address in pool blog (0 of 0 used)
			ask blog/a v4      : wrong-family: no IPv4 address in pool blog
			ask other/a        : 10.0.0.1@global`,
		"a quota": `
			pools cidr-global=10.0.0.0/24,fd00::/64 quota-shop=2 allow-share-global=true
			ask shop/a require : 10.0.0.1@global fd00::@global
			ask shop/b         : quota: the namespace's quota is used up (2 of 2 addresses)
			ask shop/c ports=81/TCP : 10.0.0.1@global+
			ask blog/a         : 10.0.0.2@global
			ask shop/a v6      : fd00::@global -10.0.0.1
			ask shop/c ports=80/TCP : 10.0.0.1@global
			release shop/c     : wakes shop/b
			ask shop/b         : 10.0.0.1@global
			ask shop/b want=10.0.0.9 : 10.0.0.9@global -10.0.0.1
			ask shop/d prefer  : quota: the namespace's quota is used up (2 of 2 addresses)
			pools cidr-global=10.0.0.0/24,fd00::/64 quota-shop=3 : wakes shop/d
			ask shop/d prefer  : 10.0.0.1@global missing quota
			pools cidr-global=10.0.0.0/24,fd00::/64 quota-shop=0 : wakes shop/d
			ask shop/d prefer  : 10.0.0.1@global missing quota
			ask shop/d want=10.0.0.1,10.0.0.77 : quota: the namespace's quota is used up (3 of 0 addresses)`,
		"the same configuration again wakes nobody": `
			pools cidr-global=10.0.0.1/32
			ask shop/a         : 10.0.0.1@global
			ask shop/b         : exhausted: no free IPv4 address in pool global (1 of 1 used)
			pools cidr-global=10.0.0.1/32 :
			pools cidr-global=10.0.0.1/32 quota-shop=9 : wakes shop/b`,
		"those who wait are woken in order": `
			pools cidr-global=10.0.0.1/32
			ask shop/a         : 10.0.0.1@global
			ask shop/z         : exhausted: no free IPv4 address in pool global (1 of 1 used)
			ask shop/b         : exhausted: no free IPv4 address in pool global (1 of 1 used)
			ask shop/z         : exhausted: no free IPv4 address in pool global (1 of 1 used)
			waiting            : shop/z shop/b
			release shop/z     :
			release shop/a     : wakes shop/b`,
		"only those are woken who wait for that": `
			pools cidr-shop=10.0.0.1/32 cidr-blog=10.1.0.1/32
			ask shop/a         : 10.0.0.1@shop
			ask blog/a         : 10.1.0.1@blog
			ask shop/b         : exhausted: no free IPv4 address in pool shop (1 of 1 used)
			ask blog/b         : exhausted: no free IPv4 address in pool blog (1 of 1 used)
			release blog/a     : wakes blog/b`,
	} {
		t.Run(name, func(t *testing.T) { tell(t, story) })
	}
}
