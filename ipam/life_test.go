package ipam_test

import "testing"

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
		"a wrong line keeps its pool whole": `
			pools cidr-shop=10.1.0.0/30
			pools range-shop=10.1.0.9-10.1.0.1 : wrong range-shop
			ask shop/a         : 10.1.0.1@shop
			pools range-shop=10.2.0.1-10.2.0.9 cidr-shop=10.3.0.0/99 : wrong cidr-shop
			ask shop/b         : 10.1.0.2@shop
			pools range-shop=10.2.0.1-10.2.0.9 : outside shop/a=10.1.0.1 outside shop/b=10.1.0.2
			ask shop/c         : 10.2.0.1@shop
			pools range-shop=10.2.0.1-10.2.0.9 cidr-shop=10.3.0.0/99 : wrong cidr-shop
			ask shop/d         : 10.2.0.2@shop`,
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
